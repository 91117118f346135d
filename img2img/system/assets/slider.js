"use strict";
// Before/after sliders: <div class="slider" role="slider" tabindex="0"> holding a picture of class
// "after", one of class "before" over it, and a "bar". One set of listeners serves all of a page.

function moveSlider(slider, percent) {
  const at = Math.min(100, Math.max(0, percent));
  slider.style.setProperty("--at", at + "%");
  slider.setAttribute("aria-valuenow", Math.round(at));
  slider.setAttribute("aria-valuetext", `${Math.round(at)} % before`);
}

(() => {
  let held = null;
  const follow = (event) => {
    const box = held.getBoundingClientRect();
    moveSlider(held, ((event.clientX - box.left) / box.width) * 100);
  };
  document.addEventListener("pointerdown", (event) => {
    const slider = event.target.closest?.(".slider");
    if (!slider || event.button !== 0 || !event.isPrimary) return;
    held = slider;
    slider.setPointerCapture(event.pointerId);
    slider.focus({ preventScroll: true });
    follow(event);
  });
  document.addEventListener("pointermove", (event) => {
    if (held && event.isPrimary) follow(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, () => { held = null; });
  }
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.(".slider")) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const slider = event.target.closest?.(".slider");
    if (!slider || event.altKey || event.ctrlKey || event.metaKey) return;
    const now = Number(slider.getAttribute("aria-valuenow"));
    const step = event.shiftKey ? 10 : 2;
    const to = {
      ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
      PageDown: now - 10, PageUp: now + 10, Home: 0, End: 100,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moveSlider(slider, to);
  });
})();
