// Small behaviours of every page; each works on markup that is usable without them.
"use strict";

(() => {
  const all = (selector, within = document) => within.querySelectorAll(selector);

  // --- times in the reader's own zone --------------------------------------------------
  const parts = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" };
  const clock = new Intl.DateTimeFormat(undefined, parts);
  const calendar = new Intl.DateTimeFormat(undefined, { ...parts, year: "numeric" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

  function words(moment) {
    const seconds = Math.round((moment - Date.now()) / 1000);
    const age = Math.abs(seconds);
    if (age < 45) return seconds > 0 ? "in a moment" : "just now";
    if (age < 3600) return relative.format(Math.round(seconds / 60), "minute");
    if (age < 86400) return relative.format(Math.round(seconds / 3600), "hour");
    return (moment.getFullYear() === new Date().getFullYear() ? clock : calendar).format(moment);
  }

  function localise() {
    for (const element of all("time[data-local]")) {
      const moment = new Date(element.dateTime);
      element.textContent = words(moment);
      element.title = exact.format(moment);
    }
  }

  // --- boxes: the slider hides those below it, without asking the server ----------------
  function filterBoxes() {
    const slider = document.querySelector("[data-score-slider]");
    if (!slider) return;
    const least = Number(slider.value);
    for (const output of all("[data-score-output]")) output.textContent = least.toFixed(2);
    for (const box of all("[data-score]")) box.toggleAttribute("hidden", Number(box.dataset.score) < least);
    for (const counter of all("[data-box-count]")) {
      const shown = all("[data-score]:not([hidden])", counter.closest("[data-picture]")).length;
      counter.textContent = shown === 1 ? "1 box" : `${shown} boxes`;
    }
  }

  document.addEventListener("input", (event) => {
    const input = event.target;
    if (input.matches("[data-score-slider]")) filterBoxes();
    if (input.matches("[data-boxes-switch]")) {
      for (const gallery of all("[data-gallery]")) gallery.classList.toggle("no-boxes", !input.checked);
    }
    if (input.dataset.mirror) {
      const other = document.getElementById(input.dataset.mirror);
      if (other && input.value !== "") other.value = input.value;
    }
  });

  // --- menu on phones, menus that close, messages that go -------------------------------
  document.addEventListener("click", (event) => {
    const menu = event.target.closest("[data-menu]");
    if (menu) {
      const open = document.body.classList.toggle("menu-open");
      menu.setAttribute("aria-expanded", String(open));
    }
    for (const details of all("details[data-closes][open]")) {
      if (!details.contains(event.target)) details.open = false;
    }
    if (event.target.closest("[data-dismiss]")) event.target.closest("[role]").remove();
    const opened = event.target.closest("[data-close-dialog]");
    if (opened && opened.closest("dialog")) {
      event.preventDefault();
      opened.closest("dialog").close();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      for (const details of all("details[data-closes][open]")) {
        details.open = false;
        details.querySelector("summary").focus();
      }
    }
    if (event.target.matches("input, textarea, select") || event.altKey || event.ctrlKey || event.metaKey) return;
    const way = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const link = way && document.querySelector(`a[rel="${way}"][data-keys]`);
    if (link) link.click();
  });

  // --- copy, zoom --------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) {
      const source = document.getElementById(button.dataset.copy);
      const label = button.querySelector("[data-copy-label]");
      try {
        await navigator.clipboard.writeText(source.textContent.trim());
        label.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source); // no permission: at least select it
        label.textContent = "Press Ctrl+C";
      }
      setTimeout(() => { label.textContent = "Copy"; }, 2000);
    }
    const zoom = event.target.closest("[data-zoom]");
    if (zoom) {
      const large = document.getElementById(zoom.dataset.zoom).classList.toggle("full-size");
      zoom.setAttribute("aria-pressed", String(large));
    }
  });

  // --- htmx: polls rest while nobody looks; dialogs open when their content arrives --------
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.closest("[data-poll]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !window.htmx) return;
    for (const element of all("[data-poll]")) window.htmx.trigger(element, "refresh");
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // The session has ended: the answer is the sign-in page, which is no part of this one.
    if (!new URL(event.detail.xhr.responseURL).pathname.startsWith("/accounts/login/")) return;
    event.detail.shouldSwap = false;
    location.reload();
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    localise();
    filterBoxes();
    const dialog = event.target.closest && event.target.closest("dialog");
    if (dialog && !dialog.open) dialog.showModal();
    const progress = document.querySelector("[data-title]");
    if (progress) document.title = progress.dataset.title;
  });

  localise();
  filterBoxes();
  setInterval(localise, 30000);
  const summary = document.querySelector("[data-error-summary]");
  if (summary) summary.focus();
})();
