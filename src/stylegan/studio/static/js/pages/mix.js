// Mix: sources A down the side, sources B along the top; a cell is A with some layers' styles from B.
import { html, useEffect, useMemo, useState } from "../html.js";
import {
  app, look, lookMessage, lookToValues, number, randomSeed, readAddress, seedPoint, useStore, writeAddress,
} from "../store.js";
import { FrameError, Tile, useFrames } from "../frames.js";
import { Button, Section, SeedInput, useKeys } from "../ui.js";
import { LookPanel } from "../controls.js";
import { LayerChoice, PictureDialog } from "../picture.js";
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
  const layers = (values.layers
    || "").split("_").filter((part) => /^\d+$/.test(part)).map(Number).filter((layer) => layer < info.layers);
  return {
    rows: seedList(values.a, [0, 1, 2, 3]), columns: seedList(values.b, [10, 11, 12, 13, 14]),
    layers: layers.length ? layers : Array.from({ length: to - from + 1 }, (_, i) => from + i), locked: {},
  };
}

export function Mix() {
  const { model, info } = useStore(app);
  const settings = useStore(look);
  const [state, setState] = useState(() => fromAddress(info));
  const [open, setOpen] = useState(null);
  const change = (part) => setState((old) => ({ ...old, ...part }));
  const { rows, columns, layers, locked } = state;
  useEffect(() => {
    writeAddress("mix", { m: model, a: rows.join("_"), b: columns.join("_"), layers: layers.join("_"),
      ...lookToValues(settings) });
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
      onClick=${() => change({ [name]: seeds.filter((_, j) => j !== i), locked: {} })}>×</button>`}</div></div>`;
  return html`<div class="with-panel">
    <section class="stage">
      <div class="toolbar"><h1>${t("mix.title")}</h1><span class="grow"></span>
        <${Button} icon="plus" label=${t("mix.row")} disabled=${rows.length >= MOST}
          onClick=${() => change({ rows: [...rows, randomSeed()] })} />
        <${Button} icon="plus" label=${t("mix.column")} disabled=${columns.length >= MOST}
          onClick=${() => change({ columns: [...columns, randomSeed()], locked: {} })} />
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
