// Pictures on canvases, painted as frames arrive, without re-rendering the page.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
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
  held.current ||= { canvases: new Map(), frames: new Map(), refs: new Map(), recipes: [], since: 0 };
  const state = held.current;
  const [error, setError] = useState(null);
  const key = request ? JSON.stringify(request) : "";
  useLayoutEffect(() => { // before anybody sees the canvases in their new order
    if (request) move(state, request);
  }, [view, key]);
  useEffect(() => {
    if (!request) return;
    connection.render(view, request, async (header, blob) => {
      const bitmap = await createImageBitmap(blob).catch((fault) => console.error(fault));
      if (!bitmap) return void setError({ code: "internal" }); // rather said than left empty
      const older = state.frames.get(header.index);
      if (header.id < state.since || header.index >= state.recipes.length || (older && older.header.id > header.id)) return;
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
        // Preact tells the canvas that was here of its leaving after the one that comes: nothing may be forgotten then.
        if (!canvas) return;
        state.canvases.set(index, canvas);
        const frame = state.frames.get(index);
        if (frame) paint(canvas, frame);
      });
    }
    return state.refs.get(index);
  };
  return [ref, error];
}

// What is shown where, once a request has other places than the last: pictures go along with their recipes, the rest
// is marked until it has been drawn. Of several pictures, what is still to come of older requests is of other places.
function move(state, { model, recipes }) {
  const places = model + JSON.stringify(recipes.map((recipe) => recipe.place));
  const names = recipes.map((recipe) => model + JSON.stringify(recipe));
  const drawn = new Map(state.recipes.map((name, index) => [name, state.frames.get(index)]));
  state.recipes = names;
  if (places === state.places) return;
  state.places = places;
  if (recipes.length > 1) {
    state.frames = new Map(names.map((name, index) => [index, drawn.get(name)]).filter(([, frame]) => frame));
    state.since = connection.next;
  }
  for (const [index, canvas] of state.canvases) {
    const frame = recipes.length > 1 && state.frames.get(index);
    if (frame) paint(canvas, frame);
    else if (index < recipes.length) canvas.dataset.stale = "";
  }
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
