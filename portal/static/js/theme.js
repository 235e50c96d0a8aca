// Sets the theme before the first paint, so nothing flashes; loaded without `defer`.
"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is refused: follow the system
    }
  }

  function apply() {
    const theme = chosen() || (system.matches ? "dark" : "light");
    root.setAttribute("data-bs-theme", theme);
  }

  root.classList.add("js");
  apply();
  system.addEventListener("change", apply);

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const next = root.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("theme", next);
    } catch {
      // not kept; still switched for this page
    }
    root.setAttribute("data-bs-theme", next);
  });
})();
