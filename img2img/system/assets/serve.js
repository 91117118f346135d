"use strict";
(() => {
  const part = (id) => document.getElementById(id);
  const AT_ONCE = 3; // requests
  const WAIT = 250; // ms after the last change of an option
  const MOST = Number(document.body.dataset.maxBytes) - 4096; // bytes; the form has some, too
  const KEY = "img2img-token";
  const cards = []; // {file, name, element, state, before, after, wanted, request}
  let models = [];
  let timer = 0;

  function say(text, bad = false) {
    part("status").textContent = text;
    part("status").classList.toggle("bad", bad);
  }

  // The server

  function ask(path, options = {}) {
    const token = sessionStorage.getItem(KEY);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    return fetch(path, { ...options, headers });
  }

  async function reason(answer) {
    try {
      return (await answer.json()).detail;
    } catch {
      return `the server answered ${answer.status}`;
    }
  }

  async function start() {
    const given = /^#token=(.+)$/.exec(location.hash);
    if (given) {
      sessionStorage.setItem(KEY, decodeURIComponent(given[1]));
      history.replaceState(null, "", location.pathname);
    }
    let answer;
    try {
      answer = await ask("v1/models");
    } catch {
      say("The server cannot be reached. Reload the page to try again.", true);
      return;
    }
    const locked = answer.status === 401;
    part("key").hidden = !locked;
    part("work").hidden = !answer.ok;
    if (locked) {
      const wrong = sessionStorage.getItem(KEY) !== null;
      sessionStorage.removeItem(KEY);
      say(wrong ? "This token is not valid." : "This server needs a token.", wrong);
      part("token").focus();
    } else if (!answer.ok) {
      say(`The models cannot be listed: ${await reason(answer)}`, true);
    } else {
      models = await answer.json();
      part("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
      offer();
      report();
    }
  }

  // Options

  const model = () => models.find(({ name }) => name === part("model").value);

  function offer() {
    const { domains, one_hot, relative, direction, licence, scale } = model();
    const larger = scale > 1 ? `Enlarges ${scale} times. ` : "";
    const known = larger || (direction === "A -> B" ? "" : `${direction.replace("->", "→")}. `);
    part("about").firstElementChild.textContent = `${known}Licence: ${licence}`;
    part("domains").hidden = !domains.length;
    part("domains").querySelectorAll("label").forEach((label) => label.remove());
    domains.forEach((name, k) => {
      const label = document.createElement("label");
      if (relative) {
        const choice = document.createElement("select");
        choice.append(new Option("as it is", ""), new Option("with", name), new Option("without", `no-${name}`));
        choice.selectedIndex = k === 0 ? 1 : 0;
        label.append(name, choice);
      } else {
        const box = document.createElement("input");
        Object.assign(box, { type: one_hot ? "radio" : "checkbox", name: "domain", value: name, checked: k === 0 });
        label.append(box, name);
      }
      part("domains").append(label);
    });
  }

  function domain() {
    const chosen = [...part("domains").querySelectorAll("input:checked, select")];
    return chosen.map(({ value }) => value).filter(Boolean).join("+");
  }

  function clearExclusive({ target }) {
    for (const group of model().exclusive) {
      if (!target.checked || !group.includes(target.value)) continue;
      for (const box of part("domains").querySelectorAll("input")) {
        if (box !== target && group.includes(box.value)) box.checked = false;
      }
    }
  }

  function options() {
    return { model: part("model").value, strength: String(part("strength").value / 100), domain: domain() };
  }

  function changed() {
    part("percent").textContent = `${part("strength").value} %`;
    clearTimeout(timer);
    timer = setTimeout(() => cards.forEach(queue), WAIT);
  }

  // Pictures

  function take(files) {
    if (part("work").hidden) return;
    for (const file of files) add(file);
    part("list").classList.toggle("one", cards.length === 1);
    next();
  }

  function add(file) {
    const element = part("card").content.firstElementChild.cloneNode(true);
    const card = { file, name: file.name || "picture.png", element, state: "", before: URL.createObjectURL(file), after: null };
    const one = (selector) => element.querySelector(selector);
    one(".name bdi").textContent = card.name;
    one(".slider").setAttribute("aria-label", `Before and after: ${card.name}`);
    one(".remove").setAttribute("aria-label", `Remove ${card.name}`);
    one(".save").setAttribute("aria-label", `Save ${card.name}`);
    one(".remove").addEventListener("click", () => remove(card));
    one(".again").addEventListener("click", () => {
      queue(card);
      one(".remove").focus();
    });
    one(".before").src = card.before;
    for (const image of element.querySelectorAll("img")) {
      image.addEventListener("error", () => { one(".slider").hidden = true; });
    }
    cards.push(card);
    part("list").append(element);
    if (file.size > MOST) fail(card, "larger than this server accepts", false);
    else queue(card);
  }

  function remove(card) {
    const place = cards.indexOf(card);
    cards.splice(place, 1);
    card.request?.abort();
    card.element.remove();
    for (const url of [card.before, card.after?.url]) if (url) URL.revokeObjectURL(url);
    part("list").classList.toggle("one", cards.length === 1);
    (cards[place] ?? cards[place - 1])?.element.querySelector(".remove").focus();
    if (!cards.length) part("file").focus();
    next();
  }

  function queue(card) {
    if (card.file.size > MOST) return;
    card.request?.abort();
    card.request = null;
    show(card, "waiting", "Waiting");
    next();
  }

  function show(card, state, text) {
    card.state = state;
    card.element.querySelector(".state").textContent = text;
    card.element.classList.toggle("bad", state === "failed");
    card.element.toggleAttribute("aria-busy", state === "waiting" || state === "running");
    card.element.querySelector(".again").hidden = state !== "failed";
    const done = card.state === "done";
    card.element.querySelector(".save").hidden = !done;
  }

  function fail(card, text, again = true) {
    show(card, "failed", `Not translated: ${text}`);
    card.element.querySelector(".again").hidden = !again;
  }

  function next() {
    for (const card of cards) {
      if (cards.filter(({ state }) => state === "running").length >= AT_ONCE) break;
      if (card.state === "waiting") translate(card);
    }
    report();
  }

  function report() {
    const count = (state) => cards.filter((card) => card.state === state).length;
    const [done, failed] = [count("done"), count("failed")];
    part("all").disabled = !done;
    part("clear").disabled = !cards.length;
    if (!cards.length) say("Ready.");
    else if (done + failed < cards.length) say(`Translating: ${done} of ${cards.length} done.`);
    else say(`${done} of ${cards.length} translated.`, failed > 0 && done === 0);
  }

  async function translate(card) {
    const request = new AbortController();
    card.request = request;
    show(card, "running", "Translating");
    const form = new FormData();
    for (const [name, value] of Object.entries(options())) if (value) form.append(name, value);
    form.append("picture", card.file, card.name);
    const began = performance.now();
    try {
      const answer = await ask("v1/translate", { method: "POST", body: form, signal: request.signal });
      if (answer.status === 503) {
        show(card, "running", "The server is busy; waiting");
        const seconds = Number(answer.headers.get("Retry-After")) || 1;
        await new Promise((wake) => setTimeout(wake, seconds * 1000));
        if (card.request === request) show(card, "waiting", "Waiting");
        return;
      }
      if (!answer.ok) {
        const text = await reason(answer);
        if (card.request === request) fail(card, text, answer.status >= 500);
        return;
      }
      const blob = await answer.blob();
      if (card.request === request) present(card, blob, answer, (performance.now() - began) / 1000);
    } catch (error) {
      if (card.request !== request) return; // removed, or asked anew
      fail(card, error instanceof TypeError ? "the server cannot be reached" : error.message);
    } finally {
      if (card.request === request) card.request = null;
      next();
    }
  }

  function present(card, blob, answer, seconds) {
    const one = (selector) => card.element.querySelector(selector);
    if (card.after) URL.revokeObjectURL(card.after.url);
    const suffix = /[^.]*$/.exec(answer.headers.get("Content-Disposition") ?? "")[0] || "png";
    const name = `${card.name.replace(/\.[^.]*$/, "")}-${part("model").value}.${suffix}`;
    card.after = { blob, name, url: URL.createObjectURL(blob) };
    one(".after").src = card.after.url;
    one(".slider").hidden = false;
    Object.assign(one(".save"), { href: card.after.url, download: name });
    const notes = answer.headers.get("X-Img2img-Notes");
    show(card, "done", `${seconds.toFixed(1)} s${notes ? `; ${decodeURIComponent(notes)}` : ""}`);
  }

  async function saveAll() {
    const taken = new Set();
    const files = cards.filter(({ state }) => state === "done").map(({ after }) => {
      let { name } = after;
      for (let n = 2; taken.has(name.toLowerCase()); n++) name = after.name.replace(/(\.[^.]*)$/, `-${n}$1`);
      taken.add(name.toLowerCase());
      return { name, blob: after.blob };
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await zipped(files));
    link.download = "translated.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // Wiring

  part("key").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, part("token").value);
    part("token").value = "";
    start();
  });
  acceptFiles(take, say, "Drop picture files.");
  part("model").addEventListener("change", () => {
    offer();
    changed();
  });
  part("strength").addEventListener("input", changed);
  part("domains").addEventListener("change", (event) => {
    clearExclusive(event);
    changed();
  });
  part("tools").addEventListener("submit", (event) => event.preventDefault());
  part("all").addEventListener("click", saveAll);
  part("clear").addEventListener("click", () => {
    while (cards.length) remove(cards[cards.length - 1]);
  });
  window.addEventListener("hashchange", start);

  start();
})();
