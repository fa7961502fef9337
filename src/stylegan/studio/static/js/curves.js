// A chart of one or several curves over thousands of images shown, with uPlot.
import { html, useEffect, useRef } from "./html.js";
import uPlot from "../vendor/uplot.js";
import { app, useStore } from "./store.js";

const COLOURS = ["#3b5bdb", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#e67700"];
const DARK = ["#8da2fb", "#ffa94d", "#69db7c", "#da77f2", "#66d9e8", "#ffe066"];

const wantsDark = matchMedia("(prefers-color-scheme: dark)");

// series: [[label, values]]; marker: kimg of a vertical line
export function Chart({ title, x, series, marker, height = 190 }) {
  const { theme } = useStore(app);
  const box = useRef(null);
  const plot = useRef(null);
  const held = useRef(marker);
  held.current = marker;
  useEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const [faint, line] = ["--faint", "--line"].map((name) => style.getPropertyValue(name).trim());
    const dark = theme === "dark" || (theme === "auto" && wantsDark.matches);
    const axis = { stroke: faint, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 },
      font: "11px system-ui", size: 44 };
    const options = {
      width: box.current.clientWidth, height, cursor: { y: false, points: { size: 6 } }, legend: { live: true },
      scales: { x: { time: false } },
      axes: [{ ...axis, size: 30 }, { ...axis, values: (_, ticks) => ticks.map((v) => (Math.abs(v) >= 10000 || (v
        && Math.abs(v) < 0.001) ? v.toExponential(0) : String(v))) }],
      series: [{ label: "kimg", value: (_, v) => (v === null ? "" : v.toFixed(1)) },
        ...series.map(([label], i) => ({ label, stroke: (dark ? DARK : COLOURS)[i % COLOURS.length], width: 1.6,
          spanGaps: true, points: { show: x.length < 3 }, value: (_, v) => (v === null ? "" : v.toPrecision(4)) }))],
      hooks: { draw: [(u) => {
        if (held.current === null || held.current === undefined) return;
        const at = Math.round(u.valToPos(held.current, "x", true));
        u.ctx.save();
        u.ctx.strokeStyle = faint;
        u.ctx.setLineDash([4, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(at, u.bbox.top);
        u.ctx.lineTo(at, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
        u.ctx.restore();
      }] },
    };
    plot.current = new uPlot(options, [x, ...series.map(([, values]) => values)], box.current);
    const watch = new ResizeObserver(() => plot.current && plot.current.setSize({ width: box.current.clientWidth,
      height }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [x, series, theme]);
  useEffect(() => { if (plot.current) plot.current.redraw(false); }, [marker]);
  return html`<figure class="chart card"><figcaption>${title}</figcaption><div ref=${box} role="img"
    aria-label=${title}></div></figure>`;
}
