// Directions of the models: asked for once, kept while the page is open.
import { createStore } from "./store.js";
import { connection } from "./connection.js";
import { toast } from "./ui.js";
import { t } from "./i18n.js";

export const found = createStore({}); // "model method" -> {id, items} or {waiting}

export function find(model, method, onProblem) {
  const key = `${model} ${method}`;
  if (found.get()[key]) return;
  found.set({ [key]: { waiting: true } });
  connection.job({ type: "directions", model, method, count: 24 }, (news) => {
    if (news.state === "done") found.set({ [key]: news.result });
    else if (news.state === "failed" || news.state === "stopped") {
      found.set({ [key]: undefined });
      if (news.state === "failed") onProblem(news);
      if (news.code === "busy") toast(t("error.busy"));
    }
  });
}
