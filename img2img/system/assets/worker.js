// Runs the network outside the page's own thread. Messages in: {settings} once, then {run, pixels, width,
// height, domain}. Messages out: {loaded}, {ready}, {done, pixels, width, height} or {error}.
let ort, session, settings;

async function download(file, report) {
  const answer = await fetch(`${file.path}?${settings.stamp}`);
  if (!answer.ok) throw new Error(`${file.path} is missing (${answer.status})`);
  const data = new Uint8Array(file.bytes);
  const reader = answer.body.getReader();
  let place = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (place + value.length > data.length) throw new Error(`${file.path} is not the file that was exported`);
    data.set(value, place);
    place += value.length;
    report(value.length);
  }
  if (place !== data.length) throw new Error(`${file.path} ended after ${place} of ${data.length} bytes`);
  return data;
}

async function open() {
  const total = settings.model.bytes + settings.wasm.bytes;
  let loaded = 0;
  const report = (bytes) => postMessage({ loaded: (loaded += bytes), total });
  const [code, wasm, model] = await Promise.all([
    import("./ort/ort.wasm.min.mjs"),
    download(settings.wasm, report),
    download(settings.model, report),
  ]);
  ort = code;
  ort.env.logLevel = "error";
  // Several threads need a page that is isolated from other origins by its server's headers.
  const cores = navigator.hardwareConcurrency || 1;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(cores, 8) : 1;
  ort.env.wasm.wasmBinary = wasm.buffer;
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  postMessage({ ready: true, threads: ort.env.wasm.numThreads });
}

// RGBA bytes -> the input tensor of the network; BT.601 luma for a network of one channel.
function toTensor(pixels, width, height) {
  const area = width * height;
  const channels = settings.in_channels;
  const bytes = settings.io === "uint8";
  const data = bytes ? new Uint8Array(area * channels) : new Float32Array(area * channels);
  for (let k = 0; k < area; k++) {
    for (let c = 0; c < channels; c++) {
      const value = channels === 1
        ? 0.299 * pixels[4 * k] + 0.587 * pixels[4 * k + 1] + 0.114 * pixels[4 * k + 2]
        : pixels[4 * k + c];
      if (bytes) data[k * channels + c] = Math.round(value);
      else data[c * area + k] = value / 127.5 - 1;
    }
  }
  const shape = bytes ? [1, height, width, channels] : [1, channels, height, width];
  return new ort.Tensor(bytes ? "uint8" : "float32", data, shape);
}

// RGBA bytes `scale` times as wide and high, with the transparency of `pixels`, linearly interpolated, and no colours.
function enlargedAlpha(pixels, width, height, scale) {
  const made = new Uint8ClampedArray(4 * width * height * scale * scale);
  const alpha = (x, y) => pixels[4 * (y * width + x) + 3];
  const place = (k, side) => Math.min(Math.max((k + 0.5) / scale - 0.5, 0), side - 1);
  for (let row = 0; row < height * scale; row++) {
    const y = place(row, height);
    const [top, down] = [Math.floor(y), y % 1];
    const bottom = Math.min(top + 1, height - 1);
    for (let column = 0; column < width * scale; column++) {
      const x = place(column, width);
      const [left, aside] = [Math.floor(x), x % 1];
      const right = Math.min(left + 1, width - 1);
      const upper = alpha(left, top) * (1 - aside) + alpha(right, top) * aside;
      const lower = alpha(left, bottom) * (1 - aside) + alpha(right, bottom) * aside;
      made[4 * (row * width * scale + column) + 3] = upper * (1 - down) + lower * down;
    }
  }
  return made;
}

// Output of the network -> RGBA bytes; the transparency remains that of the source.
function toPixels(data, pixels, area) {
  const channels = settings.out_channels;
  const bytes = settings.io === "uint8";
  for (let k = 0; k < area; k++) {
    for (let c = 0; c < 3; c++) {
      const from = channels === 1 ? 0 : c;
      // A clamped array rounds to the nearest and clips.
      pixels[4 * k + c] = bytes ? data[k * channels + from] : (data[from * area + k] + 1) * 127.5;
    }
  }
}

async function run({ run, pixels, width, height, domain }) {
  const feeds = { [settings.inputs[0]]: toTensor(pixels, width, height) };
  if (settings.domains.length) {
    feeds[settings.inputs[1]] = new ort.Tensor("float32", Float32Array.from(domain), [1, domain.length]);
  }
  const outputs = await session.run(feeds);
  const scale = settings.scale;
  const made = scale === 1 ? pixels : enlargedAlpha(pixels, width, height, scale);
  toPixels(outputs[settings.output].data, made, width * height * scale * scale);
  postMessage({ done: run, pixels: made, width: width * scale, height: height * scale }, [made.buffer]);
}

self.onmessage = async ({ data }) => {
  try {
    if (data.settings) {
      settings = data.settings;
      await open();
    } else {
      await run(data);
    }
  } catch (error) {
    // Out of memory, onnxruntime-web throws bare numbers or an error about overflow.
    const whole = String(error?.message ?? error);
    const memory = typeof error === "number" || /alloc|memory|overflow|^\d+$/i.test(whole);
    const text = whole.replace(/^.*ERROR_MESSAGE:\s*/s, "").split("\n")[0].slice(0, 200);
    postMessage({ error: text, memory });
  }
};
