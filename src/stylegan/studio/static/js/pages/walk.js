// Walk: a timeline of keyframes, played as it is drawn, written as a clip.
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import {
  app, look, lookMessage, lookToValues, number, randomSeed, readAddress, useStore, writeAddress,
} from "../store.js";
import { FrameError, Tile, useFrames } from "../frames.js";
import { connection } from "../connection.js";
import { Button, Progress, Section, Segments, Select, Slider, useKeys } from "../ui.js";
import { LookPanel } from "../controls.js";
import { PointInput, parsePoint, pointText } from "../points.js";
import { formatBytes, formatNumber, t } from "../i18n.js";

const MOST = 24;
const FORMATS = ["mp4", "webm", "webp", "gif"];

function fromAddress() {
  const { values } = readAddress();
  const points = (values.k || "").split("_").map(parsePoint).filter(Boolean).slice(0, MOST);
  const one = (name, allowed) => (allowed.includes(values[name]) ? values[name] : allowed[0]);
  return {
    points: points.length > 1 ? points : [0, 1, 2, 3].map((seed) => ({ kind: "seed", seed, cls: null })),
    seconds: number(values.sec, 0.2, 20, 1.5), fps: Math.round(number(values.fps, 5, 60, 24)),
      loop: values.loop !== "0",
    easing: one("ease", ["smooth", "linear"]), interpolation: one("way", ["linear", "spline"]), noise: one("wn",
      ["still", "animated", "keyframes"]),
    format: one("as", FORMATS),
  };
}

export function Walk() {
  const { model, info } = useStore(app);
  const settings = useStore(look);
  const [state, setState] = useState(fromAddress);
  const [at, setAt] = useState(0); // share of the walk, [0, 1)
  const [playing, setPlaying] = useState(false);
  const [dragged, setDragged] = useState(null);
  const change = (part) => setState((old) => ({ ...old, ...part }));
  const { points, seconds, fps, loop } = state;
  const steps = loop ? points.length : points.length - 1;
  const frames = Math.max(2, Math.min(3600, Math.round(steps * seconds * fps)));
  useEffect(() => {
    writeAddress("walk", {
      m: model, k: points.map(pointText).join("_"), sec: seconds === 1.5 ? null : seconds, fps: fps === 24 ? null
        : fps, loop: loop ? null : "0",
      ease: state.easing === "smooth" ? null : state.easing, way: state.interpolation === "linear" ? null
        : state.interpolation,
      wn: state.noise === "still" ? null : state.noise, as: state.format === "mp4" ? null : state.format,
        ...lookToValues(settings),
    });
  }, [state, settings, model]);
  useEffect(() => {
    if (!playing) return undefined;
    let last = performance.now();
    let handle = 0;
    const tick = (now) => {
      const passed = (now - last) / 1000;
      if (passed > 0.03) {
        last = now;
        setAt((old) => {
          const next = old + (passed * fps) / frames;
          if (next >= 1 && !loop) setPlaying(false);
          return loop ? next % 1 : Math.min(0.9999, next);
        });
      }
      handle = requestAnimationFrame(tick);
    };
    handle = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(handle);
  }, [playing, frames, fps, loop]);
  const withClass = useMemo(() => points.map((point) => (point.kind === "seed" ? { ...point,
    cls: point.cls ?? settings.cls } : point)), [points, settings.cls]);
  const path = useMemo(() => ({ points: withClass, frames, fps, loop, easing: state.easing,
    interpolation: state.interpolation, noise: state.noise }),
    [withClass, frames, fps, loop, state.easing, state.interpolation, state.noise]);
  const frame = Math.min(frames - 1, Math.floor(at * (loop ? frames : frames - 1) + 0.5) % frames);
  const [canvas, error] = useFrames("walk.preview", { model, look: lookMessage(settings),
    recipes: [{ place: { kind: "path", ...path, frame } }], preview: playing });
  const [thumbs] = useFrames("walk.keys", { model, look: lookMessage(settings), side: 128,
    recipes: withClass.map((place) => ({ place })) });
  const toggle = () => {
    if (!playing && !loop && at > 0.99) setAt(0);
    setPlaying(!playing);
  };
  const goTo = (i) => { setPlaying(false); setAt(Math.min(0.9999, i / Math.max(1, steps))); };
  const move = (from, to) => {
    if (to < 0 || to >= points.length) return;
    const next = [...points];
    next.splice(to, 0, next.splice(from, 1)[0]);
    change({ points: next });
  };
  useKeys({ " ": toggle, ArrowLeft: () => setAt((frame - 1 + frames) % frames / (loop ? frames : frames - 1)),
    ArrowRight: () => setAt((frame + 1) % frames / (loop ? frames : frames - 1)),
    r: () => change({ points: points.map((point) => (point.kind === "seed" ? { ...point, seed: randomSeed() }
      : point)) }) });
  return html`<div class="with-panel">
    <section class="stage">
      <div class="toolbar"><h1>${t("walk.title")}</h1><span class="grow"></span><span class="faint">
        ${t("walk.length", { s: formatNumber(frames / fps, 1), n: frames })}</span></div>
      <${FrameError} error=${error} />
      <div class="large still walk-picture"><canvas id="walk" ref=${canvas(0)} width=${info.width}
        height=${info.height} role="img" aria-label=${t("walk.picture", { n: frame })}></canvas></div>
      <div class="row player"><${Button} bare icon=${playing ? "pause" : "play"}
        label=${t(playing ? "walk.pause" : "walk.play")} onClick=${toggle} />
        <input class="grow" type="range" min="0" max="0.9999" step="any" value=${at} aria-label=${t("walk.position")}
          aria-valuetext=${t("walk.frame", { n: frame })}
          onInput=${(event) => { setPlaying(false); setAt(Number(event.target.value)); }} /><output>
            ${t("time.seconds", { n: formatNumber(frame / fps, 1) })}</output></div>
      <ol class="timeline">${points.map((point, i) => html`<li key=${i} draggable=${true}
        class=${dragged === i ? "dragged" : ""} onDragStart=${() => setDragged(i)} onDragEnd=${() => setDragged(null)}
          onDragOver=${(event) => event.preventDefault()}
            onDrop=${(event) => { event.preventDefault(); if (dragged !== null) move(dragged, i); }}>
        <${Tile} canvas=${thumbs(i)} size=${[info.width, info.height]} label=${t("walk.key", { n: i + 1 })}
          onClick=${() => goTo(i)} selected=${Math.floor(at * steps + 0.001) === i} />
        <${PointInput} label=${t("walk.key", { n: i + 1 })} point=${point}
          onChange=${(next) => change({ points: points.map((old, j) => (j === i ? next : old)) })} />
        <div class="key-buttons"><button type="button" aria-label=${t("walk.left", { n: i + 1 })} disabled=${i === 0}
          onClick=${() => move(i, i - 1)}>‹</button>
          <button type="button" aria-label=${t("walk.remove", { n: i + 1 })} disabled=${points.length <= 2}
            onClick=${() => change({ points: points.filter((_, j) => j !== i) })}>×</button>
          <button type="button" aria-label=${t("walk.right", { n: i + 1 })} disabled=${i === points.length - 1}
            onClick=${() => move(i, i + 1)}>›</button></div></li>`)}
        <li class="add"><${Button} bare icon="plus" label=${t("walk.add")} disabled=${points.length >= MOST}
          onClick=${() => change({ points: [...points, { kind: "seed", seed: randomSeed(), cls: null }] })} /></li></ol>
    </section>
    <aside class="panel" aria-label=${t("look.title")}>
      <${Section} title=${t("walk.movement")}>
        <${Slider} label=${t("walk.seconds")} value=${seconds} min=${0.2} max=${10} step=${0.1} fallback=${1.5}
          digits=${1} onInput=${(s) => change({ seconds: s })} />
        <${Slider} label=${t("walk.fps")} value=${fps} min=${5} max=${60} step=${1} fallback=${24} digits=${0}
          onInput=${(n) => change({ fps: Math.round(n) })} />
        <${Segments} label=${t("walk.easing")} value=${state.easing} onChange=${(easing) => change({ easing })}
          options=${["smooth", "linear"].map((name) => [name, t(`walk.easing.${name}`)])} />
        <${Segments} label=${t("walk.way")} value=${state.interpolation}
          onChange=${(interpolation) => change({ interpolation })}
          options=${["linear", "spline"].map((name) => [name, t(`walk.way.${name}`)])} />
        ${info.noise && html`<${Select} label=${t("walk.noise")} value=${state.noise}
          onChange=${(noise) => change({ noise })} options=${["still", "animated", "keyframes"].map((name) => [name,
          t(`walk.noise.${name}`)])} />`}
        <label class="check"><input type="checkbox" checked=${loop}
          onChange=${(event) => change({ loop: event.target.checked })} />${t("walk.loop")}</label>
      </${Section}>
      <${Export} path=${path} format=${state.format} change=${change} />
      <${LookPanel} />
    </aside></div>`;
}

