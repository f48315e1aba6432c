// The page of a file of scores: patches in the order of their error, two removers side by side.
import { h, isTyping, select } from "./dom.js";
import { writeLink } from "./link.js";
import { Page } from "./page.js";
import { PatchList, figure, patchHeader } from "./patch-list.js";

const UNITS = { mae: ["MAE", 4, ""], rmse: ["RMSE", 4, ""], psnr: ["PSNR", 2, " dB"], ssim: ["SSIM", 4, ""], sam: ["SAM", 2, "°"], sam_global: ["SAM global", 4, " rad"] };
const AREAS = { all: "all pixels", cloudy: "cloudy pixels", clear: "clear pixels" };

/** Page of the scores of one or several removers. */
export class ScoresPage extends Page {
  async open(id) {
    this.id = id;
    this.table = await this.api.scores(id);
    document.title = `${this.table.title} – unclouded`;
    this.list = new PatchList("Patches", (entry) => this.item(entry), (entry) => this.draw(entry));
    this.summary = h("section", { class: "summary", "aria-label": "Means" });
    this.view = h("section", { class: "patch-view", "aria-live": "polite" });
    this.controls = h("div", { class: "controls", role: "group", "aria-label": "Order" });
    this.element.replaceChildren(
      patchHeader(this.contents, this.table.title),
      h("div", { class: "work patch-work" }, h("nav", { class: "list", "aria-label": "Patches" }, this.controls, this.list.element), h("div", { class: "patch-main" }, this.summary, this.view)),
    );
    await this.refresh();
  }

  // Choices.

  get first() {
    const index = this.table.removers.indexOf(this.state.first);
    if (index >= 0) return index;
    const predicted = this.table.removers.indexOf(this.table.predicted[0]);
    return predicted >= 0 ? predicted : this.table.removers.length - 1;
  }

  get second() {
    return this.table.removers.indexOf(this.state.second);
  }

  get area() {
    return this.state.area in AREAS ? this.state.area : "all";
  }

  get metric() {
    return this.state.metric in UNITS ? this.state.metric : "mae";
  }

  value(entry, remover, metric = this.metric) {
    return entry.values[this.table.removers[remover]][this.area][metric];
  }

  /** Value by which the list is sorted: the worst comes first. */
  rank(entry) {
    const sign = this.table.higherIsBetter.includes(this.metric) ? -1 : 1;
    const own = this.value(entry, this.first);
    if (this.state.order !== "difference" || this.second < 0) return own === null ? -Infinity : sign * own;
    const other = this.value(entry, this.second);
    return own === null || other === null ? -Infinity : sign * (own - other);
  }

  sorted() {
    const named = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
    const orders = { cover: (a, b) => (b.coverage ?? -1) - (a.coverage ?? -1), region: named };
    const worst = (a, b) => (this.rank(b) > this.rank(a) ? 1 : this.rank(b) < this.rank(a) ? -1 : 0);
    return [...this.table.patches].sort((a, b) => (orders[this.state.order] ?? worst)(a, b) || named(a, b));
  }

  async change(state) {
    Object.assign(this.state, state, { patch: "" }); // the first of the new order
    await this.refresh();
  }

  async refresh() {
    this.drawControls();
    this.worst = Math.max(...this.table.patches.map((one) => Math.abs(this.rank(one))).filter(Number.isFinite), 1e-9);
    this.list.show(this.sorted(), this.state.patch);
    await this.drawSummary();
  }

  // Elements.

  drawControls() {
    const removers = this.table.removers;
    const options = removers.map((name) => [name, name]);
    const orders = [["error", "worst first"], ["cover", "most clouds first"], ["region", "by name"], ...(this.second >= 0 ? [["difference", "largest difference first"]] : [])];
    const rows = [
      ["Remover", select("Remover", options, removers[this.first], (first) => this.change({ first }))],
      removers.length > 1 ? ["Against", select("Against", [["", "none"], ...options.filter(([name]) => name !== removers[this.first])], removers[this.second] ?? "", (second) => this.change({ second }))] : null,
      ["Score", select("Score", this.table.metrics.map((one) => [one, UNITS[one][0]]), this.metric, (metric) => this.change({ metric }))],
      ["Pixels", select("Pixels", Object.entries(AREAS), this.area, (area) => this.change({ area }))],
      ["Order", select("Order", orders, this.state.order ?? "error", (order) => this.change({ order }), { class: "order" })],
    ];
    this.controls.replaceChildren(...rows.filter(Boolean).map(([name, box]) => h("label", {}, h("span", {}, name), box)));
  }

