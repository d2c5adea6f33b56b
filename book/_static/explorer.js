// The explorer page: shows precomputed frames (perceptlib/pages/explorer.py) and computes nothing but sums of pictures.
// Without a server: numbers stand in the page itself, pictures are drawn and never read back.
(() => {
  "use strict";

  const root = document.getElementById("explorer-frame");
  const data = JSON.parse(document.getElementById("explorer-frames").textContent);
  const find = name => document.getElementById(`explorer-${name}`);
  const zero = `rgb(${data.settings.zero}, ${data.settings.zero}, ${data.settings.zero})`;
  const state = { picture: null, ball: null, budget: 0 };
  const loading = new Map();

  // --- Pictures -----------------------------------------------------------------------------------------------------

  function load(name) {
    if (!loading.has(name)) {
      loading.set(name, new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.onerror = () => {
          loading.delete(name); // so that the next choice tries again
          reject(new Error(name));
        };
        image.src = root.dataset.frames + name;
      }));
    }
    return loading.get(name);
  }

  /** Draw the square of a strip whose corner is given; return the drawing context. */
  function cut(canvas, strip, size, top = 0, left = 0) {
    canvas.width = canvas.height = size; // also empties it
    const context = canvas.getContext("2d");
    context.drawImage(strip, left, top, size, size, 0, 0, size, size);
    return context;
  }

  function blend(context, mode, source) {
    const { width, height } = context.canvas;
    context.globalCompositeOperation = mode;
    if (typeof source === "string") {
      context.fillStyle = source;
      context.fillRect(0, 0, width, height);
    } else {
      context.drawImage(source, 0, 0);
    }
  }

  /** original + perturbation, exact in all 8 bits; return what is added and what is taken away. */
  function drawSum(canvas, original, strip, size, top) {
    const [more, less] = [0, size].map(left => cut(document.createElement("canvas"), strip, size, top, left));
    const sum = cut(canvas, original, size);
    blend(sum, "lighter", more.canvas);
    blend(sum, "difference", less.canvas); // what is taken away is never more than what is there
    return [more, less];
  }

  /** The attacked picture; and zero + factor * perturbation, factor a power of two. */
  function drawPerturbed(original, strip, size, top, factor) {
    const [more, less] = drawSum(find("adversarial"), original, strip, size, top);
    for (let done = 1; done < factor; done *= 2) {
      blend(more, "lighter", more.canvas);
      blend(less, "lighter", less.canvas);
    }
    blend(less, "darken", zero); // nothing is darker than black
    const amplified = cut(find("perturbation"), original, size);
    blend(amplified, "source-over", zero);
    blend(amplified, "lighter", more.canvas);
    blend(amplified, "difference", less.canvas);
  }

  // --- Words and numbers --------------------------------------------------------------------------------------------

  const percent = value => `${(100 * value).toFixed(1)} %`;
  const small = value => (value === 0 ? "0" : value >= 0.01 ? value.toPrecision(3) : value.toExponential(2));
  const distance = value => (value >= 1e-3 ? String(value) : value.toExponential(0));

  function element(tag, words = "", className = "") {
    const made = document.createElement(tag);
    made.textContent = words;
    made.className = className;
    return made;
  }

  function listClasses(list, classes, label) {
    list.replaceChildren(...classes.map(([name, probability]) => {
      const item = element("li", "", name === label ? "explorer-true" : "");
      const bar = element("span", "", "explorer-bar");
      bar.style.setProperty("--share", probability);
      item.append(element("span", name === label ? `${name} (true class)` : name), element("span", percent(probability)), bar);
      return item;
    }));
  }

  const JUDGES = {
    ciede2000: ["CIEDE2000, mean", small],
    ciede2000_99: ["CIEDE2000, 99 % quantile", small],
    jod: ["JOD lost (ColorVideoVDP)", value => value.toFixed(3)],
  };

  function listNumbers(frame) {
    const share = frame.share_in_cam;
    const rows = [
      ["SSIM", frame.mean_ssim.toFixed(6)],
      ["SSIM distance", small(frame.distance_8bit)],
      ["the same before rounding", small(frame.distance)],
      ["l2 norm", small(frame.l2)],
      ["largest change", `${Math.round(255 * frame.linf)} of 255 levels`],
      ...Object.entries(frame.judges).map(([name, loss]) => [JUDGES[name][0], JUDGES[name][1](loss)]),
    ];
    find("share").textContent = share === null ? "undefined, as nothing changed" : percent(share);
    find("share-bar").style.setProperty("--share", share || 0);
    find("numbers").replaceChildren(...rows.map(([name, value]) => {
      const row = element("div");
      row.append(element("dt", name), element("dd", value));
      return row;
    }));
  }

  function verdict(frame, label) {
    const [name, probability] = frame.after[0];
    if (frame.mean_ssim === 1) return `Nothing is left after rounding to 8 bits: this is the original, ${label}.`;
    if (frame.is_adversarial_8bit) {
      return `Fooled: the network sees ${name} (${percent(probability)}), no longer ${label}.`;
    }
    const still = `the network still sees ${name} (${percent(probability)})`;
    return frame.is_adversarial
      ? `Fooled only before rounding: of the picture with 8 bits ${still}.`
      : `Not fooled: ${still}.`;
  }

  // --- The page -----------------------------------------------------------------------------------------------------

  let last = 0;

  async function show() {
    const turn = ++last;
    const entry = data.pictures.find(picture => picture.id === state.picture);
    const budget = data.budgets[state.budget];
    const frame = entry.frames[state.ball][state.budget];
    find("distance").textContent = distance(budget);
    find("budget").setAttribute("aria-valuetext", distance(budget));
    let images;
    try {
      const names = ["", `-${state.ball}`, `-${state.ball}-map`, "-cam"].map(suffix => `${entry.id}${suffix}.webp`);
      images = await Promise.all(names.map(load));
    } catch (error) {
      if (turn === last) find("result").textContent = `The picture ${error.message} could not be loaded.`;
      return;
    }
    if (turn !== last) return; // the reader has moved on
    const [original, strip, maps, cam] = images;
    const { size } = entry;
    const top = state.budget * size;
    const factor = entry.factors[state.budget];
    cut(find("original"), original, size);
    drawPerturbed(original, strip, size, top, factor);
    cut(find("change"), maps, size, top);
    cut(find("cam"), cam, size);
    root.classList.toggle("explorer-small", size < 128);

    find("factor").textContent = factor;
    find("cam-label").textContent = entry.label;
    find("cam-white").textContent = entry.cam_white.toPrecision(3);
    find("credit").textContent = `${entry.credit}; network: ${entry.network}`;
    for (const outline of root.querySelectorAll(".explorer-outline")) {
      outline.setAttribute("viewBox", `0 0 ${size} ${size}`);
      const path = outline.classList.contains("explorer-changed") ? frame.outline : entry.cam_outline;
      for (const line of outline.children) line.setAttribute("d", path);
    }
    const ball = data.balls[state.ball];
    find("adversarial").setAttribute("aria-label", `${entry.title}, attacked: ${ball}, at ${distance(budget)}`);
    if (!find("all").hidden) await drawAll(entry, original, top, turn);
    if (turn !== last) return;
    listClasses(find("before"), entry.before, entry.label);
    listClasses(find("after"), frame.after, entry.label);
    listNumbers(frame);
    find("result").textContent = verdict(frame, entry.label);
    find("result").dataset.fooled = frame.is_adversarial_8bit;
    const place = `#${[state.picture, state.ball, budget].join("/")}`;
    if (location.hash !== place && isChosen) history.replaceState(null, "", place);
    root.dataset.shown = [state.picture, state.ball, budget].join(" ");
    root.hidden = false;
    document.getElementById("fig-explorer").classList.add("explorer-still");
  }

  /** The attacked picture of every ball at the same budget, side by side. */
  async function drawAll(entry, original, top, turn) {
    const strips = await Promise.all(Object.keys(data.balls).map(ball => load(`${entry.id}-${ball}.webp`)));
    if (turn !== last) return;
    find("all-panels").replaceChildren(...Object.entries(data.balls).map(([ball, words], place) => {
      const frame = entry.frames[ball][state.budget];
      const canvas = element("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${entry.title}, ${words}`);
      drawSum(canvas, original, strips[place], entry.size, top);
      const figure = element("figure");
      const mean = frame.judges.ciede2000;
      const seen = mean === undefined ? "" : `, CIEDE2000 ${small(mean)}`;
      figure.append(canvas, element("figcaption", `${words}: ${frame.is_adversarial_8bit ? "fooled" : "not fooled"}${seen}`));
      return figure;
    }));
  }

  let isChosen = false; // the address stays as it is until something is chosen

  function choose(change) {
    isChosen = true;
    Object.assign(state, change);
    show();
  }

  /** What an address such as #cat/l2/0.01 names, where all of it is there. */
  function named() {
    const [picture, ball, budget] = decodeURIComponent(location.hash.slice(1)).split("/");
    const place = data.budgets.indexOf(Number(budget));
    const isThere = data.pictures.some(entry => entry.id === picture) && ball in data.balls && place >= 0;
    return isThere ? { picture, ball, budget: place } : null;
  }

  function setFields() {
    find("picture").value = state.picture;
    find("budget").value = state.budget;
    for (const radio of root.querySelectorAll("input[name=ball]")) radio.checked = radio.value === state.ball;
  }

  function makeBall(method) {
    const label = element("label");
    const radio = element("input");
    Object.assign(radio, { type: "radio", name: "ball", value: method, checked: method === state.ball });
    radio.addEventListener("change", () => choose({ ball: method }));
    label.append(radio, ` ${data.balls[method].replace(" ball", "")}`);
    return label;
  }

  function start() {
    const select = find("picture");
    select.append(...data.pictures.map(picture => new Option(picture.title, picture.id)));
    const slider = find("budget");
    slider.max = data.budgets.length - 1;
    const methods = Object.keys(data.balls);
    // Unsolved: the first photograph that is not yet fooled at the smallest budget.
    const unsolved = data.pictures.find(picture => !picture.frames[methods[0]][0].is_adversarial_8bit);
    Object.assign(state, { picture: (unsolved || data.pictures[0]).id, ball: methods[0], budget: 0 }, named());
    find("balls").append(...methods.map(makeBall));
    setFields();
    window.addEventListener("hashchange", () => {
      const there = named();
      if (!there) return;
      Object.assign(state, there);
      setFields();
      show();
    });
    select.addEventListener("change", () => choose({ picture: select.value }));
    slider.addEventListener("input", () => choose({ budget: Number(slider.value) }));

    const wipe = find("wipe");
    const place = () => {
      wipe.parentElement.style.setProperty("--wipe", `${wipe.value}%`);
      wipe.setAttribute("aria-valuetext", `${wipe.value} % original`);
    };
    wipe.addEventListener("input", place);
    place();
    const switches = {
      outlined: isOn => root.classList.toggle("explorer-outlined", isOn),
      blinking: isOn => root.classList.toggle("explorer-blinking", isOn),
      together: isOn => {
        find("all").hidden = !isOn;
        if (isOn) show();
      },
    };
    for (const [name, turn] of Object.entries(switches)) {
      find(name).addEventListener("change", () => turn(find(name).checked));
      turn(find(name).checked);
    }

    root.style.setProperty("--colours", data.colours.join(", "));
    const { black, white } = data.change_scale;
    const decades = Math.log10(white / black);
    find("scale").replaceChildren(...[0, 1, 2, 3].map(third => {
      const value = black * 10 ** (decades * third / 3);
      return element("span", distance(Number(value.toPrecision(3))));
    }));
    const { date, weights, versions } = data.provenance;
    const networks = Object.values(weights).map(entry => `${entry.source}, sha256 ${entry.sha256.slice(0, 16)}…`);
    find("provenance").textContent =
      `Frames of ${date.slice(0, 10)}, torch ${versions.torch}; networks: ${networks.join("; ")}.`;
    show();
  }

  start();
})();
