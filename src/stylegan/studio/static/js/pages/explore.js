// Explore: a grid of seeds; one of them large, dragged through a plane of w.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import {
  app, look, lookMessage, lookToValues, number, plainLook, randomSeed, readAddress, seedPoint, useStore, writeAddress,
} from "../store.js";
import { FrameError, Tile, useFrames } from "../frames.js";
import { Button, SeedInput, Section, Segments, Select, Slider, toast, useKeys } from "../ui.js";
import { find, found } from "../directions.js";
import { LookPanel } from "../controls.js";
import {
  clearHistory, copyLink, download, favourites, history_, isFavourite, note, sendTo, toggleFavourite,
} from "../actions.js";
import { t } from "../i18n.js";

const COUNTS = [12, 24, 48, 96];
const STRENGTH = 3; // standard deviations of w at 1 on an axis that is a direction
const REACH = 1.5; // the pad shows x and y from -REACH to REACH

function fromAddress() {
  const { values } = readAddress();
  const seeds = (values.plane || "").split("_").map((text) => number(text, 0,
    4294967295)).filter((seed) => seed !== null);
  const open = number(values.open, 0, 4294967295);
  return {
    first: Math.round(number(values.s, 0, 4294967295, 0)),
    count: COUNTS.includes(Number(values.n)) ? Number(values.n) : 24,
    open, plane: open !== null && seeds.length === 2 ? seeds : open !== null ? others(open) : [1, 2],
    axes: axesFrom(values.axes), x: number(values.x, -8, 8, 0), y: number(values.y, -8, 8, 0),
  };
}

// What x and y are: null = towards two other seeds; else two directions {method, pair}.
function axesFrom(text) {
  const [method, ...pair] = (text || "").split("*");
  const numbers = pair.map((part) => number(part, 0, 63)).filter((n) => n !== null).map(Math.round);
  return ["sefa", "ganspace"].includes(method) && numbers.length === 2 ? { method, pair: numbers } : null;
}

const others = (seed) => [(seed + 1) % 4294967296, (seed + 2) % 4294967296];

