// Spectra and values of one pixel, as a chart and as a table.
import { PROVENANCE, percent } from "./appearance.js";
import { h, svg } from "./dom.js";
import { degrees } from "./ground.js";

const WIDTH = 380, HEIGHT = 218, LEFT = 38, RIGHT = 10, TOP = 12, BOTTOM = 40;
const KINDS = ["observed", "result", "truth"];

/** Class of a layer in the chart: each has a colour and a dash of its own. */
export function kindOf(layer) {
  return KINDS.find((kind) => layer.id.startsWith(kind)) ?? "reference";
}

/** Panel of a pixel. */
export function pixelPanel(scene, pixel) {
  const optical = scene.layers.filter((one) => one.role === "optical");
  const bands = optical[0]?.bands.filter((band) => scene.wavelengths[band]) ?? [];
  return [placeOf(scene, pixel), ...(bands.length ? [chart(scene, optical, bands, pixel), key(optical)] : []), others(scene, pixel), table(optical, bands, pixel)];
}

function placeOf(scene, pixel) {
  const rows = [h("p", { class: "place" }, `Row ${pixel.row}, column ${pixel.column}`)];
  if (pixel.longitude !== undefined) {
    const unit = scene.crs.units === "m" ? `E ${pixel.x.toFixed(0)} N ${pixel.y.toFixed(0)}` : "";
    const text = `${degrees(pixel.latitude, "N", "S")} ${degrees(pixel.longitude, "E", "W")}`;
    rows.push(h("p", { class: "soft" }, [text, unit && `EPSG:${scene.crs.epsg} ${unit}`].filter(Boolean).join(" · ")));
  }
  return h("div", {}, rows);
}

function chart(scene, optical, bands, pixel) {
  const ordered = [...bands].sort((a, b) => scene.wavelengths[a] - scene.wavelengths[b]);
  const values = optical.flatMap((layer) => Object.values(pixel.values[layer.id] ?? {})).filter((one) => one !== null);
  const top = niceTop(Math.max(0.1, ...values));
  const x = (i) => LEFT + (ordered.length === 1 ? 0.5 : i / (ordered.length - 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  const grid = ticks.flatMap((tick) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }),
    svg("text", { class: "tick end", x: LEFT - 6, y: y(tick) + 4 }, String(Number(tick.toFixed(3)))),
  ]);
  const names = ordered.map((band, i) => svg("text", { class: "tick band", transform: `translate(${x(i) + 3.5} ${HEIGHT - BOTTOM + 10}) rotate(-60)` }, band));
  const lines = optical.map((layer) => line(layer, ordered, pixel.values[layer.id] ?? {}, x, y));
  const label = `Reflectance by band of ${optical.map((one) => one.title).join(", ")}; the table below holds the numbers`;
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, grid, names, lines);
}

function niceTop(value) {
  return [0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.6, 2].find((one) => one >= value) ?? Math.ceil(value);
}

function line(layer, bands, values, x, y) {
  const kind = kindOf(layer);
  const points = bands.map((band, i) => [x(i), values[band]]).filter(([, value]) => value !== null && value !== undefined);
  const path = points.map(([px, value], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const dots = points.map(([px, value]) => svg("circle", { class: `dot ${kind}`, cx: px, cy: y(value), r: 2.6 }));
  return svg("g", {}, svg("title", {}, layer.title), svg("path", { class: `line ${kind}`, d: path }), dots);
}

function key(optical) {
  const items = optical.map((layer) => {
    const sample = svg("svg", { class: "sample", viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("path", { class: `line ${kindOf(layer)}`, d: "M1 4H23" }));
    return h("li", {}, sample, layer.title);
  });
  return h("ul", { class: "key" }, items);
}

/** Radar, m, provenance, confidence and uncertainty. */
function others(scene, pixel) {
  const rows = scene.layers.filter((one) => !["optical", "picture"].includes(one.role)).map((layer) => [layer.title, textOf(layer, pixel.values[layer.id] ?? {})]);
  return h("dl", { class: "values" }, rows.flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
}

function textOf(layer, values) {
  const [[, first] = [null, null]] = Object.entries(values);
  if (layer.role === "provenance") return PROVENANCE[first ?? 0]?.[1] ?? `code ${first}`;
  if (layer.role === "radar") return Object.entries(values).map(([band, value]) => `${band} ${value === null ? "no data" : `${value.toFixed(1)} dB`}`).join(", ");
  if (layer.role === "confidence") return first === null ? "not predicted" : percent(first);
  if (layer.role === "uncertainty") return first === null ? "not predicted" : Object.entries(values).map(([band, value]) => `${band} ${value?.toFixed(4) ?? "–"}`).join(", ");
  if (layer.role === "cloud_map") return first === null ? "unknown" : first.toFixed(3);
  return first === null ? "no data" : String(Number(first.toPrecision(6)));
}

function table(optical, bands, pixel) {
  if (!bands.length) return null;
  const head = h("tr", {}, h("th", { scope: "col" }, "band"), optical.map((one) => h("th", { scope: "col" }, one.title)));
  const rows = bands.map((band) => {
    const cells = optical.map((layer) => {
      const value = pixel.values[layer.id]?.[band];
      return h("td", { "data-layer": layer.id, "data-band": band }, value === null || value === undefined ? "–" : value.toFixed(4));
    });
    return h("tr", {}, h("th", { scope: "row" }, band), cells);
  });
  return h("details", { class: "table", open: true }, h("summary", {}, "Reflectance"), h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows))));
}
