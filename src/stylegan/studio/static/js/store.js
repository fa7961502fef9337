// State: small observable values, what is kept in this browser, and what stands in the address.
import { useState, useEffect } from "./html.js";

export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      value = typeof next === "function" ? next(value) : { ...value, ...next };
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(store) {
  const [value, set] = useState(store.get());
  useEffect(() => {
    set(store.get());
    return store.subscribe(set);
  }, [store]);
  return value;
}

// localStorage may be full, forbidden or hold something else: then the default counts.
export function remembered(key, fallback) {
  try {
    const text = localStorage.getItem(`stylegan.${key}`);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`stylegan.${key}`, JSON.stringify(value));
  } catch { /* the page works without */ }
}

export const app = createStore({
  hello: null, // version, models, runs
  model: null, // id
  info: null, // of that model: size, classes, layers
  problem: null, // why there is no info
  connected: true,
  page: "explore",
  visit: 0, // how often an address with settings was opened
  theme: remembered("theme", "auto"),
  help: false,
  rate: { fps: 0, ms: 0 },
});

export const plainLook = {
  psi: null, cutoff: null, towards: "all", cls: null, mode: "random", noiseSeed: null, strengths: [],
};
export const look = createStore({ ...plainLook });

// The look as the server takes it.
export function lookMessage({ psi, cutoff, towards, mode, noiseSeed, strengths }) {
  return { psi, cutoff, towards: towards === "class" ? "class" : "all", noise: { mode, seed: noiseSeed, strengths } };
}

// --- the address: #/page?key=value, so that a link or the back button shows the same thing again ---

export function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: path || "explore", values: Object.fromEntries(new URLSearchParams(query)) };
}

// A page's settings are written a moment after they change. Whoever goes elsewhere in between wins: otherwise the
// address would name the page that has been left, and the next look at it would go back there.
let timer = 0;
addEventListener("click", (event) => {
  if (event.target instanceof Element && event.target.closest('a[href^="#"]')) clearTimeout(timer);
}, true);

export function writeAddress(page, values, push = false) {
  clearTimeout(timer);
  const write = () => {
    const query = new URLSearchParams(
      Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== ""),
    ).toString();
    const next = `#/${page}${query ? `?${query}` : ""}`;
    if (next === location.hash) return;
    if (push) location.hash = next;
    else history.replaceState(null, "", next);
  };
  const from = location.hash;
  if (push) write();
  else timer = setTimeout(() => location.hash === from && readAddress().page === page && write(), 120);
}

export function lookToValues(value) {
  return {
    psi: value.psi, cutoff: value.cutoff, towards: value.towards === "class" ? "class" : null,
    cls: value.cls, noise: value.mode === "random" ? null : value.mode,
    ns: value.noiseSeed, strengths: value.strengths.some((s) => s !== 1) ? value.strengths.join("_") : null,
  };
}

export function number(text, low, high, fallback = null) {
  const value = text === undefined || text === "" || text === null ? NaN : Number(text);
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
}

export function lookFromValues(values) {
  const strengths = (values.strengths || "").split("_").filter((s) => s !== "").map((s) => number(s, 0, 5, 1));
  const whole = (name, low, high) => {
    const found = number(values[name], low, high);
    return found === null ? null : Math.round(found);
  };
  return {
    psi: number(values.psi, -2, 2), cutoff: whole("cutoff", -1, 40), cls: whole("cls", 0, 99999),
    towards: values.towards === "class" ? "class" : "all",
    mode: ["random", "stored", "none"].includes(values.noise) ? values.noise : "random",
    noiseSeed: whole("ns", 0, 4294967295), strengths: strengths.slice(0, 40),
  };
}

export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 1000000;
}

export const seedPoint = (seed, cls = null) => ({ kind: "seed", seed, cls });