export function Explore() {
  const { model, info } = useStore(app);
  const [state, setState] = useState(fromAddress);
  const settings = useStore(look);
  const change = (part) => setState((old) => ({ ...old, ...part }));
  useEffect(() => {
    const { first, count, open, plane, axes, x, y } = state;
    const towards = axes ? { axes: [axes.method, ...axes.pair].join("*") } : { plane: plane.join("_") };
    const place = open === null ? {} : { open, ...towards, x: x || null, y: y || null };
    writeAddress("explore", { m: model, s: first || null, n: count === 24 ? null : count, ...place,
      ...lookToValues(settings) });
  }, [state, settings, model]);
  useEffect(() => {
    const onHash = () => {
      if (readAddress().page === "explore") setState(fromAddress());
    };
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, []);
  const openSeed = (seed) => change({ open: seed, plane: others(seed), x: 0, y: 0 });
  if (!info) return null;
  return html`<div class="with-panel">
    ${state.open === null
      ? html`<${Grid} info=${info} state=${state} change=${change} openSeed=${openSeed} />`
      : html`<${Large} info=${info} state=${state} change=${change} />`}
    <aside class="panel" aria-label=${t("look.title")}>
      ${state.open !== null && html`<${Plane} info=${info} state=${state} change=${change} />`}
      <${LookPanel} />
      <${Kept} change=${change} />
    </aside>
  </div>`;
}

function Grid({ info, state, change, openSeed }) {
  const { model } = useStore(app);
  const settings = useStore(look);
  const seeds = useMemo(() => Array.from({ length: state.count }, (_, i) => (state.first + i) % 4294967296),
    [state.first, state.count]);
  const request = {
    model, look: lookMessage(settings), side: 256,
    recipes: seeds.map((seed) => ({ place: seedPoint(seed, settings.cls) })),
  };
  const [canvas, error] = useFrames("explore.grid", request);
  const go = (first) => change({ first: Math.max(0, Math.min(4294967295, first)) });
  useKeys({
    r: () => go(randomSeed()), ArrowRight: () => go(state.first + state.count),
      ArrowLeft: () => go(state.first - state.count),
  });
  return html`<section class="stage">
    <div class="toolbar">
      <h1>${t("explore.title")}</h1><span class="grow"></span>
      <${Button} bare icon="previous" label=${t("explore.previous")} disabled=${state.first === 0}
        onClick=${() => go(state.first - state.count)} />
      <${SeedInput} label=${t("explore.first")} hidden value=${state.first} onChange=${go} />
      <${Button} bare icon="next" label=${t("explore.next")} onClick=${() => go(state.first + state.count)} />
      <${Button} icon="shuffle" label=${t("explore.shuffle")} onClick=${() => go(randomSeed())} />
      <${Segments} label=${t("explore.count")} value=${state.count} options=${COUNTS.map((n) => [n, String(n)])}
        onChange=${(count) => change({ count })} />
    </div>
    <${FrameError} error=${error} />
    <div class=${`tiles n${state.count}`}>
      ${seeds.map((seed, i) => html`<${Tile} key=${i} canvas=${canvas(i)} size=${[info.width, info.height]}
        caption=${seed}
        label=${caption(info, seed, settings.cls)} onClick=${() => openSeed(seed)} />`)}
    </div>
  </section>`;
}

export function caption(info, seed, cls) {
  if (!info.classes) return t("picture.seed", { seed });
  const number = cls ?? seed % info.classes;
  return t("picture.seed.class", { seed, cls: info.class_names[number] ?? number });
}

function Large({ info, state, change }) {
  const { model } = useStore(app);
  const settings = useStore(look);
  const directions = useAxes(model, state.axes);
  const recipe = useMemo(
    () => makeRecipe(state, settings.cls, directions),
    [state.open, state.plane, state.axes, state.x, state.y, settings.cls, directions],
  );
  const [canvas, error] = useFrames("explore.large", { model, look: lookMessage(settings), recipes: [recipe] });
  const drag = useRef(null);
  const starred = useStore(favourites) && isFavourite(recipe);
  useEffect(() => {
    const timer = setTimeout(() => note(recipe), 1200); // what was looked at, not what was passed by
    return () => clearTimeout(timer);
  }, [recipe, settings]);
  const clamp = (v) => Math.round(Math.max(-8, Math.min(8, v)) * 1000) / 1000;
  const move = (dx, dy) => change({ x: clamp(state.x + dx), y: clamp(state.y + dy) });
  const close = () => change({ open: null });
  const step = (by) => change({ open: (state.open + by + 4294967296) % 4294967296,
    plane: others((state.open + by + 4294967296) % 4294967296), x: 0, y: 0 });
  useKeys({
    ArrowLeft: () => move(-0.05, 0), ArrowRight: () => move(0.05, 0), ArrowUp: () => move(0, -0.05),
      ArrowDown: () => move(0, 0.05),
    Escape: close, f: () => toggleFavourite(recipe), d: () => download(recipe), l: copyLink, 0: () => change({ x: 0,
      y: 0 }),
    r: () => change({ plane: [randomSeed(), randomSeed()] }), n: () => step(1), p: () => step(-1),
  });
  const onDown = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current = { x: event.clientX, y: event.clientY, at: [state.x, state.y],
      side: event.currentTarget.clientWidth };
  };
  const onMove = (event) => {
    const from = drag.current;
    if (!from) return;
    change({ x: clamp(from.at[0] + (event.clientX - from.x) / from.side),
      y: clamp(from.at[1] + (event.clientY - from.y) / from.side) });
  };
  const onUp = () => { drag.current = null; };
  return html`<section class="stage">
    <div class="toolbar">
      <${Button} bare icon="previous" label=${t("explore.back")} onClick=${close} />
      <h1>${caption(info, state.open, settings.cls)}</h1><span class="grow"></span>
      <${Button} bare icon="star" kind=${starred ? "on" : ""} pressed=${starred} label=${t("action.favourite")}
        onClick=${() => toggleFavourite(recipe)} />
      <${Button} bare icon="link" label=${t("action.link")} onClick=${copyLink} />
      <${Button} bare icon="download" label=${t("action.download")} onClick=${() => download(recipe)} />
      ${info.styles && html`<${Button} icon="edit" label=${t("action.edit")}
        onClick=${() => sendTo("edit", { seed: state.open })} />
      <${Button} icon="mix" label=${t("action.mix")} onClick=${() => sendTo("mix", { a: state.open })} />`}
    </div>
    <${FrameError} error=${error} />
    <div class="large" onPointerDown=${onDown} onPointerMove=${onMove} onPointerUp=${onUp} onPointerCancel=${onUp}>
      <canvas id="large" ref=${canvas(0)} width=${info.width} height=${info.height} role="img"
        aria-label=${t("explore.large", { what: caption(info, state.open, settings.cls), x: state.x.toFixed(2),
        y: state.y.toFixed(2) })}></canvas>
      <p class="hint">${t("explore.drag")}</p>
    </div>
  </section>`;
}

