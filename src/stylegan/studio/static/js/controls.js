// The panel of settings that all drawing pages share: truncation, class, noise.
import { html } from "./html.js";
import { app, look, plainLook, useStore } from "./store.js";
import { t } from "./i18n.js";
import { Button, Section, SeedInput, Segments, Select, Slider } from "./ui.js";

export function LookPanel({ classes = true }) {
  const { info } = useStore(app);
  const value = useStore(look);
  if (!info) return null;
  const set = (part) => look.set(part);
  const cutoff = value.cutoff ?? info.cutoff ?? -1;
  const names = Array.from({ length: info.classes }, (_, i) => [String(i), info.class_names[i]
    ? `${i} · ${info.class_names[i]}` : String(i)]);
  return html`
    ${info.truncatable && html`<${Section} title=${t("look.truncation")}>
      <${Slider} label=${t("look.psi")} value=${value.psi ?? info.psi} min=${-1} max=${1.5} step=${0.01}
        fallback=${info.psi}
        hint=${t("look.psi.hint")} onInput=${(psi) => set({ psi: psi === info.psi ? null : psi })} />
      <${Slider} label=${t("look.cutoff")} digits=${0} value=${cutoff < 0 ? info.layers : Math.min(cutoff,
        info.layers)} min=${0}
        max=${info.layers} step=${1} fallback=${Math.min(info.cutoff ?? info.layers, info.layers)}
          hint=${t("look.cutoff.hint")}
        onInput=${(n) => set({ cutoff: n === Math.min(info.cutoff ?? info.layers, info.layers) ? null
          : n >= info.layers ? -1 : n })} />
      ${info.classes > 0 && html`<div class="field" title=${t("look.towards.hint")}>
        <span class="field-label" aria-hidden="true">${t("look.towards")}</span>
        <${Segments} label=${t("look.towards")} value=${value.towards} onChange=${(towards) => set({ towards })}
          options=${["all", "class"].map((mean) => [mean, t(`look.towards.${mean}`)])} /></div>`}
    </${Section}>`}
    ${classes && info.classes > 0 && html`<${Section} title=${t("look.class")}>
      <${Select} label=${t("look.class")} hidden value=${value.cls === null ? "" : String(value.cls)}
        options=${[["", t("look.class.turn")], ...names]} onChange=${(text) => set({ cls: text === "" ? null
          : Number(text) })} />
    </${Section}>`}
    ${info.noise && html`<${Section} title=${t("look.noise")}>
      <${Segments} label=${t("look.noise")} value=${value.mode} onChange=${(mode) => set({ mode })}
        options=${["random", "stored", "none"].map((mode) => [mode, t(`look.noise.${mode}`)])} />
      ${value.mode === "random" && html`<div class="row">
        <label class="check"><input type="checkbox" checked=${value.noiseSeed !== null}
          onChange=${(event) => set({ noiseSeed: event.target.checked ? 0 : null })} />${t("look.noise.fixed")}</label>
        ${value.noiseSeed !== null && html`<${SeedInput} label=${t("look.noise.seed")} hidden value=${value.noiseSeed}
          onChange=${(noiseSeed) => set({ noiseSeed })} />`}
      </div>`}
      ${value.mode !== "none" && html`<${NoiseLayers} info=${info} value=${value} set=${set} />`}
    </${Section}>`}
    <div class="row end"><${Button} icon="reset" label=${t("look.reset")}
      disabled=${JSON.stringify(value) === JSON.stringify(plainLook)}
      onClick=${() => look.set({ ...plainLook })} /></div>`;
}

// One row per layer: on or off, and how strong. Layers of a level stand together under its size.
function NoiseLayers({ info, value, set }) {
  const strength = (i) => value.strengths[i] ?? 1;
  const change = (i, s) => {
    const next = Array.from({ length: info.layers }, (_, j) => (j === i ? s : strength(j)));
    set({ strengths: next.every((v) => v === 1) ? [] : next });
  };
  const all = (s) => set({ strengths: s === 1 ? [] : Array(info.layers).fill(s) });
  return html`<details class="layers"><summary>${t("look.noise.layers")}</summary>
    <div class="row"><button type="button" class="chip" onClick=${() => all(1)}>${t("look.noise.all")}</button>
      <button type="button" class="chip" onClick=${() => all(0)}>${t("look.noise.nothing")}</button></div>
    ${info.sizes.map(([w, h], i) => html`<div class="layer" key=${i}>
      <label class="check"><input type="checkbox" checked=${strength(i) > 0}
        onChange=${(event) => change(i, event.target.checked ? 1 : 0)} />
        <span class="layer-name">${i}<small>${w}×${h}</small></span></label>
      <input type="range" min="0" max="3" step="0.05" value=${strength(i)}
        aria-label=${t("look.noise.strength", { layer: i, size: `${w}×${h}` })}
        onInput=${(event) => change(i, Number(event.target.value))} />
      <output>${strength(i).toFixed(1)}</output></div>`)}
  </details>`;
}