function Export({ path, format, change }) {
  const { model } = useStore(app);
  const [job, setJob] = useState({ state: "idle" });
  const [began, setBegan] = useState(0);
  const stop = useRef(null);
  const start = () => {
    setBegan(performance.now());
    setJob({ state: "queued", done: 0, total: path.frames });
    stop.current = connection.job({ type: "export", model, path, look: lookMessage(look.get()), format }, setJob);
  };
  const busy = ["queued", "running"].includes(job.state);
  const rate = job.done ? (1000 * job.done) / (performance.now() - began) : 0;
  const clip = job.state === "done" ? `/api/clips/${job.result.id}` : null;
  return html`<${Section} title=${t("walk.export")}>
    <div class="row"><${Select} hidden label=${t("walk.format")} value=${format}
      onChange=${(next) => change({ format: next })} options=${FORMATS.map((name) => [name, { mp4: "MP4 (H.264)",
      webm: "WebM", webp: "WebP", gif: "GIF" }[name]])} />
      ${busy ? html`<${Button} label=${t("project.stop")} onClick=${() => stop.current()} />` : html`<${Button}
        kind="primary" icon="download" label=${t("walk.write")} onClick=${start} />`}</div>
    ${busy && html`<div role="status"><${Progress} done=${job.done} total=${job.total || path.frames}
      label=${t("walk.export")} />
      <p class="faint">${t("walk.progress", { done: job.done || 0, total: path.frames, rate: formatNumber(rate, 1),
        left: rate ? formatNumber((path.frames - job.done) / rate) : "…" })}</p></div>`}
    ${job.state === "failed" && html`<p class="notice bad" role="alert">${t(`error.${job.code}`)} <span lang="en">
      ${job.text}</span></p>`}
    ${clip && html`<div class="clip">${["mp4", "webm"].includes(job.result.format)
      ? html`<video src=${clip} controls loop muted autoplay playsinline aria-label=${t("walk.clip")}></video>`
      : html`<img src=${clip} alt=${t("walk.clip")} />`}
      <a class="button" href=${clip} download=${`walk.${job.result.format}`}>
        ${t("walk.save", { size: formatBytes(job.result.bytes) })}</a></div>`}
  </${Section}>`;
}
