// The page for the review of a data set: patches are accepted or rejected, with a reason, by keys.
import { h, isTyping, select } from "./dom.js";
import { writeLink } from "./link.js";
import { Page } from "./page.js";
import { PatchList, figure, patchHeader } from "./patch-list.js";

const REASONS = ["clouds in the clear image", "haze in the clear image", "snow in one image only", "images are shifted", "damaged image", "good triplet"];
const POLL_MS = 5000;
const MARKS = { accept: "✓", reject: "✗" };

/** Page of the review of a data set. */
export class ReviewPage extends Page {
  constructor(api, contents, element) {
    super(api, contents, element);
    this.lastReason = "";
    this.timer = setInterval(() => this.update(), POLL_MS);
    this.onFocus = () => this.update();
    addEventListener("focus", this.onFocus);
  }

  async open(id) {
    this.id = id;
    this.data = await this.api.dataset(id);
    this.indices = new Map(this.data.patches.map((one, index) => [one.name, index]));
    this.decisions = this.data.decisions;
    document.title = `Review of ${this.data.title} – unclouded`;
    this.list = new PatchList("Patches", (entry) => this.item(entry), (entry) => this.draw(entry));
    this.count = h("span", { class: "soft", role: "status" });
    this.message = h("p", { class: "message", role: "status" });
    this.view = h("section", { class: "patch-view" });
    this.element.replaceChildren(
      patchHeader(this.contents, `Review of ${this.data.title}`, this.count),
      h("div", { class: "work patch-work" },
        h("nav", { class: "list", "aria-label": "Patches" }, this.controls(), this.list.element),
        h("div", { class: "patch-main" }, this.view, this.form())),
    );
    this.refresh();
  }