  item(entry) {
    const value = this.value(entry, this.first);
    const bar = h("span", { class: "amount", "aria-hidden": "true" });
    bar.style.setProperty("--share", String(Math.min(1, Math.abs(this.rank(entry)) / this.worst) || 0));
    const cover = entry.coverage === null ? "" : `${Math.round(100 * entry.coverage)} % cloud`;
    return [h("span", { class: "name" }, entry.name), h("span", { class: "number" }, shown(value, this.metric)), bar, h("span", { class: "soft" }, cover)];
  }

  async drawSummary() {
    const { removers, patches } = this.table;
    const mean = (remover) => {
      const values = patches.map((one) => this.value(one, remover)).filter((one) => one !== null);
      return values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null;
    };
    const tile = (value, text) => h("div", { class: "tile" }, h("b", {}, value), h("span", {}, text));
    const tiles = [this.first, this.second].filter((one) => one >= 0).map((one) => tile(shown(mean(one), this.metric), `${UNITS[this.metric][0]} of ${removers[one]}, ${AREAS[this.area]}, ${patches.length} patches`));
    this.summary.replaceChildren(...tiles);
    if (this.second < 0) return;
    const compared = `${this.first} ${this.second} ${this.area} ${this.metric}`;
    this.compared = compared;
    const found = (await this.api.difference(this.id, this.first, this.second))[this.area][this.metric];
    if (this.compared !== compared) return; // another choice was made meanwhile
    const interval = found.interval ? `95 % interval ${found.interval.map((one) => signed(one, this.metric)).join(" to ")}, over regions` : "no interval: it needs patches of two regions";
    const isClear = found.interval && (found.interval[0] > 0 || found.interval[1] < 0);
    this.summary.append(tile(signed(found.mean, this.metric), `${removers[this.first]} minus ${removers[this.second]}, paired; ${interval}${found.interval ? (isClear ? "" : ", which includes 0") : ""}`));
    if (!this.table.comparable) this.summary.append(h("p", { class: "note" }, "The files were evaluated by different protocols; compare them with caution."));
  }

  draw(entry) {
    if (!entry) return this.view.replaceChildren();
    this.state.patch = entry.name;
    writeLink({ ...this.state, scores: this.id });
    this.view.replaceChildren(h("h2", {}, entry.name), this.pictures(entry), this.numbers(entry));
  }

  pictures(entry) {
    if (!this.table.pictured) return h("p", { class: "soft" }, "The images of these patches were not found; give their data set with --data.");
    const index = this.table.patches.indexOf(entry);
    const address = (kind, remover) => this.api.scoredPicture(this.id, index, kind, remover);
    const shownRemovers = [this.first, this.second].filter((one) => one >= 0);
    const predicted = shownRemovers.filter((one) => this.table.predicted.includes(this.table.removers[one]));
    const error = (remover) => figure(address("error", remover), `Error of ${this.table.removers[remover]}`, "pale 0, dark 0.1 or more");
    const lacking = shownRemovers.filter((one) => !predicted.includes(one)).map((one) => this.table.removers[one]);
    return h("div", {},
      h("div", { class: "figures" }, figure(address("radar"), "Radar", "VV, VH, VV − VH"), figure(address("cloudy"), "Cloudy"), figure(address("clear"), "Truth"), predicted.flatMap((one) => [figure(address("prediction", one), this.table.removers[one]), error(one)])),
      lacking.length ? h("p", { class: "soft" }, `Predictions of ${lacking.join(" and ")} were not found; give their folder with --predictions.`) : null);
  }

  numbers(entry) {
    const columns = [this.first, this.second].filter((one) => one >= 0);
    const head = h("tr", {}, h("th", { scope: "col" }, "score"), columns.flatMap((one) => Object.keys(AREAS).map((area) => h("th", { scope: "col" }, `${this.table.removers[one]}, ${area}`))));
    const rows = this.table.metrics.map((metric) => h("tr", {}, h("th", { scope: "row" }, UNITS[metric][0]), columns.flatMap((one) => Object.keys(AREAS).map((area) => h("td", {}, shown(entry.values[this.table.removers[one]][area][metric], metric))))));
    return h("div", { class: "scroll numbers" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
  }

  byKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.list.step(step);
  }
}

function shown(value, metric) {
  const [, digits, unit] = UNITS[metric];
  return value === null || value === undefined ? "–" : `${value.toFixed(digits)}${unit}`;
}

function signed(value, metric) {
  if (value === null) return "–";
  return `${value < 0 ? "−" : "+"}${shown(Math.abs(value), metric)}`;
}
