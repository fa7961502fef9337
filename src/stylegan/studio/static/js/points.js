// Images that were projected or kept: the server holds their styles under an id, until it ends or forgets the oldest.
import { html } from "./html.js";
import { app, createStore, look, lookMessage, useStore } from "./store.js";
import { SeedInput, toast } from "./ui.js";
import { t } from "./i18n.js";

export const kept = createStore({ list: [] }); // {id, model, name}

export function addKept(id, name) {
  kept.set((old) => ({ list: [{ id, model: app.get().model, name },
    ...old.list.filter((item) => item.id !== id)].slice(0, 48) }));
}

// Remembers a recipe's styles on the server; returns its point, or null.
export async function keep(recipe, name) {
  const body = JSON.stringify({ model: app.get().model, recipe, look: lookMessage(look.get()) });
  const answer = await fetch("/api/kept", { method: "POST", body, headers: { "content-type": "application/json" } });
  const found = await answer.json().catch(() => ({ code: "internal" }));
  if (!answer.ok) {
    toast(`${t(`error.${found.code}`)} ${found.code === "refused" ? found.text : ""}`);
    return null;
  }
  addKept(found.id, name);
  return { kind: "kept", id: found.id };
}

export const pointText = (point) => (point.kind === "kept" ? `k${point.id}` : point.cls === null
  || point.cls === undefined ? String(point.seed) : `${point.seed}c${point.cls}`);

export function parsePoint(text) {
  const found = /^k([a-z0-9]{1,32})$/.exec(text);
  if (found) return { kind: "kept", id: found[1] };
  const seed = /^(\d{1,10})(?:c(\d{1,5}))?$/.exec(text);
  if (!seed || Number(seed[1]) > 4294967295) return null;
  return { kind: "seed", seed: Number(seed[1]), cls: seed[2] === undefined ? null : Number(seed[2]) };
}

// A seed, or one of the kept images.
export function PointInput({ label, point, onChange }) {
  const { model } = useStore(app);
  const own = useStore(kept).list.filter((item) => item.model === model);
  const isKept = point.kind === "kept";
  const options = isKept && !own.some((item) => item.id === point.id) ? [{ id: point.id, name: t("point.gone") },
    ...own] : own;
  return html`<div class="point-input">
    ${(own.length > 0 || isKept) && html`<label class="field"><span class="visually-hidden">${label}</span><select
      value=${isKept ? point.id : ""}
      onChange=${(event) => onChange(event.target.value ? { kind: "kept", id: event.target.value } : { kind: "seed",
        seed: 0, cls: null })}>
      <option value="" selected=${!isKept}>${t("point.seed")}</option>
      ${options.map((item) => html`<option key=${item.id} value=${item.id} selected=${item.id === point.id}>
        ${item.name}</option>`)}</select></label>`}
    ${!isKept && html`<${SeedInput} hidden label=${label} value=${point.seed}
      onChange=${(seed) => onChange({ ...point, seed })} />`}
  </div>`;
}
