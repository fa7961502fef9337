// Project: drop an image, watch the network approach it, go on with what was found.
import { html, useEffect, useRef, useState } from "../html.js";
import { app, createStore, useStore, writeAddress } from "../store.js";
import { connection } from "../connection.js";
import { Button, Progress, Section, Segments, Select } from "../ui.js";
import { addKept, kept, pointText } from "../points.js";
import { sendTo } from "../actions.js";
import { formatBytes, formatNumber, t } from "../i18n.js";

// The projection under way stays when the page is left and come back to.
const work = createStore({ state: "idle", name: "", done: 0, total: 0, psnr: null, stage: "", result: null,
  problem: null, target: null, now: null });
let stop = null;
const QUALITIES = { quick: 120, good: 400, best: 1000 };

async function remember(name, header, blob) {
  const bitmap = await createImageBitmap(blob).catch(() => null);
  if (bitmap) work.set({ [name]: bitmap });
}
connection.listen("project.target", (header, blob) => remember("target", header, blob));
connection.listen("project.now", (header, blob) => remember("now", header, blob));

async function begin(file, options) {
  const { hello, model } = app.get();
  work.set({ state: "sending", name: file.name, done: 0, total: 0, psnr: null, result: null, problem: null,
    target: null, now: null });
  if (file.size > hello.max_upload) {
    work.set({ state: "idle", problem: { code: "refused", text: t("project.large",
      { most: formatBytes(hello.max_upload) }) } });
    return;
  }
  const answer = await fetch("/api/uploads", { method: "POST", body: file }).catch(() => null);
  const found = answer ? await answer.json().catch(() => ({ code: "internal", text: "" })) : { code: "lost", text: "" };
  if (!answer || !answer.ok) {
    work.set({ state: "idle", problem: found });
    return;
  }
  stop = connection.job({ type: "project", model, upload: found.id, steps: QUALITIES[options.quality],
    space: options.space, fit: options.fit, cls: options.cls }, (news) => {
    if (news.state === "running") work.set({ state: "running", done: news.done, total: news.total, psnr: news.psnr,
      stage: news.stage });
    else if (news.state === "queued") work.set({ state: "queued" });
    else if (news.state === "done") {
      work.set({ state: "done", result: news.result, psnr: news.result.psnr });
      addKept(news.result.id, file.name.slice(0, 40));
    } else work.set({ state: "idle", problem: news.state === "failed" ? news : null });
  });
}