  controls() {
    const shows = [["all", "all"], ["undecided", "undecided"], ["accept", "accepted"], ["reject", "rejected"], ["failed", "rejected by a check"]];
    const regions = [...new Set(this.data.patches.map((one) => one.roi))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    return h("div", { class: "controls", role: "group", "aria-label": "Filter" },
      h("label", {}, h("span", {}, "Show"), select("Show", shows, this.state.show ?? "all", (show) => this.change({ show }))),
      h("label", {}, h("span", {}, "Region"), select("Region", [["", "all regions"], ...regions.map((one) => [one, one || "without region"])], this.state.roi ?? "", (roi) => this.change({ roi }))));
  }

  form() {
    this.reviewer = h("input", { type: "text", name: "reviewer", maxlength: "100", autocomplete: "name", value: localStorage.getItem("reviewer") ?? "", change: () => localStorage.setItem("reviewer", this.reviewer.value) });
    this.reason = h("input", { type: "text", name: "reason", maxlength: "400", list: "reasons", autocomplete: "off" });
    const button = (text, key, decision) => h("button", { type: "button", class: decision ?? "", title: `Key ${key}`, click: () => this.decide(decision) }, text, " ", h("kbd", {}, key));
    return h("form", { class: "decision", "aria-label": "Decision", submit: (event) => event.preventDefault() },
      h("label", {}, h("span", {}, "Reviewer"), this.reviewer),
      h("label", { class: "wide" }, h("span", {}, "Reason"), this.reason, h("datalist", { id: "reasons" }, REASONS.map((one) => h("option", { value: one })))),
      h("div", { class: "buttons" }, button("Accept", "a", "accept"), button("Reject", "r", "reject"), button("Withdraw", "u", null)),
      this.message);
  }

  change(state) {
    Object.assign(this.state, state);
    this.refresh();
  }

  /** Decision on a patch: its own, or that on its region. */
  decisionOn(entry) {
    return this.decisions[entry.name] ?? this.decisions[entry.roi] ?? null;
  }

  refresh() {
    const show = this.state.show ?? "all";
    const fits = (entry) => {
      const decision = this.decisionOn(entry)?.decision ?? "undecided";
      return show === "all" || show === decision || (show === "failed" && entry.status !== "kept");
    };
    this.list.show(this.data.patches.filter((one) => fits(one) && (!this.state.roi || one.roi === this.state.roi)), this.state.patch);
    this.tally();
  }

  tally() {
    const decided = this.data.patches.filter((one) => this.decisionOn(one)).length;
    this.count.textContent = `${decided.toLocaleString("en")} of ${this.data.patches.length.toLocaleString("en")} patches decided`;
  }

  item(entry) {
    const decision = this.decisionOn(entry)?.decision;
    const facts = [entry.coverage === null ? "" : `${Math.round(100 * entry.coverage)} % cloud`, entry.status === "kept" ? "" : entry.status].filter(Boolean).join(" · ");
    return [h("span", { class: "name" }, entry.name), h("span", { class: `mark ${decision ?? ""}` }, decision ? h("span", { class: "unseen" }, `${decision}ed`) : null, MARKS[decision] ?? ""), h("span", { class: "soft" }, facts)];
  }

  draw(entry) {
    this.entry = entry;
    if (!entry) return this.view.replaceChildren(h("p", { class: "soft" }, "No patch fits the filter."));
    this.state.patch = entry.name;
    writeLink({ ...this.state, review: this.id });
    const index = this.indices.get(entry.name);
    const address = (kind) => this.api.reviewedPicture(this.id, index, kind);
    const facts = [entry.roi, entry.season, entry.split, entry.coverage === null ? "" : `${(100 * entry.coverage).toFixed(1)} % cloud`, ...entry.findings].filter(Boolean);
    const decision = this.decisionOn(entry);
    const verdict = decision ? `${decision.decision}ed by ${decision.reviewer}: ${decision.reason}${this.decisions[entry.name] ? "" : " (whole region)"}` : "not decided";
    this.view.replaceChildren(...[
      h("h2", {}, entry.name),
      h("p", { class: "soft" }, facts.join(" · ")),
      entry.status === "kept" ? null : h("p", { class: "note" }, `${entry.status} by a check: ${entry.reason}`),
      h("div", { class: "figures three" }, figure(address("radar"), "Radar", entry.dates.s1 ?? ""), figure(address("cloudy"), "Cloudy", entry.dates.s2_cloudy ?? ""), figure(address("clear"), "Clear", entry.dates.s2 ?? "")),
      h("p", { class: `verdict ${decision?.decision ?? ""}` }, verdict),
    ].filter(Boolean));
  }

  async decide(decision) {
    const entry = this.entry;
    if (!entry) return;
    const reviewer = this.reviewer.value.trim();
    if (!reviewer && decision) {
      this.reviewer.focus();
      this.announce("Enter your name or initials first.", true);
      return;
    }
    const reason = this.reason.value.trim() || (decision === "accept" ? "good triplet" : this.lastReason);
    if (decision && !reason) {
      this.reason.focus();
      this.announce("Enter a reason for the rejection, then press Enter and r.", true);
      return;
    }
    if (decision === "reject") this.lastReason = reason;
    this.reason.value = "";
    this.reason.placeholder = this.lastReason && `as before: ${this.lastReason}`;
    try {
      const { decisions } = await this.api.decide(this.id, { name: entry.name, decision, reason: reason || "withdrawn", reviewer: reviewer || "withdrawn" }, this.contents.token);
      this.decisions = decisions;
      this.announce(decision ? `${entry.name} ${decision}ed` : `Decision on ${entry.name} withdrawn`);
      if (decision && (this.state.show ?? "all") === "all") this.list.step(1);
      if ((this.state.show ?? "all") === "all") this.list.draw();
      else this.refresh();
      this.draw(this.list.entries[this.list.at] ?? null);
      this.tally();
    } catch (error) {
      this.announce(error.message, true);
    }
  }

  /** Show what other windows decided meanwhile. */
  async update() {
    if (document.hidden || !this.data) return;
    const found = await this.api.review(this.id).catch(() => null);
    if (!found || JSON.stringify(found.decisions) === JSON.stringify(this.decisions)) return;
    this.decisions = found.decisions;
    this.list.draw();
    this.draw(this.entry);
    this.tally();
  }

  announce(text, isWrong = false) {
    this.message.textContent = text;
    this.message.classList.toggle("wrong", isWrong);
  }

  byKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event)) {
      if (["Escape", "Enter"].includes(event.key)) event.target.blur();
      return;
    }
    const actions = { a: () => this.decide("accept"), r: () => this.decide("reject"), u: () => this.decide(null), j: () => this.list.step(1), ArrowDown: () => this.list.step(1), k: () => this.list.step(-1), ArrowUp: () => this.list.step(-1) };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  close() {
    super.close();
    removeEventListener("focus", this.onFocus);
    clearInterval(this.timer);
  }
}
