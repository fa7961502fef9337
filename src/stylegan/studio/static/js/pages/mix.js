// Mix: sources A down the side, sources B along the top; a cell is A with some layers' styles from B.
import { html, useEffect, useMemo, useState } from "../html.js";
import {
  app, look, lookMessage, lookToValues, number, randomSeed, readAddress, seedPoint, useStore, writeAddress,
} from "../store.js";
import { FrameError, Tile, useFrames } from "../frames.js";
import { Button, Section, SeedInput, useKeys } from "../ui.js";
import { LookPanel } from "../controls.js";
import { LayerChoice, PictureDialog } from "../picture.js";
import { parsePoint, pointText } from "../points.js";
import { t } from "../i18n.js";

const MOST = 8;

function seedList(text, fallback) {
  const found = (text || "").split("_").map((part) => number(part, 0,
    4294967295)).filter((seed) => seed !== null).map(Math.round);
  return found.length ? found.slice(0, MOST) : fallback;
}

function fromAddress(info) {
  const { values } = readAddress();
  const [from, to] = info.ranges.middle || info.ranges.coarse;
  const rows = seedList(values.a, [0, 1, 2, 3]);
  const columns = seedList(values.b, [10, 11, 12, 13, 14]);
  return {
    rows, columns, layers: layerList(values.layers, "_", info) || Array.from({ length: to - from + 1 },
      (_, i) => from + i),
    locked: readLocked(values.lock, rows.length, columns.length, info),
  };
}

// "4_5" -> [4, 5]; "none" -> []; null where nothing is said.
function layerList(text, between, info) {
  if (text === "none") return [];
  const found = (text || "").split(between).filter((part) => /^\d+$/.test(part)).map(Number)
    .filter((layer) => layer < info.layers);
  return found.length ? found : null;
}

const layerText = (layers, between) => layers.join(between) || "none";

// Locked cells in the address: row*column*A*B*layers, joined by "_"; A and B with their class, as 5 or 5c1.
function writeLocked(locked) {
  return Object.entries(locked).map(([at, { place, mix }]) => [at.replace(" ", "*"), pointText(place),
    pointText(mix[0].point), layerText(mix[0].layers, ".")].join("*")).join("_") || null;
}

function readLocked(text, rows, columns, info) {
  const result = {};
  for (const part of (text || "").split("_").slice(0, MOST * MOST)) {
    const [i, j, a, b, layers] = part.split("*");
    const [place, point] = [a, b].map((one) => parsePoint(one || ""));
    const chosen = layerList(layers, ".", info);
    if (!/^\d$/.test(i) || !/^\d$/.test(j) || i >= rows || j >= columns) continue;
    if (place?.kind !== "seed" || point?.kind !== "seed" || !chosen) continue;
    if ([place, point].some(({ cls }) => cls !== null && cls >= info.classes)) continue;
    result[`${i} ${j}`] = { place, mix: [{ point, layers: chosen }] };
  }
  return result;
}

// The locked cells once a row (side 0) or a column (side 1) has gone: its own go, those behind it move up.
function withoutLine(locked, side, gone) {
  const result = {};
  for (const [at, recipe] of Object.entries(locked)) {
    const place = at.split(" ").map(Number);
    if (place[side] === gone) continue;
    if (place[side] > gone) place[side] -= 1;
    result[place.join(" ")] = recipe;
  }
  return result;
}

