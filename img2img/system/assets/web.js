"use strict";
(() => {
  const part = (id) => document.getElementById(id);
  const settings = JSON.parse(part("settings").textContent);
  const SIDES = [256, 512, 1024, 2048, 4096];
  const USUAL_SIDE = 1024;
  const [before, after] = ["before", "after"].map((id) =>
    part(id).getContext("2d", { willReadFrequently: true }));

  let worker = null;
  let ready = false;
  let source = null; // {bitmap, name}
  let newest = 0; // number of the newest request
  let running = 0; // number of the request that the worker is computing, or 0
  let clock = 0;

  function say(text, bad = false) {
    part("status").textContent = text;
    part("status").classList.toggle("bad", bad);
  }

  // Loading

  // While a network is loaded again, why it was has to stay readable.
  function sayLoading(text) {
    say(source?.words || text, source?.bad);
  }

  function start() {
    ready = false;
    running = 0;
    worker = new Worker(`worker.js?${settings.stamp}`, { type: "module" });
    worker.onmessage = ({ data }) => receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      part("progress").hidden = true;
      say("The network could not be started. This page has to be served by a web server, for example with: python -m http.server", true);
    };
    sayLoading("Loading the network");
    part("progress").hidden = false;
    worker.postMessage({ settings });
  }

  function restart() {
    worker.onmessage = null;
    worker.terminate();
    setIdle();
    start();
  }

  function receive(data) {
    if (data.loaded) {
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
      part("progress").value = data.loaded / data.total;
      sayLoading(`Loading the network: ${megabytes(data.loaded)} of ${megabytes(data.total)} MB`);
    } else if (data.ready) {
      ready = true;
      part("progress").hidden = true;
      say(source?.words || "Ready.", source?.bad);
      if (source) next();
    } else if (data.done) {
      show(data);
    } else {
      showError(data);
    }
  }

  function showError({ error, memory }) {
    const started = ready;
    setIdle();
    // A network that ran out of memory cannot be used again; after a failed load, ignore later messages.
    worker.onmessage = null;
    worker.terminate();
    part("progress").hidden = true;
    if (!started) {
      say(`The network could not be loaded: ${error}. Reload the page to try again.`, true);
      return;
    }
    const words = memory
      ? "This size needs more memory than a page can use. Choose a smaller one."
      : `The picture could not be translated: ${error}`;
    source = { ...source, words, bad: true };
    start();
  }

  // Pictures in

  async function take(files) {
    const file = files[0];
    if (!file) return;
    const more = files.length > 1 ? " Only the first of several files was used." : "";
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      say(`${file.name} is not a picture that this browser can read.`, true);
      return;
    }
    source?.bitmap.close();
    source = { bitmap, name: file.name || "picture", more };
    document.body.classList.add("small");
    part("tools").hidden = false;
    offerSizes();
    request();
  }

  function offerSizes() {
    const { width, height } = source.bitmap;
    const longer = Math.max(width, height);
    const working = settings.working_size;
    const known = working ? [...new Set([...SIDES, working])].sort((a, b) => a - b) : SIDES;
    const sides = known.filter((side) => side < longer);
    if (longer <= known.at(-1)) sides.push(longer);
    part("size").replaceChildren(...sides.map((side) => {
      const { w, h } = sizeFor(side);
      return new Option(`${w} x ${h}${side === longer ? " (full)" : ""}`, side);
    }));
    const usual = working || USUAL_SIDE;
    part("size").value = Math.max(...sides.filter((side) => side <= usual), Math.min(...sides));
  }

  function sizeFor(side) {
    const { width, height } = source.bitmap;
    const scale = Math.min(1, side / Math.max(width, height));
    return { w: Math.max(1, Math.round(width * scale)), h: Math.max(1, Math.round(height * scale)) };
  }

  // Translating

  function request() {
    newest++;
    part("save").disabled = true;
    source = { ...source, words: "", bad: false };
    if (!ready) say("Loading the network");
    next();
  }

  function next() {
    if (!ready || running || source.words) return;
    running = newest;
    const { w, h } = sizeFor(Number(part("size").value));
    for (const context of [before, after]) Object.assign(context.canvas, { width: w, height: h });
    before.imageSmoothingQuality = "high";
    before.drawImage(source.bitmap, 0, 0, w, h);
    after.drawImage(before.canvas, 0, 0);
    part("view").hidden = false;
    part("view").style.setProperty("--shape", w / h);
    const { data } = before.getImageData(0, 0, w, h);
    const began = performance.now();
    const showTime = () => say(`Translating ${w} x ${h} pixels: ${Math.round((performance.now() - began) / 1000)} s`);
    showTime();
    clock = setInterval(showTime, 1000);
    part("stop").hidden = false;
    part("view").setAttribute("aria-busy", "true");
    source.began = began;
    worker.postMessage({ run: running, pixels: data, width: w, height: h, domain: domain() }, [data.buffer]);
  }

  function setIdle() {
    clearInterval(clock);
    running = 0;
    part("stop").hidden = true;
    part("view").removeAttribute("aria-busy");
  }

  function show({ done, pixels, width, height }) {
    const seconds = (performance.now() - source.began) / 1000;
    setIdle();
    if (done !== newest) {
      next();
      return;
    }
    const seen = Object.assign(document.createElement("canvas"), { width: before.canvas.width, height: before.canvas.height });
    seen.getContext("2d").drawImage(before.canvas, 0, 0);
    if (settings.scale > 1) {
      // Next to the result is what the network saw, enlarged by the browser.
      for (const { canvas } of [before, after]) Object.assign(canvas, { width, height });
      before.imageSmoothingQuality = "high";
      before.drawImage(seen, 0, 0, width, height);
    }
    after.putImageData(new ImageData(pixels, width, height), 0, 0);
    part("save").disabled = false;
    const larger = settings.scale > 1 ? ` to ${width} x ${height}` : "";
    let smaller = "";
    if (seen.width !== source.bitmap.width) {
      const whole = `${source.bitmap.width} x ${source.bitmap.height}`;
      smaller = settings.working_size ? ` Enlarged to ${whole}.` : ` Reduced from ${whole}.`;
      if (settings.working_size) enlarge(source.bitmap);
    }
    const verb = larger ? "Enlarged" : "Translated";
    say(`${verb} ${seen.width} x ${seen.height} pixels${larger} in ${seconds.toFixed(1)} s.${smaller}${source.more}`);
  }

  // The network works at the size that its file states; the result has the picture's own.
  function enlarge(bitmap) {
    const answer = Object.assign(document.createElement("canvas"), { width: after.canvas.width, height: after.canvas.height });
    answer.getContext("2d").drawImage(after.canvas, 0, 0);
    for (const [context, picture] of [[before, bitmap], [after, answer]]) {
      Object.assign(context.canvas, { width: bitmap.width, height: bitmap.height });
      context.imageSmoothingQuality = "high";
      context.drawImage(picture, 0, 0, bitmap.width, bitmap.height);
    }
  }

  function save() {
    after.canvas.toBlob((blob) => {
      if (!blob) {
        say("The result could not be written as PNG.", true);
        return;
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${source.name.replace(/\.[^.]*$/, "")}-${settings.name}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    }, "image/png");
  }

  // Domains

  function domain() {
    return [...part("domains").querySelectorAll("input")].map((box) => Number(box.checked));
  }

  function offerDomains() {
    if (!settings.domains.length) return;
    part("domains").hidden = false;
    settings.domains.forEach((name, k) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: settings.one_hot ? "radio" : "checkbox", name: "domain", value: k, checked: k === 0 });
      label.append(box, name);
      part("domains").append(label);
    });
    part("domains").addEventListener("change", ({ target }) => {
      const boxes = part("domains").querySelectorAll("input");
      for (const group of settings.exclusive) {
        if (!target.checked || !group.includes(settings.domains[target.value])) continue;
        for (const box of boxes) {
          if (box !== target && group.includes(settings.domains[box.value])) box.checked = false;
        }
      }
      if (source) request();
    });
  }

  // Wiring

  acceptFiles(take, say, "Drop a picture file.");
  part("size").addEventListener("change", request);
  part("save").addEventListener("click", save);
  part("stop").addEventListener("click", () => {
    source = { ...source, words: "Stopped. Choose a size or a picture." };
    restart();
  });
  part("tools").addEventListener("submit", (event) => event.preventDefault());

  offerDomains();
  if (location.protocol === "file:") {
    say("This page has to be served by a web server, for example with: python -m http.server", true);
  } else if (typeof WebAssembly === "undefined" || typeof Worker === "undefined") {
    say("This browser is too old: it has no WebAssembly.", true);
  } else {
    start();
  }
})();
