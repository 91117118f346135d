"use strict";
// Curves, sample history and before/after of a training, from the JSON that the page holds.

const data = JSON.parse(document.getElementById("data").textContent);
const WIDTH = 320, HEIGHT = 150, LEFT = 50, RIGHT = 6, TOP = 6, BOTTOM = 22;

const shown = (value, digits = 4) => value === 0 ? "0"
  : Math.abs(value) >= 1e4 || Math.abs(value) < 1e-3 ? value.toExponential(1)
  : String(Number(value.toPrecision(digits)));

function element(parent, name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Points (step, value) as a path; a value that is not a number leaves a gap.
function path(steps, values, x, y) {
  let pen = "M", drawn = "";
  steps.forEach((step, k) => {
    if (values[k] === null) { pen = "M"; return; }
    drawn += `${pen}${x(step).toFixed(1)} ${y(values[k]).toFixed(1)}`;
    pen = "L";
  });
  return drawn;
}

function band(steps, low, high, x, y) {
  const there = steps.map((_, k) => k).filter((k) => low[k] !== null && high[k] !== null);
  if (there.length < 2) return "";
  const point = (k, values) => `${x(steps[k]).toFixed(1)} ${y(values[k]).toFixed(1)}`;
  return "M" + there.map((k) => point(k, high)).join("L")
    + "L" + there.reverse().map((k) => point(k, low)).join("L") + "Z";
}

const charts = [];

function draw(figure, name, series, last, events) {
  const values = series.flatMap((s) => s.mean.filter((v) => v !== null));
  if (!values.length) { figure.remove(); return; }
  let low = Math.min(...values), high = Math.max(...values);
  if (high - low < 1e-12 * Math.max(1, Math.abs(high))) {
    const room = Math.abs(high) * 0.1 || 1;
    low -= room; high += room;
  }
  const x = (step) => LEFT + (WIDTH - LEFT - RIGHT) * step / last;
  const y = (v) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (Math.min(high, Math.max(low, v)) - low) / (high - low));
  const head = document.createElement("figcaption");
  head.textContent = name;
  const readout = document.createElement("output");
  head.append(readout);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const label = `${name}: from ${shown(low)} to ${shown(high)} over ${last} steps`;
  for (const [k, v] of [["viewBox", `0 0 ${WIDTH} ${HEIGHT}`], ["role", "img"], ["aria-label", label]]) svg.setAttribute(k, v);
  const marks = [low, (low + high) / 2, high];
  let digits = 3;
  while (digits < 7 && new Set(marks.map((v) => v.toPrecision(digits))).size < 3) digits += 1;
  for (const v of marks) {
    element(svg, "line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v) });
    element(svg, "text", { x: LEFT - 4, y: y(v) + 4, "text-anchor": "end" }, shown(v, digits));
  }
  element(svg, "text", { x: LEFT, y: HEIGHT - 6 }, "0");
  element(svg, "text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, `step ${last}`);
  for (const s of series) {
    const group = element(svg, "g", { class: `run${s.run % 6}` });
    if (s.low) element(group, "path", { class: "band", d: band(s.steps, s.low, s.high, x, y) });
    element(group, "path", { d: path(s.steps, s.mean, x, y) });
    if (s.steps.length < 30) {
      s.steps.forEach((step, k) => { if (s.mean[k] !== null) element(group, "circle", { cx: x(step), cy: y(s.mean[k]), r: 2 }); });
    }
  }
  for (const event of events) {
    const at = x(Math.min(event.step, last)), foot = HEIGHT - BOTTOM;
    const mark = element(svg, "path", { class: `event ${event.kind}`, d: `M${at} ${foot}l3.5 7h-7z` });
    element(mark, "title", {}, `step ${event.step}: ${event.text}`);
  }
  const at = element(svg, "line", { class: "at", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const chart = {
    show(step) {
      if (step === null) { at.setAttribute("visibility", "hidden"); }
      else {
        for (const key of ["x1", "x2"]) at.setAttribute(key, x(step));
        at.setAttribute("visibility", "visible");
      }
      readout.textContent = series.map((s) => {
        let k = s.steps.length - 1;
        if (step !== null) while (k > 0 && s.steps[k - 1] >= step) k -= 1;
        return s.mean[k] === null || k < 0 ? "-" : shown(s.mean[k]);
      }).join(" · ");
    },
  };
  const step = (event) => {
    const box = svg.getBoundingClientRect();
    const part = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
    return Math.min(1, Math.max(0, part)) * last;
  };
  svg.addEventListener("pointermove", (event) => charts.forEach((c) => c.show(step(event))));
  svg.addEventListener("pointerleave", () => charts.forEach((c) => c.show(null)));
  charts.push(chart);
  chart.show(null);
  figure.append(head, svg);
}

const last = Math.max(1, ...data.runs.map((run) => run.step));
const events = data.runs.length === 1 ? data.runs[0].events : [];
for (const plots of document.querySelectorAll(".plots[data-group]")) {
  const group = plots.dataset.group;
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.curves[group] ?? {})))];
  for (const name of names) {
    const series = data.runs.flatMap((run, k) => {
      const curve = run.curves[group]?.[name];
      return curve ? [{ run: k, ...curve }] : [];
    });
    const figure = document.createElement("figure");
    plots.append(figure);
    draw(figure, name, series, last, events);
  }
}

const history = document.getElementById("history");
if (history) {
  const range = history.querySelector("input"), label = history.querySelector("output");
  const sheet = document.getElementById("sheet");
  const show = () => {
    const { step, src } = data.sheets[Number(range.value)];
    sheet.src = src;
    sheet.alt = label.value = `step ${step}`;
    range.setAttribute("aria-valuetext", label.value);
  };
  range.max = data.sheets.length - 1;
  range.value = range.max;
  range.addEventListener("input", show);
  show();
}

// Two cells of the newest sheet over each other; the grid is that of `contact_sheet`.
const compare = document.getElementById("compare");
if (compare) {
  const { src, side, head, gap, columns, rows } = data.newest;
  const [picture, column] = compare.querySelectorAll("select");
  const [after, before] = compare.querySelectorAll("canvas");
  const option = (select, value, text) => select.append(new Option(text, value));
  for (let k = 0; k < rows; k += 1) option(picture, k, `picture ${k + 1}`);
  columns.forEach((name, k) => { if (k) option(column, k, name); });
  const sheet = new Image();
  const cut = (canvas, k) => {
    canvas.width = canvas.height = side;
    const left = gap + k * (side + gap), top = head + gap + Number(picture.value) * (side + gap);
    canvas.getContext("2d").drawImage(sheet, left, top, side, side, 0, 0, side, side);
  };
  const show = () => { cut(after, Number(column.value)); cut(before, 0); };
  sheet.addEventListener("load", show);
  for (const select of [picture, column]) select.addEventListener("change", show);
  sheet.src = src;
}