// The directions of the axes, found when they are first needed.
function useAxes(model, axes) {
  const all = useStore(found);
  useEffect(() => {
    if (axes) find(model, axes.method, (problem) => toast(`${t(`error.${problem.code}`)} ${problem.text}`));
  }, [model, axes && axes.method]);
  const own = axes ? all[`${model} ${axes.method}`] : null;
  return own && own.items ? own : null;
}

export function makeRecipe(state, cls, directions) {
  const place = seedPoint(state.open, cls);
  if (!state.x && !state.y) return { place };
  if (!state.axes) {
    return { place: { kind: "plane", corners: [state.open, ...state.plane].map((seed) => seedPoint(seed, cls)),
      x: state.x, y: state.y } };
  }
  if (!directions) return { place };
  const last = directions.items.length - 1;
  const edit = (axis, at) => ({ direction: directions.id, index: Math.min(state.axes.pair[axis], last),
    strength: STRENGTH * at });
  return { place, edits: [edit(0, state.x), edit(1, state.y)].filter((one) => one.strength) };
}

// The plane seen from above: this seed in the middle, what is at (1, 0) and (0, 1), a handle at (x, y).
function Plane({ info, state, change }) {
  const { model } = useStore(app);
  const settings = useStore(look);
  const directions = useAxes(model, state.axes);
  const corners = [[0, 0], [1, 0], [0, 1]];
  const [canvas] = useFrames("explore.corners", {
    model, look: lookMessage(settings), side: 96,
    recipes: corners.map(([x, y]) => makeRecipe({ ...state, x, y }, settings.cls, directions)),
  });
  const pad = useRef(null);
  const dragging = useRef(false);
  const percent = (v) => `${50 + (50 * Math.max(-REACH, Math.min(REACH, v))) / REACH}%`;
  const to = (event) => {
    const box = pad.current.getBoundingClientRect();
    const at = (v, start, size) => Math.round(Math.max(-1, Math.min(1,
      (2 * (v - start)) / size - 1)) * REACH * 1000) / 1000;
    change({ x: at(event.clientX, box.left, box.width), y: at(event.clientY, box.top, box.height) });
  };
  const stop = () => { dragging.current = false; };
  const start = (event) => {
    dragging.current = true;
    pad.current.setPointerCapture(event.pointerId);
    to(event);
  };
  const set = (i, seed) => change({ plane: state.plane.map((old, j) => (j === i ? seed : old)) });
  const setAxis = (i, index) => change({ axes: { ...state.axes, pair: state.axes.pair.map((old, j) => (j === i ? index
    : old)) } });
  const names = directions ? directions.items.map((item) => [String(item.index), item.name]) : [];
  return html`<${Section} title=${t("explore.plane")}>
    ${info.styles && html`<${Segments} label=${t("explore.axes")} value=${state.axes ? state.axes.method : ""}
      options=${[["", t("explore.axes.seeds")], ["sefa", t("edit.method.sefa")], ["ganspace",
        t("edit.method.ganspace")]]}
      onChange=${(method) => change({ axes: method ? { method, pair: [0, 1] } : null, x: 0, y: 0 })} />`}
    <div class="pad" ref=${pad} aria-hidden="true" onPointerDown=${start}
      onPointerMove=${(event) => dragging.current && to(event)}
      onPointerUp=${stop} onPointerCancel=${stop}>
      ${corners.map(([x, y], i) => html`<div class="pad-corner" key=${i} style=${{ left: percent(x), top: percent(y) }}>
        <canvas ref=${canvas(i)} width=${info.width} height=${info.height}></canvas></div>`)}
      <div class="pad-handle" style=${{ left: percent(state.x), top: percent(state.y) }}></div>
    </div>
    <${Slider} label="x" value=${state.x} min=${-3} max=${3} step=${0.01} fallback=${0}
      onInput=${(x) => change({ x })} />
    <${Slider} label="y" value=${state.y} min=${-3} max=${3} step=${0.01} fallback=${0}
      onInput=${(y) => change({ y })} />
    ${state.axes
      ? html`<div class="row">${["right", "down"].map((way, i) => names.length > 0
        && html`<${Select} key=${way} label=${t(`explore.direction.${way}`)} value=${String(state.axes.pair[i])} options=${names}
            onChange=${(index) => setAxis(i, Number(index))} />`)}</div>`
      : html`<div class="row">
          <${SeedInput} label=${t("explore.right")} value=${state.plane[0]} onChange=${(seed) => set(0, seed)} />
          <${SeedInput} label=${t("explore.down")} value=${state.plane[1]} onChange=${(seed) => set(1, seed)} />
          <${Button} bare icon="shuffle" label=${t("explore.plane.new")}
            onClick=${() => change({ plane: [randomSeed(), randomSeed()] })} />
        </div>`}
  </${Section}>`;
}

