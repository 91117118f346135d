"use strict";
(() => {
  const cards = [...document.querySelectorAll("figure")];
  const words = cards.map((card) => card.querySelector("bdi").textContent.normalize("NFC").toLowerCase());
  const search = document.getElementById("search");
  const which = document.getElementById("which");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");

  function filter() {
    const text = search.value.normalize("NFC").toLowerCase().trim();
    let count = 0;
    cards.forEach((card, k) => {
      const fits = words[k].includes(text) && (!which.value || card.dataset.status === which.value);
      card.hidden = !fits;
      count += fits;
    });
    shown.value = `${count} of ${cards.length}`;
    none.hidden = count > 0;
  }
  search.addEventListener("input", filter);
  which.addEventListener("change", filter);
  search.form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, dialog")) {
      event.preventDefault();
      search.focus();
    }
  });

  const dialog = document.querySelector("dialog");
  const title = dialog.querySelector("h2 bdi");
  const view = dialog.querySelector(".slider");
  const steps = { earlier: -1, later: 1 };
  let current = null;

  const neighbour = (step) => {
    const all = cards.filter((card) => !card.hidden && card.dataset.status !== "failed");
    return all[all.indexOf(current) + step];
  };
  function show(card) {
    current = card;
    title.textContent = card.querySelector("bdi").textContent;
    for (const side of ["before", "after"]) {
      const from = card.querySelector(`.${side}`);
      const to = view.querySelector(`.${side}`);
      to.src = from.src;
      view.style.setProperty("--shape", from.getAttribute("width") / from.getAttribute("height"));
      for (const size of ["width", "height"]) to.setAttribute(size, from.getAttribute(size));
    }
    for (const [id, step] of Object.entries(steps)) {
      document.getElementById(id).disabled = !neighbour(step);
    }
    if (!dialog.open) dialog.showModal();
  }
  document.querySelector(".grid").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) {
      moveSlider(view, 50);
      show(button.closest("figure"));
    }
  });
  for (const [id, step] of Object.entries(steps)) {
    document.getElementById(id).addEventListener("click", () => show(neighbour(step)));
  }
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => current.querySelector("button").focus());
  // Pictures that were never scrolled into view are printed too.
  addEventListener("beforeprint", () => {
    for (const picture of document.querySelectorAll("img[loading]")) picture.loading = "eager";
  });
  filter();
})();
