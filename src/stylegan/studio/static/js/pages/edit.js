// Edit: directions as sliders, each on the layers wanted, starting from a seed or a projected photo.
import { html, useEffect, useMemo, useState } from "../html.js";
import { app, look, lookMessage, lookToValues, randomSeed, readAddress, useStore, writeAddress } from "../store.js";
import { FrameError, useFrames } from "../frames.js";
import { Button, Section, Segments, Slider, useKeys } from "../ui.js";
import { LookPanel } from "../controls.js";
import { found, find } from "../directions.js";
import { PointInput, keep, parsePoint, pointText } from "../points.js";
import { copyLink, download, sendTo } from "../actions.js";
import { t } from "../i18n.js";

const METHODS = ["sefa", "ganspace", "labels"];
const REACH = 5; // sliders go from -REACH to REACH, in standard deviations of w
const FIRST = 10; // sliders shown at once

export function Edit() {
  const { model, info } = useStore(app);
  const settings = useStore(look);
  const all = useStore(found);
  const { values } = readAddress();
  const [point, setPoint] = useState(() => parsePoint(values.from || values.seed || "0") || { kind: "seed", seed: 0,
    cls: null });
  const [method, setMethod] = useState(METHODS.includes(values.method) && (info.classes > 1
    || values.method !== "labels") ? values.method : "sefa");
  const [amounts, setAmounts] = useState(() => readAmounts(values.e)); // "method index" -> {strength, first, last}
  const [before, setBefore] = useState(false);
  const [more, setMore] = useState(false);
  const [problem, setProblem] = useState(null);
  const key = `${model} ${method}`;
  const set = all[key];
  const needed = [...new Set([method, ...Object.keys(amounts).map((name) => name.split(" ")[0])])];
  useEffect(() => {
    for (const wanted of needed) find(model, wanted, setProblem);
  }, [model, needed.join(" ")]);
  useEffect(() => {
    writeAddress("edit", { m: model, from: pointText(point), method: method === "sefa" ? null : method,
      e: writeAmounts(amounts), ...lookToValues(settings) });
  }, [model, point, method, amounts, settings]);
  const base = useMemo(() => ({ place: point.kind === "seed" ? { ...point, cls: point.cls ?? settings.cls }
    : point }), [point, settings.cls]);
  const recipe = useMemo(() => {
    const edits = Object.entries(amounts).flatMap(([name, { strength, first, last }]) => {
      const [from, index] = name.split(" ");
      const directions = all[`${model} ${from}`];
      return directions?.id && strength ? [{ direction: directions.id, index: Number(index), strength, first, last }]
        : [];
    });
    return edits.length ? { ...base, edits: edits.slice(0, 32) } : base;
  }, [base, amounts, all]);
  const [canvas, error] = useFrames("edit", { model, look: lookMessage(settings), recipes: [before ? base : recipe] });
  const change = (index, part) => setAmounts((old) => {
    const name = `${method} ${index}`;
    const next = { strength: 0, first: 0, last: info.layers - 1, ...old[name], ...part };
    const rest = { ...old };
    delete rest[name];
    return next.strength === 0 && next.first === 0 && next.last === info.layers - 1 ? rest : { ...rest, [name]: next };
  });
  const toWalk = async () => {
    const kept = await keep(recipe, t("edit.kept", { what: point.kind === "seed" ? point.seed : t("point.photo") }));
    if (kept) sendTo("walk", { k: [pointText(point), pointText(kept)].join("_") });
  };
  useKeys({ r: () => setPoint({ kind: "seed", seed: randomSeed(), cls: null }), d: () => download(recipe),
    l: copyLink, 0: () => setAmounts({}) });
  const changed = Object.keys(amounts).length > 0;
  const items = set?.items ? (more ? set.items : set.items.slice(0, FIRST)) : [];
  return html`<div class="with-panel wide-panel">
    <section class="stage">
      <div class="toolbar"><h1>${t("edit.title")}</h1>
        <${PointInput} label=${t("edit.from")} point=${point} onChange=${setPoint} />
        ${point.kind === "seed" && html`<${Button} bare icon="shuffle" label=${t("explore.shuffle")}
          onClick=${() => setPoint({ kind: "seed", seed: randomSeed(), cls: null })} />`}
        <span class="grow"></span>
        <${Button} bare icon="link" label=${t("action.link")} onClick=${copyLink} />
        <${Button} bare icon="download" label=${t("action.download")} onClick=${() => download(recipe)} />
        <${Button} icon="walk" label=${t("edit.walk")} disabled=${!changed} onClick=${toWalk} /></div>
      <${FrameError} error=${error} />
      <div class="large still"><canvas id="edited" ref=${canvas(0)} width=${info.width} height=${info.height}
        role="img" aria-label=${t("edit.picture")}></canvas>
        <div class="row"><button type="button" class="chip" aria-pressed=${before} disabled=${!changed}
          onPointerDown=${() => setBefore(true)} onPointerUp=${() => setBefore(false)}
          onPointerLeave=${() => setBefore(false)} onKeyDown=${(event) => event.key === " " && setBefore(true)}
            onKeyUp=${() => setBefore(false)} onBlur=${() => setBefore(false)}>${t("edit.before")}</button>
          <button type="button" class="chip" disabled=${!changed} onClick=${() => setAmounts({})}>
            ${t("edit.reset")}</button></div></div>
    </section>
    <aside class="panel" aria-label=${t("edit.directions")}>
      <${Section} title=${t("edit.directions")}>
        <${Segments} label=${t("edit.method")} value=${method}
          onChange=${(next) => { setMethod(next); setMore(false); setProblem(null); }}
          options=${METHODS.filter((name) => name !== "labels" || info.classes > 1).map((name) => [name,
            t(`edit.method.${name}`)])} />
        <p class="faint">${t(`edit.method.${method}.text`)}</p>
        ${problem && html`<p class="notice bad" role="alert">${t(`error.${problem.code}`)} <span lang="en">
          ${problem.text}</span></p>`}
        ${!set?.items && !problem && html`<p class="faint loading-small" role="status">${t("edit.finding")}</p>`}
        ${items.map((item) => html`<${Direction} key=${`${method}${item.index}`} info=${info} item=${item}
          value=${amounts[`${method} ${item.index}`]} onChange=${(part) => change(item.index, part)} />`)}
        ${set?.items && set.items.length > FIRST && !more && html`<button type="button" class="chip"
          onClick=${() => setMore(true)}>${t("edit.more", { n: set.items.length - FIRST })}</button>`}
      </${Section}>
      <${LookPanel} classes=${point.kind === "seed"} />
    </aside></div>`;
}