function Kept({ change }) {
  const { list } = useStore(favourites);
  const { list: seen } = useStore(history_);
  return html`
    <${Section} title=${t("explore.favourites")}>${list.length
      ? html`<${Strip} view="kept.favourites" list=${list.slice(0, 48)} change=${change} />`
      : html`<p class="faint">${t("explore.favourites.none")}</p>`}</${Section}>
    <${Section} title=${t("explore.history")} open=${false}>${seen.length
      ? html`<${Strip} view="kept.history" list=${seen.slice(0, 48)} change=${change} />
          <div class="row end"><${Button} icon="trash" label=${t("explore.history.clear")} onClick=${clearHistory} />
            </div>`
      : html`<p class="faint">${t("explore.history.none")}</p>`}</${Section}>`;
}

// Small pictures of the current model; each is drawn with the settings of today, and opens with its own.
function Strip({ view, list, change }) {
  const { model, info } = useStore(app);
  const own = list.filter((item) => item.model === model && ["seed", "plane"].includes(item.recipe.place.kind)
    && !item.recipe.edits);
  const request = own.length ? { model, look: lookMessage(look.get()), side: 96,
    recipes: own.map((item) => item.recipe) } : null;
  const [canvas] = useFrames(view, request);
  const open = (item) => {
    const place = item.recipe.place;
    const seeds = place.kind === "plane" ? place.corners.map((corner) => corner.seed) : [place.seed,
      ...others(place.seed)];
    look.set({ ...plainLook, ...item.look });
    change({ open: seeds[0], plane: seeds.slice(1), axes: null, x: place.x || 0, y: place.y || 0 });
  };
  if (!own.length) return html`<p class="faint">${t("explore.other")}</p>`;
  return html`<div class="strip">${own.map((item, i) => html`<${Tile} key=${i} canvas=${canvas(i)}
    size=${[info.width, info.height]}
    label=${t("explore.reopen")} onClick=${() => open(item)} />`)}</div>`;
}

