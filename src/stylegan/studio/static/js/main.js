// The frame around the pages: navigation, model, language, theme, keys.
import { html, render, useEffect, useErrorBoundary } from "./html.js";
import { app, look, lookFromValues, readAddress, remember, useStore, writeAddress } from "./store.js";
import { connection, getJson } from "./connection.js";
import { LANGUAGES, language, preferred, setLanguage, t } from "./i18n.js";
import { Button, Dialog, Empty, Icon, Toasts, useKeys } from "./ui.js";
import { Explore } from "./pages/explore.js";
import { Mix } from "./pages/mix.js";
import { Edit } from "./pages/edit.js";
import { Project } from "./pages/project.js";
import { Walk } from "./pages/walk.js";
import { Training } from "./pages/training.js";
import { Model } from "./pages/model.js";

const PAGES = { explore: Explore, mix: Mix, edit: Edit, project: Project, walk: Walk, training: Training,
  model: Model };
const NEEDS_STYLES = ["mix", "edit", "project", "walk"];
const LOOK_AGAIN = 3000; // milliseconds
const THEMES = ["auto", "light", "dark"];
const KEYS = ["1-7", "?", "t", "r", "left-right", "arrows", "0", "n-p", "f", "d", "l", "space", "escape"];

function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
}

async function openModel(id) {
  const { first } = app.get().hello;
  const same = app.get().model === id; // a second try: what is shown stays until it has been answered
  if (!same) app.set({ model: id, info: first && first.id === id ? first : null, problem: null });
  try {
    const info = await getJson(`/api/models/${id}`);
    if (app.get().model === id) app.set({ info, problem: null });
  } catch (error) {
    if (app.get().model === id) app.set({ problem: error });
  }
}

// Training has replaced the file: size and layers may be others from now on.
let renewing = "";
connection.onNewWeights = async (id, stamp) => {
  if (renewing === stamp) return;
  renewing = stamp;
  const info = await getJson(`/api/models/${id}`).catch(() => null);
  if (info && app.get().model === id) app.set({ info });
};

// What there is, asked anew; one question at a time, so that no older answer comes after a newer one.
let asking = null;
function refresh() {
  asking ||= getJson("/api/hello").then((hello) => app.set({ hello })).finally(() => { asking = null; });
  return asking;
}

function follow(event) {
  const { page, values } = readAddress();
  const { hello, model } = app.get();
  const known = page in PAGES ? page : "explore";
  if (known !== page) history.replaceState(null, "", "#/explore");
  if (event && known !== app.get().page) refresh().catch(() => {}); // training may have made a model since
  // The links of the navigation name only the model: what was set stays set.
  const told = Object.keys(values).some((key) => key !== "m");
  if (!event || told) look.set(lookFromValues(values));
  app.set((old) => ({ ...old, page: known, visit: old.visit + (event && told ? 1 : 0) }));
  const ids = hello.models.map((entry) => entry.id);
  const wanted = ids.includes(values.m) ? values.m : ids.includes(model) ? model : ids[0];
  if (wanted && (wanted !== model || app.get().problem)) openModel(wanted);
}

const again = () => refresh().then(() => follow()).catch(() => {}); // a lost studio is told about elsewhere

// Looks every few seconds while there is nothing to draw, so that a model that appears is there without a reload.
function useLookingAgain() {
  useEffect(() => {
    const timer = setInterval(() => document.hidden || again(), LOOK_AGAIN);
    return () => clearInterval(timer);
  }, []);
}

function App() {
  const state = useStore(app);
  useStore(language);
  const go = (page) => writeAddress(page, { m: app.get().model }, true);
  const nextTheme = () => {
    const theme = THEMES[(THEMES.indexOf(app.get().theme) + 1) % THEMES.length];
    applyTheme(theme);
    app.set({ theme });
  };
  const keys = { "?": () => app.set({ help: true }), t: nextTheme };
  Object.keys(PAGES).forEach((page, i) => { keys[String(i + 1)] = () => go(page); });
  useKeys(keys);
  return html`
    <a class="skip" href="#main"
      onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>${t("app.skip")}</a>
    <nav aria-label=${t("app.pages")}>
      <div class="brand"><img src="/static/icon.svg" alt="" width="28" height="28" /><strong>StyleGAN</strong></div>
      <ul>${Object.keys(PAGES).map((page) => html`<li key=${page}><a href=${`#/${page}?m=${state.model || ""}`}
        aria-current=${state.page === page ? "page" : undefined}><${Icon} name=${page} /><span>
          ${t(`page.${page}`)}</span></a></li>`)}</ul>
      <div class="nav-foot"><${Rate} />
        <div class="row"><${Button} bare icon=${{ auto: "auto", light: "sun", dark: "moon" }[state.theme]}
          label=${t(`theme.${state.theme}`)} onClick=${nextTheme} />
        <${Button} bare icon="help" label=${t("help.title")} onClick=${() => app.set({ help: true })} />
          <${LanguageSelect} /></div>
      </div>
    </nav>
    <main id="main" tabindex="-1">
      <${Top} go=${go} nextTheme=${nextTheme} />
      ${!state.connected && html`<p class="notice warn" role="alert">${t("app.lost")}</p>`}
      <${Safe} key=${state.page}><${Body} /></${Safe}>
    </main>
    ${state.help && html`<${Help} />`}<${Toasts} />`;
}

