// Draws from model.onnx with onnxruntime-web. Everything is computed here; nothing is sent anywhere.
"use strict";

const element = (id) => document.getElementById(id);
let facts, session, busy = false, again = false;

function say(text, failed = false) {
  element("status").textContent = text;
  element("status").classList.toggle("failed", failed);
}

function noiseOf(seed) {  // all layers from one stream: not the noise that Python draws, which is another generator's
  const stream = new RandomState(seed), feeds = {};
  facts.noise_sizes.forEach(([h, w], i) => {
    feeds[`noise${i}`] = new ort.Tensor("float32", stream.randn(h * w), [1, 1, h, w]);
  });
  return feeds;
}

// {image: Float32Array [C, h, w] in about [-1, 1], shape: [1, C, h, w]}
async function compute(seed, psi, label, noiseSeed) {
  const z = new RandomState(seed).randn(facts.z_dim);
  const feeds = { z: new ort.Tensor("float32", z, [1, facts.z_dim]) };
  if (facts.inputs.includes("psi")) feeds.psi = new ort.Tensor("float32", [psi], []);
  if (facts.labels) {
    const row = new Float32Array(facts.labels);
    row[label < 0 ? seed % facts.labels : label] = 1;
    feeds.labels = new ort.Tensor("float32", row, [1, facts.labels]);
  }
  if (facts.noise === "inputs") Object.assign(feeds, noiseOf(noiseSeed));
  const { images } = await session.run(feeds);
  return { image: images.data, shape: images.dims };
}

function paint({ image, shape: [, channels, h, w] }) {
  const canvas = element("picture"), pixels = new ImageData(w, h), area = h * w;
  const channel = channels < 3 ? [0, 0, 0] : [0, 1, 2];
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round((image[channel[c] * area + i] + 1) * 127.5);
    pixels.data[4 * i + 3] = channels === 4 ? Math.round((image[3 * area + i] + 1) * 127.5) : 255;
  }
  canvas.width = w;
  canvas.height = h;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.dataset.drawn = `${w}x${h}`;
}

function settings() {
  return {
    seed: Math.min(Math.max(Math.trunc(Number(element("seed").value)) || 0, 0), 4294967295),
    psi: Number(element("psi").value),
    label: Number(element("class").value),
    noise: Number(element("noise").value),
  };
}

async function draw() {  // the newest settings win; those in between are left out
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      const { seed, psi, label, noise } = settings(), start = performance.now();
      element("psi-shown").textContent = psi.toFixed(2);
      paint(await compute(seed, psi, label, noise));
      say(`seed ${seed}: ${Math.round(performance.now() - start)} ms`);
    } while (again);
  } catch (error) {
    say(`could not draw: ${error.message || error}`, true);
  } finally {
    busy = false;
  }
}

function arrange() {
  const [channels, h, w] = facts.image, labels = element("class");
  document.title = facts.model.file || "model";
  element("name").textContent = document.title;
  if (facts.psi === null) element("psi-row").hidden = true;
  else element("psi").value = facts.psi;
  if (facts.noise !== "inputs") element("noise-row").hidden = true;
  if (!facts.labels) element("class-row").hidden = true;
  else labels.add(new Option("in turn, by seed", -1));
  for (let i = 0; i < facts.labels; i++) labels.add(new Option(facts.class_names[i] || `class ${i}`, i));
  element("facts").textContent = [
    `${w} x ${h}`, `${channels} channels`, facts.kimg === null ? "" : `${facts.kimg} kimg`,
    facts.attribution || "", `drawn by ${facts.library} and onnxruntime-web`,
  ].filter(Boolean).join(" · ");
  element("seed").addEventListener("input", () => { element("seed-slider").value = element("seed").value; draw(); });
  element("seed-slider").addEventListener("input", () => { element("seed").value = element("seed-slider").value; draw(); });
  for (const id of ["psi", "class", "noise"]) element(id).addEventListener("input", draw);
  element("another").addEventListener("click", () => {
    element("seed").value = element("seed-slider").value = Math.floor(Math.random() * 1000);
    draw();
  });
}

async function start() {
  if (location.protocol === "file:") {
    throw new Error("a browser does not let a page read files beside it; run `python -m http.server` in this folder " +
      "and open http://localhost:8000");
  }
  if (typeof ort === "undefined") throw new Error("runtime/ort.wasm.min.js is missing beside this page");
  facts = await (await fetch("model.json")).json();
  ort.env.wasm.wasmPaths = new URL("runtime/", location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  arrange();
  say("loading the model …");
  session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  await draw();
}

const ready = start().then(() => true, (error) => { say(error.message || String(error), true); return false; });
