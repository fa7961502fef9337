// Controls that every page uses.
import { html, useEffect, useRef } from "./html.js";
import { createStore, useStore } from "./store.js";
import { t } from "./i18n.js";

const SHAPES = {
  explore: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  mix: "M4 7h4c6 0 6 10 12 10M4 17h4c2 0 3.300-1 4.500-2.500M17 4l3 3-3 3M13 8.500C14.200 7.500 15.500 7 17 7h3M17 14l3 3-3 3",
  edit: "M4 7h10M18 7h2M4 17h2M10 17h10M16 4.500v5M8 14.500v5",
  project: "M12 15V4M8 8l4-4 4 4M4 15v4a1 1 0 0 0 1 1h14a1 1 0 0 0 1-1v-4",
  walk: "M4 18c4-12 6 4 9-5s5-7 7-7M4 18h.01M20 6h.01",
  training: "M4 20V4M4 20h16M7 16l4-6 4 3 5-8",
  model: "M12 3l8 4.500v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9",
  star: "M12 4l2.500 5.200 5.500.8-4 4 1 5.700-5-2.700-5 2.700 1-5.700-4-4 5.500-.8z",
  download: "M12 4v11M8 11l4 4 4-4M4 19h16",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1-1",
  close: "M6 6l12 12M18 6L6 18",
  shuffle: "M4 7h3c4 0 6 10 10 10h3M4 17h3c1.500 0 2.700-1.300 3.800-3M13.500 9.500c1-1.500 2-2.500 3.500-2.500h3M18 4.500L20.500 7 18 9.500M18 14.500l2.500 2.500-2.500 2.500",
  previous: "M15 5l-7 7 7 7", next: "M9 5l7 7-7 7",
  help: "M9 9a3 3 0 1 1 4 2.800c-.8.4-1 1-1 1.700M12 17h.01",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z", unlock: "M7 11V8a5 5 0 0 1 9.500-2M5 11h14v9H5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M5 19l1.500-1.500M17.500 6.500L19 5",
  moon: "M20 14A8 8 0 1 1 10 4a7 7 0 0 0 10 10z", auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  play: "M8 5l11 7-11 7z", pause: "M8 5v14M16 5v14", plus: "M12 5v14M5 12h14", reset: "M5 5v5h5M5.500 10A7.500 7.500 0 1 1 5 14",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${SHAPES[name]} /></svg>`;
}

export function Button({ icon, label, onClick, kind = "", pressed, disabled, bare }) {
  return html`<button type="button" class=${`button ${kind}${bare ? " bare" : ""}`} onClick=${onClick}
    disabled=${disabled}
    aria-pressed=${pressed} aria-label=${bare ? label : undefined} title=${bare ? label : undefined}>
    ${icon && html`<${Icon} name=${icon} />`}${!bare && html`<span>${label}</span>`}</button>`;
}

// A slider with its number beside it; a double click, or the small button, gives the default back.
export function Slider({ label, value, min, max, step, fallback, onInput, digits = 2, hint }) {
  const changed = fallback !== undefined && value !== fallback;
  const text = (v) => Number(v).toFixed(digits);
  const typed = (event) => {
    const found = Number(event.target.value);
    if (event.target.value !== "" && Number.isFinite(found)) onInput(Math.min(max, Math.max(min, found)));
    else event.target.value = text(value);
  };
  return html`<div class="slider">
    <label><span class="slider-label">${label}</span>
      <input type="range" min=${min} max=${max} step=${step} value=${value} title=${hint}
        onInput=${(event) => onInput(Number(event.target.value))}
          onDblClick=${() => fallback !== undefined && onInput(fallback)} />
    </label>
    <input class="slider-number" type="text" inputmode="decimal" value=${text(value)} aria-label=${label}
      onChange=${typed} />
    <button type="button" class="slider-reset" aria-label=${t("ui.reset", { name: label })}
      title=${t("ui.reset", { name: label })}
      disabled=${!changed} onClick=${() => onInput(fallback)}><${Icon} name="reset" /></button>
  </div>`;
}

export function Segments({ label, value, options, onChange }) {
  const onKey = (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = options.findIndex(([key]) => key === value);
    const next = (at + by + options.length) % options.length;
    onChange(options[next][0]);
    event.currentTarget.children[next].focus();
  };
  return html`<div class="segments" role="radiogroup" aria-label=${label} onKeyDown=${onKey}>
    ${options.map(([key, text]) => html`<button type="button" role="radio" aria-checked=${key === value} key=${key}
      tabindex=${key === value ? 0 : -1} class=${key === value ? "on" : ""} onClick=${() => onChange(key)}>${text}</button>`)}
  </div>`;
}

export function Select({ label, value, options, onChange, hidden }) {
  return html`<label class="field"><span class=${hidden ? "visually-hidden" : "field-label"}>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
    </select></label>`;
}

export function SeedInput({ label, value, onChange, hidden = false }) {
  return html`<label class="field seed"><span class=${hidden ? "visually-hidden" : "field-label"}>${label}</span>
    <input type="number" min="0" max="4294967295" step="1" value=${value} onChange=${(event) => {
      const found = Math.round(Number(event.target.value));
      if (event.target.value !== "" && found >= 0 && found <= 4294967295) onChange(found);
      else event.target.value = value;
    }} /></label>`;
}

export function Section({ title, children, open = true }) {
  return html`<details class="section" open=${open}><summary><h2>${title}</h2></summary><div class="section-body">
    ${children}</div></details>`;
}

// A modal dialog: the browser keeps the focus inside and closes it with Esc.
export function Dialog({ title, onClose, children, wide }) {
  const ref = useRef(null);
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog.open) dialog.showModal();
    return () => dialog.close();
  }, []);
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-label=${title} onClose=${onClose}
    onClick=${(event) => event.target === ref.current && onClose()}>
    <header><h2>${title}</h2><${Button} bare icon="close" label=${t("ui.close")} onClick=${onClose} /></header>
    <div class="dialog-body">${children}</div></dialog>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2><div>${children}</div></div>`;
}

export function Progress({ done, total, label }) {
  return html`<progress max=${total || 1} value=${done || 0} aria-label=${label}></progress>`;
}

// --- short messages at the lower edge ---

const toasts = createStore({ list: [] });

export function toast(text) {
  const item = { text, key: Math.random() };
  toasts.set((old) => ({ list: [...old.list, item].slice(-3) }));
  setTimeout(() => toasts.set((old) => ({ list: old.list.filter((other) => other !== item) })), 3500);
}

export function Toasts() {
  const { list } = useStore(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">${list.map((item) => html`<div key=${item.key}>
    ${item.text}</div>`)}</div>`;
}

// Calls `act` for keys while nothing is being typed: {"r": act, "ArrowLeft": act}
export function useKeys(keys) {
  const held = useRef(keys);
  held.current = keys;
  useEffect(() => {
    const onKey = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const on = event.target;
      if (on.closest("input:not([type=range]), textarea, select, [contenteditable]")) return;
      if (on.closest("input, summary, [role=radio]") && event.key.startsWith("Arrow")) return;
      if (document.querySelector("dialog[open]") && event.key !== "Escape" && !on.closest("dialog[open] .keys")) return;
      const act = held.current[event.key];
      if (act) {
        event.preventDefault();
        act(event);
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}


