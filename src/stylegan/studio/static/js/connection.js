// One WebSocket for the page. Per view only the newest request counts: the server drops those that are overtaken. A few
// may be under way, so that what it draws next is what the hand did last; beyond that the latest waits here.
import { app } from "./store.js";

const PIPELINE = 8;

class Connection {
  constructor() {
    this.socket = null;
    this.views = new Map(); // view -> {request, onFrame, onError, sent: [ids], waiting}
    this.jobs = new Map(); // request id -> callback
    this.next = 1;
    this.retry = 300;
    this.times = []; // of the last frames
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.retry = 300;
      app.set({ connected: true });
      for (const view of this.views.values()) {
        view.sent = [];
        if (view.request) this.send(view);
      }
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.onText(JSON.parse(event.data));
      else this.onFrame(event.data);
    };
    socket.onclose = () => {
      app.set({ connected: false });
      for (const [id, tell] of this.jobs) tell({ state: "failed", code: "lost", text: "", request: id });
      this.jobs.clear();
      setTimeout(() => this.open(), this.retry);
      this.retry = Math.min(5000, this.retry * 1.7);
    };
  }

  get ready() {
    return this.socket !== null && this.socket.readyState === WebSocket.OPEN;
  }

  // Draws; onFrame gets {header, blob}. A newer call for the same view replaces this one.
  render(name, request, onFrame, onError) {
    const view = this.views.get(name) || { name, sent: [], waiting: false };
    Object.assign(view, { request, onFrame, onError });
    this.views.set(name, view);
    if (!this.ready) return;
    if (view.sent.length >= PIPELINE) view.waiting = true;
    else this.send(view);
  }

  send(view) {
    const id = this.next++;
    view.waiting = false;
    view.sent.push(id);
    this.socket.send(JSON.stringify({ type: "render", id, view: view.name, ...view.request }));
  }

  cancel(name) {
    const view = this.views.get(name);
    if (!view) return;
    this.views.delete(name);
    if (this.ready && view.sent.length) this.socket.send(JSON.stringify({ type: "cancel", view: name }));
  }

  // Asks for long work; tell(message) is called as it goes. Returns a function that stops it.
  job(message, tell) {
    const id = this.next++;
    let job = null;
    this.jobs.set(id, (news) => {
      job = news.job ?? job;
      tell(news);
    });
    if (this.ready) this.socket.send(JSON.stringify({ ...message, id }));
    else tell({ state: "failed", code: "lost", text: "" });
    return (keep = false) => job && this.ready && this.socket.send(JSON.stringify({ type: "stop", job, keep }));
  }

  // Frames that a job sends by itself come to the view of that name.
  listen(name, onFrame) {
    this.views.set(name, { name, sent: [], waiting: false, request: null, onFrame });
    return () => this.views.delete(name);
  }

  onFrame(buffer) {
    const length = new DataView(buffer).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    const blob = new Blob([new Uint8Array(buffer, 4 + length)], { type: `image/${header.kind}` });
    const view = this.views.get(header.view);
    if (!view) return;
    if (header.ms) this.count(header);
    const { info } = app.get();
    if (info && info.id === header.model && info.stamp !== header.stamp) this.onNewWeights(info.id, header.stamp);
    if (header.last || view.sent.some((id) => id < header.id)) {
      view.sent = view.sent.filter((id) => id > header.id || (id === header.id && !header.last));
    }
    if (view.waiting && view.sent.length < PIPELINE) this.send(view);
    view.onFrame(header, blob);
  }

  onText(message) {
    if (message.type === "job") {
      const tell = this.jobs.get(message.request);
      if (!tell) return;
      if (["done", "failed", "stopped"].includes(message.state)) this.jobs.delete(message.request);
      tell(message);
    } else if (message.type === "error") {
      const view = this.views.get(message.view);
      if (view) {
        view.sent = view.sent.filter((id) => id > message.id);
        if (message.code === "busy") setTimeout(() => this.views.get(view.name) === view && this.send(view), 500);
        if (view.onError) view.onError(message);
      } else if (this.jobs.has(message.request)) {
        const tell = this.jobs.get(message.request);
        this.jobs.delete(message.request);
        tell({ ...message, state: "failed" });
      }
    }
  }

  onNewWeights() {} // training has replaced the model's file

  count(header) {
    const now = performance.now();
    this.times.push(now);
    this.times = this.times.filter((time) => now - time < 1000);
    this.ms = header.ms;
  }
}

export const connection = new Connection();

// The corner's display of frames per second, twice a second.
setInterval(() => {
  const now = performance.now();
  const fps = connection.times.filter((time) => now - time < 1000).length;
  const rate = app.get().rate;
  if (rate.fps !== fps) app.set({ rate: { fps, ms: connection.ms || 0 } });
}, 500);

export async function getJson(path) {
  const answer = await fetch(path);
  const found = await answer.json().catch(() => ({ code: "internal", text: answer.statusText }));
  if (!answer.ok) throw Object.assign(new Error(found.text), { code: found.code });
  return found;
}