function LanguageSelect() {
  const { code } = useStore(language);
  return html`<label class="language"><span class="visually-hidden">${t("app.language")}</span>
    <select value=${code} onChange=${(event) => setLanguage(event.target.value)}>
      ${Object.entries(LANGUAGES).map(([key, name]) => html`<option key=${key} value=${key} lang=${key}
        selected=${key === code}>${name}</option>`)}
    </select></label>`;
}

function Top({ nextTheme }) {
  const { hello, model, theme } = useStore(app);
  const models = hello ? hello.models : [];
  return html`<header class="top">
    ${models.length > 0 && html`<label class="model-select"><span class="visually-hidden">${t("app.model")}</span>
      <select value=${model} onChange=${(event) => { writeAddress(app.get().page, { m: event.target.value }, true); }}>
        ${models.map((entry) => html`<option key=${entry.id} value=${entry.id} selected=${entry.id === model}>
          ${entry.name}</option>`)}
      </select></label>`}
    <span class="grow"></span>
    <div class="phone row"><${Button} bare icon=${{ auto: "auto", light: "sun", dark: "moon" }[theme]}
      label=${t(`theme.${theme}`)} onClick=${nextTheme} />
      <${Button} bare icon="help" label=${t("help.title")} onClick=${() => app.set({ help: true })} />
        <${LanguageSelect} /></div>
  </header>`;
}

function Rate() {
  const { rate } = useStore(app);
  return html`<p class="rate" aria-hidden="true">${rate.fps > 1 ? t("app.rate", { fps: rate.fps,
    ms: Math.round(rate.ms) }) : "\u00a0"}</p>`;
}

function Body() {
  const { hello, page, info, problem, visit } = useStore(app);
  if (!hello) return html`<p class="faint loading" role="status">${t("app.loading")}</p>`;
  if (page === "training") return html`<${Training} />`;
  if (!hello.models.length) return html`<${NoModel} />`;
  if (problem) return html`<${BadModel} problem=${problem} />`;
  if (!info) return html`<p class="faint loading" role="status">${t("app.opening")}</p>`;
  if (!info.styles && NEEDS_STYLES.includes(page)) {
    return html`<${Empty} title=${t("empty.styles.title")}><p>${t("empty.styles.text")}</p></${Empty}>`;
  }
  const Page = PAGES[page];
  // Another address of the same page begins it anew; Explore follows by itself.
  return html`<${Page} key=${info.id + info.stamp + (page === "explore" ? "" : `.${visit}`)} />`;
}

function NoModel() {
  useLookingAgain();
  return html`<${Empty} title=${t("empty.models.title")}><p>${t("empty.models.text")}</p><pre>
    <code>stylegan studio model.safetensors
stylegan studio runs/</code></pre><${Button} icon="reset" label=${t("empty.again")} onClick=${again} /></${Empty}>`;
}

// A file that cannot be read may be one that is being written.
function BadModel({ problem }) {
  useLookingAgain();
  return html`<${Empty} title=${t("empty.model.title")}><p>${t(`error.${problem.code || "internal"}`)}</p><p
    lang="en" class="faint">${problem.message}</p><${Button} icon="reset" label=${t("empty.again")}
    onClick=${again} /></${Empty}>`;
}

// A fault in one page leaves the others usable.
function Safe({ children }) {
  const [error] = useErrorBoundary((problem) => console.error(problem));
  if (error) return html`<${Empty} title=${t("error.page")}><p class="faint">${String(error)}</p></${Empty}>`;
  return children;
}

function Help() {
  return html`<${Dialog} title=${t("help.title")} onClose=${() => app.set({ help: false })}>
    <p>${t("help.text")}</p>
    <dl class="keys-list">${KEYS.map((key) => html`<div key=${key}><dt><kbd>${t(`help.key.${key}.key`)}</kbd></dt><dd>
      ${t(`help.key.${key}`)}</dd></div>`)}</dl>
  </${Dialog}>`;
}

async function start() {
  applyTheme(app.get().theme);
  connection.open();
  const [, hello] = await Promise.all([setLanguage(preferred(), false), getJson("/api/hello")]);
  app.set({ hello });
  follow();
  addEventListener("hashchange", follow);
  render(html`<${App} />`, document.getElementById("app"));
}

start().catch((error) => {
  document.getElementById("app").textContent = `${error}`;
  console.error(error);
});

