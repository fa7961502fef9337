// One picture large in a dialog, and the choice of layers, as several pages need them.
import { html } from "./html.js";
import { app, look, lookMessage, useStore } from "./store.js";
import { FrameError, useFrames } from "./frames.js";
import { Button, Dialog, useKeys } from "./ui.js";
import { download } from "./actions.js";
import { t } from "./i18n.js";

export function PictureDialog({ recipe, title, onClose, children }) {
  const { model, info } = useStore(app);
  const settings = useStore(look);
  const [canvas, error] = useFrames("dialog", { model, look: lookMessage(settings), recipes: [recipe] });
  useKeys({ Escape: onClose });
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <${FrameError} error=${error} />
    <canvas class="dialog-picture" ref=${canvas(0)} width=${info.width} height=${info.height} role="img"
      aria-label=${title}></canvas>
    <div class="row end">${children}<${Button} icon="download" label=${t("action.download.short")}
      onClick=${() => download(recipe)} /></div>
  </${Dialog}>`;
}

// Bubbles for layers, with the paper's ranges as shortcuts. chosen: array of layer numbers.
export function LayerChoice({ label, info, chosen, onChange }) {
  const has = (layer) => chosen.includes(layer);
  const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const same = (layers) => JSON.stringify(layers) === JSON.stringify(chosen);
  const first = chosen.length ? Math.min(...chosen) : 0;
  const last = chosen.length ? Math.max(...chosen) : 0;
  const toggle = (layer) => onChange((has(layer) ? chosen.filter((l) => l !== layer) : [...chosen, layer]).sort((a,
    b) => a - b));
  return html`<div class="layer-choice" role="group" aria-label=${label}>
    <div class="row">${Object.entries(info.ranges).map(([name, [from, to]]) => html`<button type="button" class="chip"
      key=${name}
      aria-pressed=${same(range(from, to))} onClick=${() => onChange(range(from, to))}>${t(`layers.${name}`)} <small>
        ${from}–${to}</small></button>`)}</div>
    <div class="bubbles">${info.sizes.map(([w, h], i) => html`<button type="button" key=${i} aria-pressed=${has(i)}
      title=${t("layers.one", { layer: i, size: `${w}×${h}` })}
        aria-label=${t("layers.one", { layer: i, size: `${w}×${h}` })} onClick=${() => toggle(i)}>${i}</button>`)}</div>
    <label class="range-row"><span>${t("layers.from")}</span><input type="range" min="0" max=${info.layers - 1}
      value=${first}
      onInput=${(event) => onChange(range(Number(event.target.value), Math.max(last, Number(event.target.value))))} />
        <output>${first}</output></label>
    <label class="range-row"><span>${t("layers.to")}</span><input type="range" min="0" max=${info.layers - 1}
      value=${last}
      onInput=${(event) => onChange(range(Math.min(first, Number(event.target.value)),
        Number(event.target.value)))} /><output>${last}</output></label>
  </div>`;
}
