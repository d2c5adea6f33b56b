// Formulas too wide for the screen scroll; the Tab key reaches those that do, as the theme sees to for code and tables.
(() => {
  "use strict";

  const mark = () => {
    for (const formula of document.querySelectorAll("mjx-container[display]")) {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    }
  };
  document.addEventListener("DOMContentLoaded", () => window.MathJax?.startup?.promise?.then(mark));
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(mark, 300);
  });
})();
