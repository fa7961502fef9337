// Texts in the user's language, from strings/*.json. t("key", {name: value}) fills {name}.
import { createStore, remember, remembered } from "./store.js";

export const LANGUAGES = { en: "English", ko: "한국어" };
export const language = createStore({ code: "en", strings: {} });

export function preferred() {
  const kept = remembered("language", null);
  if (kept in LANGUAGES) return kept;
  return (navigator.languages || []).some((name) => /^ko\b/i.test(name)) &&
    !(navigator.languages[0] || "").toLowerCase().startsWith("en") ? "ko" : "en";
}

export async function setLanguage(code, keep = true) {
  const answer = await fetch(`/static/strings/${code}.json`);
  language.set({ code, strings: await answer.json() });
  document.documentElement.lang = code;
  document.title = t("app.title");
  if (keep) remember("language", code);
}

export function t(key, values = {}) {
  const text = language.get().strings[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export function formatNumber(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(language.get().code, { maximumFractionDigits: digits }).format(value);
}

export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${formatNumber(bytes, bytes < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

export function formatTime(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return t("time.seconds", { n: Math.round(seconds) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return t("time.minutes", { n: minutes });
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return t("time.hours", { n: hours, m: minutes % 60 });
  return t("time.days", { n: Math.floor(hours / 24), h: hours % 24 });
}
