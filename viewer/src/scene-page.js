// The page of a scene: map, choices, dates, legend and the values of a pixel.
import { COMBINATIONS, hasBands, legendOf, percent } from "./appearance.js";
import { h, isTyping, select, svg } from "./dom.js";
import { northAngle, placeText, scaleBar } from "./ground.js";
import { number, writeLink } from "./link.js";
import { Page } from "./page.js";
import { SceneMap, SIDES } from "./scene-map.js";
import { pixelPanel } from "./spectrum.js";
import { Swipe } from "./swipe.js";

const HELP = [
  ["b", "blink: one image, then the other"],
  ["← →", "move the border, when it has the focus; otherwise the map"],
  ["1 … 9", "layer on the right; with Shift on the left"],
  ["x", "exchange left and right"],
  ["c", "next combination of bands"],
  ["[ ]", "earlier or later date"],
  ["+ −", "zoom"],
  ["f", "whole scene"],
  ["Enter", "values of the pixel at the cross, when the map has the focus"],
  ["Esc", "close the panel"],
  ["?", "this list"],
];

/** Page of a scene. */
export class ScenePage extends Page {
  async open(id) {
    const { scenes } = this.contents;
    const found = scenes.find((one) => one.id === id) ?? scenes[0];
    const previous = this.scene;
    this.element.setAttribute("aria-busy", "true");
    try {
      this.scene = await this.api.scene(found.id);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
    const isSameGrid = previous && String(previous.shape) === String(this.scene.shape) && String(previous.transform) === String(this.scene.transform);
    if (previous && !isSameGrid) this.state = { ...this.state, x: "", y: "", res: "", row: "", column: "" };
    this.state.scene = found.id;
    document.title = `${this.scene.title} – unclouded`;
    this.build();
    if (this.state.row) this.pick(number(this.state.row, 0), number(this.state.column, 0));
  }

  // Choices.

  layer(side) {
    const preferred = { left: ["observed", "reference-1"], right: ["result"] }[side];
    const candidates = [this.state[side], ...preferred].filter(Boolean);
    const found = candidates.map((id) => this.scene.layers.find((one) => one.id === id)).find(Boolean);
    return found ?? this.scene.layers[side === "left" ? Math.min(1, this.scene.layers.length - 1) : 0];
  }

  get combination() {
    return this.state.bands in COMBINATIONS ? this.state.bands : "true";
  }

  get brightness() {
    return number(this.state.light, 1, 0.25, 8);
  }

  combinations() {
    const optical = this.scene.layers.filter((one) => one.role === "optical");
    return Object.keys(COMBINATIONS).filter((key) => optical.some((one) => hasBands(one, key)));
  }

  /** Scenes of the slider: those with a date, if this one has one. */
  get dated() {
    return this.contents.scenes.filter((one) => Boolean(one.acquired) === Boolean(this.scene.acquired));
  }

  change(state) {
    Object.assign(this.state, state);
    this.refresh();
  }

  // Elements.

  build() {
    this.dispose();
    this.mapElement = h("div", { class: "map", tabindex: "0", role: "application", "aria-label": `Map of ${this.scene.title}; arrow keys move it, plus and minus zoom, Enter shows the values of the pixel at the cross` });
    this.frame = h("div", { class: "frame" }, this.mapElement, h("div", { class: "cross", "aria-hidden": "true" }));
    this.side = h("aside", { class: "side-panel", "aria-label": "Legend and values" });
    this.status = h("p", { class: "status", role: "status" });
    this.coordinates = h("output", { class: "coordinates", "aria-label": "Coordinates at the pointer" });
    this.bar = h("div", { class: "scale-bar" });
    this.element.replaceChildren(this.header(), h("div", { class: "work" }, h("div", { class: "stage" }, this.frame, this.dates()), this.side));
    this.map = new SceneMap(this.api, this.scene, this.mapElement);
    this.swipe = new Swipe(this.frame, number(this.state.cut, 50, 0, 100), (cut) => this.onCut(cut));
    this.frame.append(this.choices(), this.compass(), h("div", { class: "ground" }, this.bar, this.coordinates), this.zoomButtons(), this.status);
    this.listen();
    const { x, y, res } = this.state;
    if (res) this.map.goTo(number(x, 0), number(y, 0), number(res, 1, 1 / 32, 1e5));
    this.refresh();
  }

  header() {
    const others = this.contents.datasets.length + this.contents.scores.length + this.contents.scenes.length - this.dated.length;
    const back = others ? h("a", { href: "#", class: "home" }, this.contents.title) : null;
    const day = this.scene.acquired ? h("span", { class: "soft" }, this.scene.acquired.slice(0, 16).replace("T", " ") + " UTC") : null;
    const report = this.api.reportAddress(this.scene);
    return h("header", { class: "bar" },
      h("h1", {}, back, back ? " / " : null, this.scene.title.replace(/\.tif$/, "")), day,
      h("span", { class: "spring" }),
      report ? h("a", { href: report, target: "_blank", rel: "noopener" }, "Report") : null,
      h("button", { type: "button", class: "quiet", click: () => this.help(), "aria-label": "Keys" }, "?"));
  }

  choices() {
    const options = this.scene.layers.map((one) => [one.id, one.title]);
    const layers = SIDES.map((side) => {
      const word = side === "left" ? "Left image" : "Right image";
      return select(word, options, this.layer(side).id, (id) => this.change({ [side]: id }), { class: `choice ${side}`, "data-side": side });
    });
    const combinations = this.combinations();
    const bands = combinations.length > 1
      ? select("Bands", combinations.map((key) => [key, COMBINATIONS[key].title]), this.combination, (key) => this.change({ bands: key }), { class: "bands" })
      : null;
    const light = h("input", { type: "range", min: "-2", max: "3", step: "0.25", value: String(Math.log2(this.brightness)), "aria-label": "Brightness of both images", title: "Brightness of both images", input: () => this.onLight(2 ** Number(light.value)) });
    const blink = h("button", { type: "button", click: () => this.swipe.blink(), title: "Key b", "aria-label": "Blink: show one image, then the other" }, "Blink");
    return h("div", { class: "choices", role: "group", "aria-label": "Images" }, layers[0], h("div", { class: "middle" }, bands, h("label", { class: "light", title: "Brightness of both images" }, "☀", light), blink), layers[1]);
  }

  zoomButtons() {
    const button = (text, label, action) => h("button", { type: "button", "aria-label": label, title: label, click: action }, text);
    return h("div", { class: "zoom", role: "group", "aria-label": "Zoom" }, button("+", "Zoom in", () => this.map.zoom(1)), button("−", "Zoom out", () => this.map.zoom(-1)), button(fitIcon(), "Whole scene", () => this.map.fit()));
  }

  compass() {
    const angle = northAngle(this.scene);
    if (angle === null) return "";
    const arrow = h("div", { class: "north", role: "img", "aria-label": "Grid north", title: "Grid north" }, "N");
    arrow.style.setProperty("--north", `${angle}deg`);
    return arrow;
  }

  dates() {
    const scenes = this.dated;
    if (scenes.length < 2) return null;
    const at = scenes.findIndex((one) => one.id === this.scene.id);
    const label = (one) => one.acquired?.slice(0, 10) ?? one.title;
    const slider = h("input", {
      type: "range", min: "0", max: String(scenes.length - 1), step: "1", value: String(at), "aria-label": "Date", "aria-valuetext": label(scenes[at]),
      input: () => (shown.textContent = label(scenes[Number(slider.value)])), change: () => this.toDate(Number(slider.value)),
    });
    const shown = h("output", {}, label(scenes[at]));
    const step = (by, text, word) => h("button", { type: "button", "aria-label": word, title: word, click: () => this.toDate(at + by), disabled: at + by < 0 || at + by >= scenes.length }, text);
    return h("div", { class: "dates", role: "group", "aria-label": "Dates" }, step(-1, "‹", "Earlier"), slider, step(1, "›", "Later"), shown, h("span", { class: "soft" }, `${at + 1} of ${scenes.length}`));
  }

  toDate(index) {
    const next = this.dated[index];
    if (!next || next.id === this.scene.id) return;
    Object.assign(this.state, this.map.place());
    this.open(next.id).catch((error) => this.announce(error.message, true));
  }

  // Events.

  listen() {
    this.mapElement.addEventListener("picked", ({ detail }) => this.pick(detail.row, detail.column));
    this.mapElement.addEventListener("moved", () => this.onMoved());
    this.mapElement.addEventListener("hovered", ({ detail }) => (this.coordinates.value = placeText(this.scene, detail.place)));
    this.mapElement.addEventListener("failed", ({ detail }) => this.announce(`${detail.layer.title} cannot be read here; the log of the viewer has the reason`, true));
  }

  onMoved() {
    Object.assign(this.state, this.map.place());
    const { width, text } = scaleBar(this.scene, this.map.view.getResolution());
    this.bar.style.setProperty("--width", `${width}px`);
    this.bar.textContent = text;
    this.coordinates.value ||= placeText(this.scene, this.map.view.getCenter());
    writeLink(this.state);
  }

  onCut(cut) {
    this.state.cut = Number(cut.toFixed(1));
    writeLink(this.state);
  }

  onLight(light) {
    this.state.light = Number(light.toFixed(3));
    this.map.brighten(this.brightness);
    writeLink(this.state);
  }

  refresh() {
    for (const side of SIDES) {
      this.map.show(side, this.layer(side), this.combination, this.brightness);
      this.frame.querySelector(`select[data-side=${side}]`).value = this.layer(side).id;
    }
    const bands = this.frame.querySelector("select.bands");
    if (bands) bands.value = this.combination;
    this.drawPanel();
    writeLink(this.state);
  }

  async pick(row, column) {
    Object.assign(this.state, { row: String(row), column: String(column) });
    this.map.mark(row, column);
    try {
      this.pixel = await this.api.pixel(this.scene, row, column);
      this.announce(`Values of row ${row}, column ${column} are shown`);
    } catch (error) {
      this.pixel = null;
      this.announce(error.message, true);
    }
    this.drawPanel();
    writeLink(this.state);
  }

  /** Announce a text to screen readers; errors are also visible. */
  announce(text, isWrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("wrong", isWrong);
  }

  byKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event) || !this.map || document.querySelector("dialog[open]")) return;
    const digit = event.code.match(/^Digit([1-9])$/)?.[1];
    const layer = digit ? this.scene.layers[Number(digit) - 1] : null;
    const onMap = document.activeElement === this.mapElement;
    const actions = {
      b: () => this.swipe.blink(), c: () => this.nextCombination(), f: () => this.map.fit(), "?": () => this.help(),
      x: () => this.change({ left: this.layer("right").id, right: this.layer("left").id }),
      "[": () => this.stepDate(-1), "]": () => this.stepDate(1), "+": () => this.map.zoom(1), "=": () => this.map.zoom(1), "-": () => this.map.zoom(-1),
      Escape: () => this.closePixel(),
      ...(onMap ? { Enter: () => this.map.pickCentre(), ArrowLeft: () => this.map.move(-1, 0), ArrowRight: () => this.map.move(1, 0), ArrowUp: () => this.map.move(0, 1), ArrowDown: () => this.map.move(0, -1) } : {}),
    };
    const action = layer ? () => this.change({ [event.shiftKey ? "left" : "right"]: layer.id }) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  nextCombination() {
    const all = this.combinations();
    this.change({ bands: all[(all.indexOf(this.combination) + 1) % all.length] });
  }

  stepDate(by) {
    this.toDate(this.dated.findIndex((one) => one.id === this.scene.id) + by);
  }

  closePixel() {
    this.pixel = null;
    Object.assign(this.state, { row: "", column: "" });
    this.map.mark(null);
    this.drawPanel();
    writeLink(this.state);
  }

  help() {
    const rows = HELP.flatMap(([keys, text]) => [h("dt", {}, keys.split(" ").map((one) => (one === "…" ? " … " : h("kbd", {}, one)))), h("dd", {}, text)]);
    const dialog = h("dialog", { "aria-label": "Keys", close: () => dialog.remove() }, h("h2", {}, "Keys"), h("dl", { class: "keys" }, rows), h("button", { type: "button", click: () => dialog.close() }, "Close"));
    document.body.append(dialog);
    dialog.showModal();
  }

  // Side panel.

  drawPanel() {
    const close = h("button", { type: "button", class: "quiet close", "aria-label": "Close the values of the pixel", click: () => this.closePixel() }, "×");
    const pixel = this.pixel ? h("section", { class: "pixel", "aria-label": "Values of the pixel" }, close, pixelPanel(this.scene, this.pixel)) : h("p", { class: "hint soft" }, "Click a pixel for its spectra.");
    this.side.replaceChildren(pixel, ...SIDES.map((side) => this.legend(side)), this.about());
    this.side.classList.toggle("has-pixel", Boolean(this.pixel));
  }

  legend(side) {
    const layer = this.layer(side);
    const legend = legendOf(this.scene, layer, this.combination);
    const source = [layer.acquired?.slice(0, 10), layer.name, layer.verified === null && layer.name ? "checksum not compared" : ""].filter(Boolean).join(" · ");
    return h("section", { class: "legend" }, h("h2", {}, h("span", { class: "soft" }, side === "left" ? "Left " : "Right "), layer.title), legendBody(legend, side), source ? h("p", { class: "soft file" }, source) : null);
  }

  about() {
    const { facts, missing } = this.scene;
    const rows = [facts.choice ?? (facts.used ? `Predicted by ${facts.used}.` : null), ...(facts.remarks ?? [])].filter(Boolean);
    const absent = missing.map(({ name, reason }) => h("li", {}, h("b", {}, name), `: ${reason}`));
    if (!rows.length && !absent.length) return "";
    return h("section", { class: "about" }, h("h2", {}, "About"), rows.map((text) => h("p", {}, text)), absent.length ? h("p", { class: "soft" }, "Images of this scene that are not shown:") : null, absent.length ? h("ul", {}, absent) : null);
  }

  dispose() {
    this.map?.dispose();
    this.map = null;
  }

  close() {
    super.close();
    this.dispose();
  }
}

