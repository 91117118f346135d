"use strict";
(() => {
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const { staircase, pictures } = settings;
  const $ = (id) => document.getElementById(id);
  const stage = $("stage");
  const picture = $("picture");
  const buttons = [...document.querySelectorAll("#choices button")];
  const CROSS = 500; // ms
  const MASK = 30; // ms for each of four masks, as in the paper; the last one stays
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  const state = { mode: "", exposure: 0, answers: [], since: 0, open: false, saved: true, started: "" };

  // The parity of a mark says what its picture is.
  function truth(number) {
    let odd = 0;
    for (let rest = pictures[number][0]; rest; rest = Math.floor(rest / 2)) odd ^= rest & 1;
    return odd ? "fake" : "real";
  }
  const source = (number) => "data:image/jpeg;base64," + pictures[number][1];
  const frame = () => new Promise(requestAnimationFrame);

  // The first frame that lies nearer to the end of `time` ms after `begin` than the one before it.
  async function after(begin, time) {
    let last = begin;
    for (;;) {
      const now = await frame();
      if (now - begin >= time - (now - last) / 2) return now;
      last = now;
    }
  }

  // Noise of all scales, as photographs have it: octave over octave, the coarse the strongest.
  // Laid over each other plainly they would average to grey.
  function drawMask(target) {
    const pen = target.getContext("2d");
    for (let cells = 4, weight = 1; cells <= target.width; cells *= 2, weight *= 0.8) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = cells;
      const noise = new ImageData(cells, cells);
      for (let k = 0; k < noise.data.length; k += 1) {
        noise.data[k] = k % 4 === 3 ? 255 : Math.random() * 256;
      }
      tile.getContext("2d").putImageData(noise, 0, 0);
      pen.globalAlpha = weight;
      pen.globalCompositeOperation = cells > 4 ? "overlay" : "source-over";
      pen.imageSmoothingEnabled = cells < 32;
      pen.drawImage(tile, 0, 0, target.width, target.height);
    }
  }
  const masks = Array.from({ length: 4 }, () => {
    const made = document.createElement("canvas");
    made.width = made.height = $("mask").width;
    drawMask(made);
    return made;
  });

  async function cover(begin) {
    const pen = $("mask").getContext("2d");
    const order = masks.map((mask) => [Math.random(), mask]).sort((a, b) => a[0] - b[0]);
    const shown = still.matches ? order.slice(0, 1) : order;
    for (const [k, [, mask]] of shown.entries()) {
      if (k) await after(begin, k * MASK);
      pen.drawImage(mask, 0, 0);
      stage.dataset.shows = "mask";
    }
  }

  async function ask() {
    const number = state.answers.length;
    $("number").textContent = `Picture ${number + 1} of ${pictures.length}`;
    $("bar").value = number;
    stage.dataset.shows = "cross";
    const begun = await frame();
    picture.src = source(number);
    await picture.decode();
    // What a callback of a frame changes is drawn with that frame.
    const shown = await after(begun, CROSS);
    stage.dataset.shows = "picture";
    let measured = null;
    if (state.mode === "timed") {
      const end = await after(shown, state.exposure);
      measured = end - shown;
      await cover(end);
    }
    state.trial = { picture: number, exposure_ms: state.mode === "timed" ? state.exposure : null, shown_ms: measured };
    state.since = shown;
    listen(true);
  }

  function listen(open) {
    state.open = open;
    for (const button of buttons) button.disabled = !open;
  }

  function answer(given) {
    if (!state.open) return;
    listen(false);
    const is = truth(state.trial.picture);
    const tenths = (ms) => (ms === null ? null : Math.round(ms * 10) / 10);
    state.answers.push({
      picture: state.trial.picture,
      truth: is,
      answer: given,
      exposure_ms: state.trial.exposure_ms,
      shown_ms: tenths(state.trial.shown_ms),
      response_ms: tenths(performance.now() - state.since),
    });
    state.saved = false;
    const next = state.exposure + (given === is ? -staircase.down : staircase.up);
    state.exposure = Math.min(staircase.most, Math.max(staircase.least, next));
    if (state.answers.length < pictures.length) ask();
    else finish();
  }

  // Scores

  function wilson(hits, count) {
    const z = 1.959963984540054;
    const share = hits / count;
    const middle = share + (z * z) / (2 * count);
    const half = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
    const scale = 1 + (z * z) / count;
    return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
  }

  function rate(answers) {
    const wrong = answers.filter((one) => one.truth !== one.answer).length;
    return { count: answers.length, errors: wrong, error_rate: wrong / answers.length, interval: wilson(wrong, answers.length) };
  }

  function threshold(answers) {
    const times = new Map();
    for (const { exposure_ms: ms } of answers) times.set(ms, (times.get(ms) ?? 0) + 1);
    const most = Math.max(...times.values());
    const modes = [...times].filter(([, n]) => n === most).map(([ms]) => ms).sort((a, b) => a - b);
    const half = (modes.length - 1) / 2;
    return (modes[Math.floor(half)] + modes[Math.ceil(half)]) / 2;
  }

  function score() {
    const { answers } = state;
    return {
      real: rate(answers.filter((one) => one.truth === "real")),
      fake: rate(answers.filter((one) => one.truth === "fake")),
      all: rate(answers),
      threshold_ms: state.mode === "timed" ? threshold(answers) : null,
    };
  }

  // Screens

  function screen(name) {
    for (const id of ["start", "trial", "end"]) $(id).hidden = id !== name;
    $("progress").hidden = name !== "trial";
    document.body.classList.toggle("running", name === "trial");
    scrollTo(0, 0);
  }

  const element = (name, ...parts) => {
    const made = document.createElement(name);
    made.append(...parts);
    return made;
  };
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

  function finish() {
    state.finished = new Date().toISOString();
    const result = score();
    const timed = state.mode === "timed";
    $("verdict").textContent = timed
      ? `Threshold ${result.threshold_ms} ms, ${percent(result.all.error_rate)} of the answers wrong`
      : `${percent(result.all.error_rate)} of the answers wrong`;
    $("meaning").textContent = timed
      ? `The threshold (HYPE time) is the exposure shown most often: the longer, the better the fakes. HYPE uses 150 pictures for it; this test had ${pictures.length}.`
      : "This is the score of HYPE infinity: at 50 % nobody can tell the fakes from the real pictures; above 50 % the fakes look more real than those.";
    const rows = [["Real", result.real], ["Fake", result.fake], ["All", result.all]];
    $("rates").replaceChildren(...rows.map(([name, { count, errors, error_rate, interval }]) => {
      const head = element("th", name);
      head.scope = "row";
      const cells = [`${errors} of ${count}`, percent(error_rate), `${percent(interval[0]).slice(0, -2)}–${percent(interval[1])}`];
      return element("tr", head, ...cells.map((text) => element("td", text)));
    }));
    $("stairs").hidden = !timed;
    if (timed) draw();
    const missed = state.answers.filter((one) => one.truth !== one.answer);
    $("wrong").hidden = missed.length === 0;
    $("pictures").replaceChildren(...missed.map((one) => {
      const image = element("img");
      image.src = source(one.picture);
      image.alt = `Picture ${one.picture + 1}`;
      return element("figure", image, element("figcaption", `${one.truth}, taken for ${one.answer}`));
    }));
    screen("end");
    $("end").focus();
  }

  function draw() {
    const { least, most } = staircase;
    const across = 580 / Math.max(1, state.answers.length - 1);
    $("line").setAttribute("points", state.answers.map(
      (one, k) => `${10 + k * across},${140 - (130 * (one.exposure_ms - least)) / (most - least)}`,
    ).join(" "));
    $("least").textContent = least;
    $("most").textContent = most;
  }

  function save() {
    const { mode, started, finished, answers } = state;
    const { format, title, page, seed } = settings;
    const data = {
      format, version: 1, protocol: settings.protocols[mode], mode, title, page, seed,
      count: pictures.length, side: settings.side, started, finished,
      staircase: mode === "timed" ? staircase : null, score: score(), answers,
    };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1) + "\n"], { type: "application/json" }));
    link.download = `answers-${page}-${mode}-${finished.replace(/[-:]|\..*/g, "")}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    state.saved = true;
  }

  $("start").addEventListener("submit", (event) => {
    event.preventDefault();
    Object.assign(state, {
      mode: new FormData(event.target).get("mode"), exposure: staircase.start, answers: [], started: new Date().toISOString(),
    });
    screen("trial");
    ask();
  });
  for (const button of buttons) button.addEventListener("click", () => answer(button.value));
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
    const given = { f: "fake", r: "real" }[event.key.toLowerCase()]
      // Keyboards of other scripts: the key in that place.
      ?? (/^[\x00-\x7f]/.test(event.key) ? undefined : { KeyF: "fake", KeyR: "real" }[event.code]);
    if (given) answer(given);
  });
  $("save").addEventListener("click", save);
  $("again").addEventListener("click", () => {
    if (state.saved || confirm("The answers are not saved. Start again without them?")) {
      state.saved = true;
      screen("start");
    }
  });
  addEventListener("beforeunload", (event) => { if (!state.saved) event.preventDefault(); });
  screen("start");
})();
