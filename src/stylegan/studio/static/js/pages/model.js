// Model: what it is, what it was trained on, how it compares with another on the same seeds.
import { html, useEffect, useMemo, useState } from "../html.js";
import {
  app, look, lookMessage, number, randomSeed, readAddress, seedPoint, useStore, writeAddress,
} from "../store.js";
import { FrameError, Tile, useFrames } from "../frames.js";
import { Button, SeedInput, Select, useKeys } from "../ui.js";
import { getJson } from "../connection.js";
import { save } from "../actions.js";
import { formatBytes, formatNumber, t } from "../i18n.js";

const SHOWN = 8;

export function Model() {
  const { model, info, hello } = useStore(app);
  const [facts, setFacts] = useState(null);
  const [failed, setFailed] = useState(null);
  const { values } = readAddress();
  const ids = hello.models.map((entry) => entry.id);
  const [other, setOther] = useState(ids.includes(values.with) ? values.with : ids.find((id) => id !== model) || null);
  const [first, setFirst] = useState(Math.round(number(values.s, 0, 4294967295, 0)));
  useEffect(() => {
    getJson(`/api/models/${model}/details`).then(setFacts, setFailed);
  }, [model]);
  useEffect(() => writeAddress("model", { m: model, with: other, s: first || null }), [model, other, first]);
  useKeys({ r: () => setFirst(randomSeed()) });
  return html`<section class="stage">
    <div class="toolbar"><h1>${info.name}</h1></div>
    <div class="facts card">
      ${fact("model.size", `${info.width} × ${info.height}`, info.lod ? t("model.growing",
        { full: info.full.join(" × "), lod: formatNumber(info.lod, 2) }) : t("model.channels", { n: info.channels }))}
      ${fact("model.classes", info.classes ? formatNumber(info.classes) : t("model.none"),
        info.classes ? info.class_names.slice(0, 12).join(", ") : "")}
      ${fact("model.trained", info.kimg === null ? t("model.unknown") : `${formatNumber(info.kimg, 1)} kimg`,
        t("model.kimg"))}
      ${fact("model.parameters", facts ? formatNumber(generator(facts)?.parameters) : "…", facts
        ? `${t("model.configuration")} ${facts.configuration}` : "")}
      ${fact("model.file", facts ? formatBytes(facts.size) : "…", facts ? facts.file : "")}
      ${fact("model.data", facts ? facts.attribution || t("model.unknown") : "…", "", true)}
    </div>
    ${failed && html`<p class="notice bad">${t(`error.${failed.code}`)} ${failed.message}</p>`}
    <div class="toolbar spaced"><h2>${t("model.compare")}</h2><span class="grow"></span>
      <${SeedInput} hidden label=${t("explore.first")} value=${first} onChange=${setFirst} />
      <${Button} icon="shuffle" label=${t("explore.shuffle")} onClick=${() => setFirst(randomSeed())} /></div>
    <${Row} id=${model} name=${info.name} first=${first} view="model.a" size=${[info.width, info.height]} />
    ${ids.length > 1
      ? html`<div class="compare-with"><${Select} label=${t("model.with")} value=${other}
        options=${hello.models.filter((entry) => entry.id !== model).map((entry) => [entry.id, entry.name])}
        onChange=${setOther} /></div>
        ${other && html`<${Row} id=${other} first=${first} view="model.b" size=${[info.width, info.height]} />`}`
      : html`<p class="faint">${t("model.compare.none")}</p>`}
    ${facts && html`<${Architecture} facts=${facts} /><${Card} facts=${facts} />`}
  </section>`;
}

const generator = (facts) => facts.networks.find((network) => network.kind === "generator");

function fact(key, value, more, wide) {
  return html`<div class=${wide ? "wide" : ""}><span class="field-label">${t(key)}</span><strong>${value}</strong>
    ${more && html`<small>${more}</small>`}</div>`;
}

function Row({ id, first, view, size }) {
  const settings = useStore(look);
  const seeds = useMemo(() => Array.from({ length: SHOWN }, (_, i) => (first + i) % 4294967296), [first]);
  const [canvas, error] = useFrames(view, { model: id, look: { ...lookMessage(settings), noise: { mode: "random",
    seed: null, strengths: [] } }, side: 256, recipes: seeds.map((seed) => ({ place: seedPoint(seed) })) });
  return html`<${FrameError} error=${error} /><div class="compare">${seeds.map((seed, i) => html`<${Tile} key=${i}
    canvas=${canvas(i)} size=${size}
    caption=${seed} label=${t("picture.seed", { seed })} />`)}</div>`;
}

function Architecture({ facts }) {
  return html`${facts.networks.map((network) => html`<details class="card architecture" key=${network.role}>
    <summary><h2>${t("model.network", { role: network.role, n: formatNumber(network.parameters) })}</h2></summary>
    <div class="table-scroll"><table><thead><tr>${["layer", "what", "output", "parameters"].map((name) => html`<th
      key=${name} scope="col">${t(`model.table.${name}`)}</th>`)}</tr></thead>
    <tbody>${network.layers.map((layer) => html`<tr key=${layer.name}><td><code>${layer.name}</code></td><td>
      ${layer.what}</td><td>${layer.shape.join(" × ")}</td><td>${formatNumber(layer.parameters)}</td></tr>`)}</tbody>
      </table></div>
  </details>`)}`;
}

function Card({ facts }) {
  return html`<details class="card architecture"><summary><h2>${t("model.card")}</h2></summary>
    ${facts.card && html`<p class="faint">${t("model.card.text")}</p><pre lang="en">${facts.card}</pre>
    <${Button} icon="download" label="README.md" onClick=${() => save(new Blob([facts.card],
      { type: "text/markdown" }), "README.md")} />`}
    ${facts.lineage.length > 0 && html`<h3>${t("model.lineage")}</h3><pre lang="en">
      ${JSON.stringify(facts.lineage, null, 1)}</pre>`}
    <p class="faint">SHA-256 <code>${facts.sha256}</code></p></details>`;
}
