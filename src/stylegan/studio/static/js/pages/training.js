// Training: every run of the folder, live; one of them in full with its previews over time and its curves.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { app, readAddress, useStore, writeAddress } from "../store.js";
import { getJson } from "../connection.js";
import { Button, Empty, Progress, useKeys } from "../ui.js";
import { Chart } from "../curves.js";
import { formatBytes, formatNumber, formatTime, t } from "../i18n.js";

const EVERY = 4000; // milliseconds between two looks

// What the page asks for again and again while it is seen.
function usePolling(path, deps) {
  const [state, setState] = useState({ value: null, error: null });
  useEffect(() => {
    let timer = 0;
    let gone = false;
    const look = async () => {
      if (path && !document.hidden) {
        try {
          const value = await getJson(path);
          if (!gone) setState({ value, error: null });
        } catch (error) {
          if (!gone) setState((old) => ({ ...old, error }));
        }
      }
      if (!gone) timer = setTimeout(look, EVERY);
    };
    setState({ value: null, error: null });
    look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, deps);
  return state;
}

export function Training() {
  const { hello, model } = useStore(app);
  const [chosen, setChosen] = useState(readAddress().values.run || null);
  const { value, error } = usePolling("/api/runs", []);
  useEffect(() => writeAddress("training", { m: model, run: chosen }), [chosen, model]);
  const runs = value ? value.runs : [];
  const current = runs.find((run) => run.id === chosen) || (runs.length === 1 && chosen !== "" ? runs[0] : null);
  if (!value && !error) return html`<p class="faint loading" role="status">${t("app.loading")}</p>`;
  if (error && !value) return html`<p class="notice bad">${t(`error.${error.code || "lost"}`)}</p>`;
  if (!runs.length) {
    return html`<${Empty} title=${t("training.none.title")}><p>
      ${t(hello.folders ? "training.none.text" : "training.none.folder")}</p>
      <pre><code>stylegan train DATA --out runs/first
stylegan studio runs/</code></pre></${Empty}>`;
  }
  return html`<section class="stage">
    <div class="toolbar"><h1>${t("training.title")}</h1><span class="grow"></span>
      <span class="faint">${t("training.sum", { n: runs.length, disk: formatBytes(runs.reduce((sum,
        run) => sum + run.disk_bytes, 0)), free: formatBytes(value.free_bytes) })}</span></div>
    ${error && html`<p class="notice warn">${t("app.lost")}</p>`}
    <div class="runs">${runs.map((run) => html`<${RunCard} key=${run.id} run=${run} selected=${run === current}
      onClick=${() => setChosen(run === current ? "" : run.id)} />`)}</div>
    ${current && html`<${Details} key=${current.id} run=${current} />`}
  </section>`;
}

function RunCard({ run, selected, onClick }) {
  const share = run.total_kimg ? Math.min(1, run.kimg / run.total_kimg) : 0;
  const worst = run.health[0];
  return html`<button type="button" class=${`run card${selected ? " selected" : ""}`} aria-expanded=${selected}
    onClick=${onClick}>
    <div class="run-grid">${run.grid !== null ? html`<img src=${`/api/runs/${run.id}/grids/${run.grid}`}
      alt=${t("training.latest", { name: run.name })} loading="lazy" />` : html`<span class="faint">
      ${t("training.nogrid")}</span>`}</div>
    <div class="run-text"><div class="row"><strong>${run.name}</strong><span class=${`badge ${run.state}`}>
      ${t(`training.state.${run.state}`)}</span></div>
      <${Progress} done=${share} total=${1} label=${t("training.progress")} />
      <p class="faint">${formatNumber(run.kimg, 1)} / ${formatNumber(run.total_kimg, 0)} kimg${run.schedule.resolution
        ? ` · ${t("training.at", { side: run.schedule.resolution })}` : ""}
        ${run.rate && run.state === "running" ? ` · ${t("training.rate", { n: formatNumber(run.rate, run.rate < 10 ? 1
          : 0) })}` : ""}
        ${run.seconds_left !== null ? html` · <b>${t("training.left", { time: formatTime(run.seconds_left) })}</b>`
          : ""}
        ${` · ${formatBytes(run.disk_bytes)}`}</p>
      ${run.best !== null && html`<p class="faint">${t("training.best", { metric: run.metric,
        value: formatNumber(run.best, 3), kimg: formatNumber(run.best_kimg, 0) })}</p>`}
      ${worst && html`<p class="health">${finding(worst)}</p>`}
      ${run.note && html`<p class="faint">${run.note}</p>`}</div>
  </button>`;
}

function Details({ run }) {
  const { value, error } = usePolling(`/api/runs/${run.id}`, [run.id]);
  const grids = value ? value.grids : [];
  const [at, setAt] = useState(null); // index of the preview; null = the newest, as it comes
  const [playing, setPlaying] = useState(false);
  const index = at === null ? grids.length - 1 : Math.min(at, grids.length - 1);
  const step = (by) => grids.length && setAt(Math.max(0, Math.min(grids.length - 1, index + by)));
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(() => {
      if (index >= grids.length - 1) setPlaying(false);
      else setAt(index + 1);
    }, 220);
    return () => clearTimeout(timer);
  }, [playing, index, grids.length]);
  const play = () => {
    if (!playing && index >= grids.length - 1) setAt(0);
    setPlaying(!playing);
  };
  useKeys({ " ": play, ArrowLeft: () => step(-1), ArrowRight: () => step(1) });
  const curves = value ? value.curves : null;
  const charts = useMemo(() => (curves ? chartsOf(curves) : []), [curves && JSON.stringify(curves.kimg), value
    && value.id]);
  if (!value) return html`<p class="faint loading" role="status">
    ${error ? t(`error.${error.code || "lost"}`) : t("app.loading")}</p>`;
  const kimg = index >= 0 ? grids[index] / 1000 : null;
  return html`<div class="details">
    <div class="toolbar spaced"><h2>${run.name}</h2>${run.health.length === 0 && value.messages.length === 0
      && html`<span class="faint">${t("training.health.none")}</span>`}</div>
    ${value.messages.map((item) => html`<div class=${`notice ${item.until === null ? "warn" : "past"}`}
      key=${item.code}><strong>${finding(item)}</strong>
      ${" "}<small>${t(item.until === null ? "training.since" : "training.until", { since: formatNumber(item.since,
        1), until: formatNumber(item.until, 1) })}</small>
      <p lang=${item.kind ? null : "en"}>${inWords(item, "seen", item.text)}${item.until === null && item.remedy
        ? ` ${inWords(item, "try", item.remedy)}` : ""}</p></div>`)}
    <div class="details-grid">
      <div class="lapse card">
        ${grids.length ? html`<${Lapse} run=${run} number=${grids[index]} next=${grids[index + 1]} />
          <div class="row lapse-row"><${Button} bare icon=${playing ? "pause" : "play"}
            label=${t(playing ? "walk.pause" : "walk.play")} onClick=${play} />
          <input class="grow" type="range" min="0" max=${grids.length - 1} value=${index}
            aria-label=${t("training.lapse")}
            aria-valuetext=${t("training.kimg", { n: formatNumber(kimg, 1) })}
              onInput=${(event) => { setPlaying(false); setAt(Number(event.target.value)); }} />
          <output>${t("training.kimg", { n: formatNumber(kimg, 1) })}</output>
          ${at !== null && at < grids.length - 1 && html`<button type="button" class="chip"
            onClick=${() => setAt(null)}>${t("training.newest")}</button>`}</div>`
        : html`<p class="faint">${t("training.nogrid")}</p>`}
      </div>
      <div class="charts">${charts.map(([title, series]) => html`<${Chart} key=${title}
        title=${t(`training.chart.${title}`)} x=${curves.kimg} series=${series} marker=${kimg} />`)}</div>
    </div></div>`;
}

