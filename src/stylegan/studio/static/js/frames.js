// Pictures on canvases, painted as frames arrive, without re-rendering the page.
import { html, useEffect, useRef, useState } from "./html.js";
import { connection } from "./connection.js";
import { t } from "./i18n.js";

async function paint(canvas, frame) {
  const { header, bitmap } = frame;
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  canvas.dataset.drawn = header.preview ? "preview" : "full";
  canvas.dataset.frames = Number(canvas.dataset.frames || 0) + 1;
  canvas.style.imageRendering = header.width <= 64 && !header.preview ? "pixelated" : "auto";
  delete canvas.dataset.stale;
}

// request: {model, recipes, look, side?} or null. Returns [ref(index) for canvases, error or null].
export function useFrames(view, request) {
  const held = useRef(null);
  held.current ||= { canvases: new Map(), frames: new Map(), refs: new Map(), places: "" };
  const state = held.current;
  const [error, setError] = useState(null);
  const key = request ? JSON.stringify(request) : "";
  useEffect(() => {
    if (!request) return;
    const places = request.model + JSON.stringify(request.recipes.map((recipe) => recipe.place));
    if (places !== state.places) {
      state.places = places;
      for (const [index, canvas] of state.canvases) if (index < request.recipes.length) canvas.dataset.stale = "";
    }
    connection.render(view, request, async (header, blob) => {
      const bitmap = await createImageBitmap(blob).catch(() => null);
      if (!bitmap) return;
      const older = state.frames.get(header.index);
      if (older && older.header.id > header.id) return;
      const frame = { header, bitmap };
      state.frames.set(header.index, frame);
      const canvas = state.canvases.get(header.index);
      if (canvas) paint(canvas, frame);
      setError(null);
    }, setError);
  }, [view, key]);
  useEffect(() => () => connection.cancel(view), [view]);
  const ref = (index) => {
    if (!state.refs.has(index)) {
      state.refs.set(index, (canvas) => {
        if (!canvas) return void state.canvases.delete(index);
        state.canvases.set(index, canvas);
        const frame = state.frames.get(index);
        if (frame) paint(canvas, frame);
      });
    }
    return state.refs.get(index);
  };
  return [ref, error];
}

// One canvas with its label; a button where something happens on a click.
export function Tile({ canvas, label, caption, onClick, selected, children, size }) {
  const inner = html`<canvas ref=${canvas} role="img" aria-label=${label} width=${size?.[0] || 64}
    height=${size?.[1] || 64}></canvas>`;
  return html`<figure class=${`tile${selected ? " selected" : ""}`}>
    ${onClick ? html`<button class="tile-button" onClick=${onClick} aria-pressed=${selected} title=${label}>
      ${inner}</button>` : inner}
    ${caption !== undefined && html`<figcaption>${caption}</figcaption>`}
    ${children}
  </figure>`;
}

export function FrameError({ error }) {
  if (!error) return null;
  return html`<p class="notice ${error.code === "busy" ? "warn" : "bad"}" role="alert">
    ${t(`error.${error.code}`)}${error.code === "refused" ? html` <span lang="en">${error.text}</span>` : ""}</p>`;
}