function Direction({ info, item, value = {}, onChange }) {
  const { strength = 0, first = item.layers[0] ?? 0 } = value;
  const last = Math.min(value.last ?? item.layers.at(-1) ?? info.layers - 1, info.layers - 1);
  const options = Array.from({ length: info.layers }, (_, i) => i);
  return html`<div class=${`direction${strength ? " on" : ""}`}>
    <${Slider} label=${item.name} value=${strength} min=${-REACH} max=${REACH} step=${0.05} fallback=${0} digits=${1}
      onInput=${(v) => onChange({ strength: v, first, last })} />
    <details><summary>${t("edit.layers", { first, last })}</summary><div class="row">
      ${[["first", first, options.filter((i) => i <= last)], ["last", last,
        options.filter((i) => i >= first)]].map(([name, at, list]) => html`<label key=${name} class="field"><span
        class="field-label">${t(`layers.${name === "first" ? "from" : "to"}`)}</span>
        <select value=${at} aria-label=${`${item.name}: ${t(`layers.${name === "first" ? "from" : "to"}`)}`}
          onChange=${(event) => onChange({ strength, first, last, [name]: Number(event.target.value) })}>
        ${list.map((i) => html`<option key=${i} value=${i} selected=${i === at}>
          ${i} · ${info.sizes[i].join("×")}</option>`)}</select></label>`)}
    </div></details></div>`;
}

// In the address: method*index*strength*first*last, joined by "_".
function writeAmounts(amounts) {
  return Object.entries(amounts).map(([name, v]) => `${name.replace(" ",
    "*")}*${v.strength}*${v.first}*${v.last}`).join("_") || null;
}

function readAmounts(text) {
  const result = {};
  for (const part of (text || "").split("_").slice(0, 32)) {
    const [method, index, strength, first, last] = part.split("*");
    const numbers = [index, strength, first, last].map(Number);
    if (!METHODS.includes(method) || numbers.some((n) => !Number.isFinite(n))) continue;
    result[`${method} ${Math.max(0, Math.round(numbers[0]))}`] = {
      strength: Math.max(-REACH, Math.min(REACH, numbers[1])), first: Math.max(0, Math.round(numbers[2])),
        last: Math.max(0, Math.min(39, Math.round(numbers[3]))),
    };
  }
  return result;
}