export function Project() {
  const { model, info } = useStore(app);
  const state = useStore(work);
  const own = useStore(kept).list.filter((item) => item.model === model);
  const [over, setOver] = useState(false);
  const [options, setOptions] = useState({ quality: "quick", space: "w+", fit: "crop", cls: null });
  const input = useRef(null);
  const set = (part) => setOptions((old) => ({ ...old, ...part }));
  const busy = ["sending", "queued", "running"].includes(state.state);
  useEffect(() => writeAddress("project", { m: model }), [model]);
  const take = (files) => files && files[0] && !busy && begin(files[0], options);
  useEffect(() => {
    const onPaste = (event) => {
      const file = [...(event.clipboardData?.files || [])][0];
      if (file && !busy) begin(file, options);
    };
    // Anywhere on the page: beside the box, the browser would leave the studio and show the file.
    const onDrag = (event) => { event.preventDefault(); setOver(true); };
    const onLeave = (event) => event.relatedTarget === null && setOver(false);
    const onDrop = (event) => { event.preventDefault(); setOver(false); take(event.dataTransfer?.files); };
    const all = { paste: onPaste, dragover: onDrag, dragleave: onLeave, drop: onDrop };
    for (const [name, act] of Object.entries(all)) addEventListener(name, act);
    return () => { for (const [name, act] of Object.entries(all)) removeEventListener(name, act); };
  }, [busy, options]);
  const names = Array.from({ length: info.classes }, (_, i) => [String(i), info.class_names[i] ?? String(i)]);
  return html`<div class="with-panel">
    <section class="stage">
      <div class="toolbar"><h1>${t("project.title")}</h1></div>
      <div class=${`drop${over ? " over" : ""}${state.target ? " small" : ""}`}>
        <input ref=${input} id="file" type="file" accept="image/*" class="visually-hidden" disabled=${busy}
          onChange=${(event) => { take(event.target.files); event.target.value = ""; }} />
        <label for="file" class=${`button${state.target ? "" : " primary"}`}>${t("project.choose")}</label>
        <span class="faint">${t("project.drop")}</span>
      </div>
      ${state.problem && html`<p class="notice bad" role="alert">${t(`error.${state.problem.code}`)} <span lang="en">
        ${state.problem.text}</span></p>`}
      ${busy && html`<div class="project-progress" role="status"><${Progress} done=${state.done} total=${state.total}
        label=${t("project.progress")} />
        <div class="row"><span class="faint">${t(`project.state.${state.state}`, { done: state.done,
          total: state.total })}${state.stage && state.state === "running" ? ` · ${t("project.stage",
          { stage: state.stage })}` : ""}</span><span class="grow"></span>
        ${state.state === "running" && html`<${Button} label=${t("project.enough")}
          onClick=${() => stop(true)} />`}<${Button} label=${t("project.stop")} onClick=${() => stop && stop()} />
          </div></div>`}
      ${(state.target || state.now) && html`<div class="pair">
        <figure><${Bitmap} bitmap=${state.target} label=${t("project.target")} /><figcaption>
          ${t("project.target")}</figcaption></figure>
        <figure><${Bitmap} bitmap=${state.now} id="projected" label=${t("project.now")} /><figcaption>
          ${t("project.now")}${state.psnr !== null ? ` · PSNR ${formatNumber(state.psnr, 1)} dB` : ""}</figcaption>
          </figure></div>`}
      ${state.state === "done" && state.result.model === model && html`<div class="row done-row">
        <${Button} kind="primary" icon="edit" label=${t("project.edit")}
          onClick=${() => sendTo("edit", { from: `k${state.result.id}` })} />
        <${Button} icon="walk" label=${t("project.walk")} onClick=${() => sendTo("walk", { k: [`k${state.result.id}`,
          "0", "1"].join("_") })} />
        <a class="button" href=${`/api/kept/${state.result.id}?model=${model}`} download>${t("project.file")}</a>
          </div>`}
    </section>
    <aside class="panel" aria-label=${t("look.title")}>
      <${Section} title=${t("project.how")}>
        <${Segments} label=${t("project.quality")} value=${options.quality} onChange=${(quality) => set({ quality })}
          options=${Object.keys(QUALITIES).map((name) => [name, t(`project.quality.${name}`)])} />
        <${Select} label=${t("project.space")} value=${options.space} onChange=${(space) => set({ space })}
          options=${[["w+", t("project.space.w+")], ["w", t("project.space.w")]]} />
        <${Select} label=${t("project.fit")} value=${options.fit} onChange=${(fit) => set({ fit })}
          options=${[["crop", t("project.fit.crop")], ["letterbox", t("project.fit.letterbox")]]} />
        ${info.classes > 0 && html`<${Select} label=${t("look.class")}
          value=${options.cls === null ? "" : String(options.cls)} options=${[["", t("project.guess")], ...names]}
          onChange=${(text) => set({ cls: text === "" ? null : Number(text) })} />`}
      </${Section}>
      <${Section} title=${t("project.found")}>${own.length
        ? html`<ul class="found">${own.map((item) => html`<li key=${item.id}><a
          href=${`#/edit?m=${model}&from=${pointText({ kind: "kept", id: item.id })}`}>${item.name}</a></li>`)}</ul>`
        : html`<p class="faint">${t("project.found.none")}</p>`}</${Section}>
    </aside></div>`;
}

function Bitmap({ bitmap, label, id }) {
  const ref = useRef(null);
  useEffect(() => {
    if (!bitmap) return;
    const canvas = ref.current;
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    canvas.style.imageRendering = bitmap.width <= 64 ? "pixelated" : "auto";
    canvas.dataset.frames = Number(canvas.dataset.frames || 0) + 1;
  }, [bitmap]);
  return html`<canvas ref=${ref} id=${id} role="img" aria-label=${label} width="64" height="64"></canvas>`;
}