const finding = (item) => (["divergence", "collapse", "overfitting", "vanishing", "no-progress"].includes(item.code)
  ? t(`health.${item.code}`) : item.code);

// The server's sentence ({text} in the English table), or its translation with the same numbers.
const inWords = (item, part, text) => (item.kind
  ? t(part === "try" ? `health.${item.code}.try` : `health.${item.kind}.seen`, { ...item.values, text: `${text}.` })
  : `${text}.`);

// The preview, replaced only when the next one has been read, so that scrubbing does not flicker.
function Lapse({ run, number, next }) {
  const [shown, setShown] = useState(null);
  const wanted = useRef(null);
  useEffect(() => {
    const image = new Image();
    wanted.current = image;
    image.src = `/api/runs/${run.id}/grids/${number}`;
    image.decode().then(() => wanted.current === image && setShown(image.src), () => {});
    if (next !== undefined) new Image().src = `/api/runs/${run.id}/grids/${next}`;
  }, [run.id, number]);
  return html`<img class="lapse-image" src=${shown || `/api/runs/${run.id}/grids/${number}`}
    alt=${t("training.grid", { kimg: formatNumber(number / 1000, 1) })} />`;
}

function chartsOf(curves) {
  const pick = (names) => names.filter((name) => curves[name]).map((name) => [name.split(".")[1].replaceAll("_", " "),
    curves[name]]);
  const groups = [
    ["loss", pick(["loss.loss_d", "loss.loss_g"])], ["score", pick(["loss.score_real", "loss.score_fake"])],
    ["metric", pick(Object.keys(curves).filter((name) => name.startsWith("metrics.")))],
    ["health", pick(["health.distance", "health.diversity", "health.overfit"])],
    ["penalty", pick(["loss.penalty"])], ["rate", pick(["time.images_per_second"])], ["lod", pick(["schedule.lod"])],
  ];
  return groups.filter(([, series]) => series.length);
}