/** Four corners of a frame. */
function fitIcon() {
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4" }));
}

function legendBody(legend, side) {
  if (legend.text) return h("p", { class: "soft" }, legend.text);
  if (legend.classes) {
    return h("ul", { class: "classes" }, legend.classes.map(({ colour, text, share }) => h("li", {}, swatch(colour), h("span", {}, share ? h("b", {}, percent(share)) : null, " ", text))));
  }
  const bar = h("canvas", { class: "ramp", width: 256, height: 1, role: "img", "aria-label": `Colours from ${legend.ends[0]} to ${legend.ends[1]} (${side})` });
  const context = bar.getContext("2d");
  const [low, high] = [legend.ramp[0][0], legend.ramp.at(-1)[0]];
  const gradient = context.createLinearGradient(0, 0, 256, 0);
  for (const [value, colour] of legend.ramp) gradient.addColorStop((value - low) / (high - low), colour);
  context.fillStyle = gradient;
  context.fillRect(0, 0, 256, 1);
  return h("div", {}, bar, h("div", { class: "ends soft" }, legend.ends.map((one) => h("span", {}, one))), legend.note ? h("p", { class: "soft" }, legend.note) : null);
}

function swatch(colour) {
  const box = h("i", { class: "swatch", "aria-hidden": "true" });
  box.style.background = colour;
  return box;
}