export function Mix() {
  const { model, info } = useStore(app);
  const settings = useStore(look);
  const [state, setState] = useState(() => fromAddress(info));
  const [open, setOpen] = useState(null);
  const change = (part) => setState((old) => ({ ...old, ...part }));
  const { rows, columns, layers, locked } = state;
  useEffect(() => {
    writeAddress("mix", { m: model, a: rows.join("_"), b: columns.join("_"), layers: layerText(layers, "_"),
      lock: writeLocked(locked), ...lookToValues(settings) });
  }, [state, settings, model]);
  const recipes = useMemo(() => {
    const source = (seed) => ({ place: seedPoint(seed, settings.cls) });
    const cell = (i, j) => locked[`${i} ${j}`] || {
      place: seedPoint(rows[i], settings.cls), mix: [{ point: seedPoint(columns[j], settings.cls), layers }],
    };
    return [...columns.map(source), ...rows.map(source), ...rows.flatMap((_, i) => columns.map((_, j) => cell(i, j)))];
  }, [rows, columns, layers, locked, settings.cls]);
  const [canvas, error] = useFrames("mix", { model, look: lookMessage(settings), side: 256, recipes });
  const at = (i, j) => columns.length + rows.length + i * columns.length + j;
  const lock = (i, j) => {
    const next = { ...locked };
    if (`${i} ${j}` in next) delete next[`${i} ${j}`];
    else next[`${i} ${j}`] = recipes[at(i, j)];
    change({ locked: next });
  };
  const shuffle = () => change({ rows: rows.map(randomSeed), columns: columns.map(randomSeed) });
  useKeys({ r: shuffle });
  const size = [info.width, info.height];
  const source = (seeds, name, i, index) => html`<div class="mix-source" key=${`${name}${i}`}>
    <${Tile} canvas=${canvas(index)} size=${size} label=${t(`mix.${name}`, { seed: seeds[i] })} />
    <div class="mix-seed"><${SeedInput} hidden label=${t(`mix.${name}.seed`, { n: i + 1 })} value=${seeds[i]}
      onChange=${(seed) => change({ [name]: seeds.map((old, j) => (j === i ? seed : old)) })} />
    ${seeds.length > 1 && html`<button type="button" class="mix-remove"
      aria-label=${t("mix.remove", { seed: seeds[i] })}
      onClick=${() => change({ [name]: seeds.filter((_, j) => j !== i),
        locked: withoutLine(locked, name === "rows" ? 0 : 1, i) })}>×</button>`}</div></div>`;
  return html`<div class="with-panel">
    <section class="stage">
      <div class="toolbar"><h1>${t("mix.title")}</h1><span class="grow"></span>
        <${Button} icon="plus" label=${t("mix.row")} disabled=${rows.length >= MOST}
          onClick=${() => change({ rows: [...rows, randomSeed()] })} />
        <${Button} icon="plus" label=${t("mix.column")} disabled=${columns.length >= MOST}
          onClick=${() => change({ columns: [...columns, randomSeed()] })} />
        <${Button} icon="shuffle" label=${t("explore.shuffle")} onClick=${shuffle} /></div>
      <${FrameError} error=${error} />
      <div class="mix-scroll" tabindex="0" role="region" aria-label=${t("mix.title")}>
        <div class="mix" style=${{ gridTemplateColumns: `repeat(${columns.length + 1}, minmax(76px, 1fr))` }}>
          <div class="mix-corner"><span>B →</span><span>A ↓</span></div>
          ${columns.map((_, j) => source(columns, "columns", j, j))}
          ${rows.map((row, i) => html`${source(rows, "rows", i, columns.length + i)}
            ${columns.map((column, j) => html`<div class=${`mix-cell${`${i} ${j}` in locked ? " locked" : ""}`}
              key=${`${i} ${j}`}>
              <${Tile} canvas=${canvas(at(i, j))} size=${size} label=${t("mix.cell", { a: row, b: column })}
                onClick=${() => setOpen([i, j])} />
              <button type="button" class="mix-lock" aria-pressed=${`${i} ${j}` in locked}
                aria-label=${t("mix.lock", { a: row, b: column })} title=${t("mix.lock", { a: row, b: column })}
                onClick=${() => lock(i, j)}><svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path
                  d=${`${i} ${j}` in locked ? "M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z"
                  : "M7 11V8a5 5 0 0 1 9.500-2M5 11h14v9H5z"}/></svg></button></div>`)}`)}
        </div></div>
    </section>
    <aside class="panel" aria-label=${t("look.title")}>
      <${Section} title=${t("mix.layers")}><${LayerChoice} label=${t("mix.layers")} info=${info} chosen=${layers}
        onChange=${(next) => change({ layers: next })} /></${Section}>
      <${LookPanel} />
    </aside>
    ${open && html`<${PictureDialog} title=${t("mix.cell", { a: rows[open[0]], b: columns[open[1]] })}
      recipe=${recipes[at(...open)]} onClose=${() => setOpen(null)} />`}
  </div>`;
}
