// What can be done with a picture: download, link, favourites, history, hand over to another page.
import {
  app, createStore, look, lookMessage, lookToValues, plainLook, remember, remembered, writeAddress,
} from "./store.js";
import { t } from "./i18n.js";
import { toast } from "./ui.js";

const FAVOURITES = 200;
const HISTORY = 60;

export const favourites = createStore({ list: asList(remembered("favourites", [])) });
export const history_ = createStore({ list: asList(remembered("history", [])) });

function asList(value) {
  return Array.isArray(value) ? value.filter((item) => item && item.recipe && item.recipe.place && item.model) : [];
}

export async function download(recipe, settings = look.get()) {
  const body = JSON.stringify({ model: app.get().model, recipe, look: lookMessage(settings) });
  const answer = await fetch("/api/picture", { method: "POST", body, headers: { "content-type": "application/json" } });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ code: "internal", text: "" }));
    toast(`${t(`error.${problem.code}`)} ${problem.code === "refused" ? problem.text : ""}`);
    return;
  }
  const match = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") || "");
  save(await answer.blob(), match ? match[1] : "picture.png");
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    toast(t("action.link.done"));
  } catch {
    toast(location.href);
  }
}

// What was kept by an earlier version may lack newer settings.
const whole = ({ recipe, look: own }) => JSON.stringify([recipe, { ...plainLook, ...own }]);
const same = (a, b) => a.model === b.model && whole(a) === whole(b);

function entry(recipe) {
  return { model: app.get().model, recipe, look: { ...look.get() } };
}

export function isFavourite(recipe) {
  const own = entry(recipe);
  return favourites.get().list.some((other) => same(own, other));
}

export function toggleFavourite(recipe) {
  const own = entry(recipe);
  const list = favourites.get().list;
  const kept = list.filter((other) => !same(own, other));
  const next = kept.length < list.length ? kept : [own, ...kept].slice(0, FAVOURITES);
  favourites.set({ list: next });
  remember("favourites", next);
}

export function note(recipe) {
  const own = entry(recipe);
  const next = [own, ...history_.get().list.filter((other) => !same(own, other))].slice(0, HISTORY);
  history_.set({ list: next });
  remember("history", next);
}

export function clearHistory() {
  history_.set({ list: [] });
  remember("history", []);
}

// Opens another page with a picture's place.
export function sendTo(page, values) {
  writeAddress(page, { m: app.get().model, ...values, ...lookToValues(look.get()) }, true);
}
