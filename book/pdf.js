// Runs in Chromium, on a built page: puts all pages of the book into one, to be printed. Called by book/pdf.py.
({
  /**
   * Replace what the page shows by title page, contents and all chapters; links between them lead within it.
   * Return parts, chapters and sections as [[title, id, [what is below in the same form]], ...]. Without facts for a
   * title page: the chapters alone, and nothing is returned.
   */
  async assemble({ site, parts, facts, publicUrl }) {
    const make = (tag, properties, ...children) => {
      const element = Object.assign(document.createElement(tag), properties);
      element.append(...children);
      return element;
    };
    const names = new Set(parts.flatMap(part => part.chapters));
    const idOf = (name, place = "") => [name.replaceAll("/", "-"), place].filter(Boolean).join("--");

    /** Where a link of the page called `name` leads: within this document, or to the published book or elsewhere. */
    const redirected = (href, name) => {
      const url = new URL(href, `${site}/${name}.html`);
      if (url.origin !== site) return url.href;
      const target = decodeURIComponent(url.pathname).slice(1).replace(/\.html$/, "");
      if (names.has(target)) return `#${idOf(target, decodeURIComponent(url.hash.slice(1)))}`;
      return publicUrl + url.pathname.slice(1) + url.hash;
    };

    const chapterOf = async name => {
      const text = await (await fetch(`${site}/${name}.html`)).text();
      const article = new DOMParser().parseFromString(text, "text/html").querySelector("article.bd-article");
      // What only works on a screen.
      article.querySelectorAll(".headerlink, .explorer, .pdf-link, .your-run, script, noscript, link, button, nav").forEach(e => e.remove());
      article.querySelectorAll("details").forEach(details => (details.open = true));
      article.querySelectorAll("[id]").forEach(element => (element.id = idOf(name, element.id)));
      article.querySelectorAll("a[href]").forEach(link => link.setAttribute("href", redirected(link.getAttribute("href"), name)));
      article.querySelectorAll("img").forEach(image => {
        image.src = new URL(image.getAttribute("src"), `${site}/${name}.html`).href;
        image.loading = "eager";
      });
      return make("article", { className: "bd-article", id: idOf(name) }, ...document.adoptNode(article).childNodes);
    };

    const entry = ([title, id]) =>
      make("li", {}, make("a", { href: `#${id}`, textContent: title }), make("span", { className: "pdf-page" }));

    const contents = make("nav", { className: "pdf-contents" }, make("h1", { id: "contents", textContent: "Contents" }));
    const body = make("div", { className: "pdf-chapters" });
    const outline = [];
    for (const part of parts) {
      const chapters = [];
      outline.push([part.caption, chapters]);
      if (part.caption) contents.append(make("p", { textContent: part.caption }));
      const list = make("ol", {});
      for (const chapter of part.chapters) {
        const article = await chapterOf(chapter);
        body.append(article);
        const sections = [...article.querySelectorAll("h2")].map(h => [h.textContent, h.closest("section").id]);
        chapters.push([article.querySelector("h1").textContent, article.id, sections]);
        const item = entry(chapters.at(-1));
        if (sections.length) item.append(make("ol", {}, ...sections.map(entry)));
        list.append(item);
      }
      contents.append(list);
    }
    const front = [];
    if (facts) {
      const title = make("header", { className: "pdf-title" }, make("h1", { textContent: facts.title }));
      title.append(...facts.lines.map(line => make("p", { textContent: line })));
      title.append(make("p", {}, make("a", { href: publicUrl, textContent: publicUrl })));
      front.push(title, contents);
    }

    document.documentElement.dataset.theme = document.documentElement.dataset.mode = "light";
    document.documentElement.classList.add("pdf");
    document.documentElement.classList.toggle("pdf-sheet", !facts);
    document.body.replaceChildren(...front, body);
    await MathJax.typesetPromise([body]);
    await Promise.all([...document.images].map(image => image.decode().catch(() => {
      throw new Error(`picture ${image.src} cannot be drawn`);
    })));
    await document.fonts.ready;
    if (!facts) return [];
    return outline.flatMap(([caption, chapters]) => (caption ? [[caption, chapters[0][1], chapters]] : chapters));
  },

  /** Draw photographs and maps with as many pixels as paper needs; drawings stay as they are. */
  async shrink(dotsPerPixel, quality) {
    const isDrawing = image => /\.svg([?#]|$)/.test(image.src);
    await Promise.all([...document.images].filter(image => !isDrawing(image)).map(image => {
      const box = image.getBoundingClientRect();
      const scale = Math.min(1, (box.width * dotsPerPixel) / image.naturalWidth);
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
      canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingQuality = "high";
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      image.style.width = `${box.width}px`;
      image.src = canvas.toDataURL("image/jpeg", quality);
      return image.decode();
    }));
  },

  /** Make what is wider than the paper narrower, and return what is still too wide. */
  fit() {
    const wide = [];
    const measure = element => [element.scrollWidth, element.parentElement.clientWidth];
    for (const element of document.querySelectorAll("table, .math, mjx-container[display]")) {
      const [needed, there] = measure(element);
      if (needed > there) element.style.zoom = Math.max(0.45, there / needed);
    }
    for (const element of document.querySelectorAll("table, pre, img, .math, p, li, dt")) {
      const box = element.getBoundingClientRect();
      if (box.right > document.documentElement.clientWidth + 1) wide.push(element.textContent.trim().slice(0, 80) || element.src);
    }
    return wide;
  },

  /** Write page numbers into the contents. */
  number(pages) {
    for (const item of document.querySelectorAll(".pdf-contents li")) {
      const id = decodeURIComponent(item.querySelector("a").getAttribute("href").slice(1));
      item.querySelector(".pdf-page").textContent = pages[id] ?? "";
    }
  },
})
