"use strict";
// Picture files that are chosen in <input id="file">, pasted, or dropped anywhere on the page, where
// #drop shows it.

// Gives lists of files to `take`; `say` tells people what was no file, with `hint` of what to do.
function acceptFiles(take, say, hint) {
  const drop = document.getElementById("drop");
  document.getElementById("file").addEventListener("change", ({ target }) => {
    take([...target.files]);
    target.value = "";
  });
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input[type=password]")) return;
    const files = [...event.clipboardData.files];
    if (files.length) take(files);
    else say("The clipboard contains no picture.", true);
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
    else say(`That is not a file. ${hint}`, true);
  });
}
