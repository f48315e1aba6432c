// A list of patches with one that is chosen: only the items near it are in the page, however long the list is.
import { h } from "./dom.js";

const AROUND = 150;

export class PatchList {
  /** `item` returns the content of an entry; `onChoose` is called with the entry that was chosen. */
  constructor(label, item, onChoose) {
    this.item = item;
    this.onChoose = onChoose;
    this.entries = [];
    this.at = -1;
    this.element = h("ol", { class: "patches", role: "listbox", "aria-label": label, tabindex: "0" });
    this.element.addEventListener("click", (event) => {
      const entry = event.target.closest("li[data-at]");
      if (entry) this.choose(Number(entry.dataset.at));
    });
  }

  /** Show entries; the one of the same name stays chosen. */
  show(entries, name) {
    this.entries = entries;
    this.at = Math.max(0, entries.findIndex((one) => one.name === name));
    this.draw();
    this.onChoose(this.entries[this.at] ?? null);
  }

  choose(at) {
    if (at < 0 || at >= this.entries.length) return;
    this.at = at;
    this.draw();
    this.onChoose(this.entries[at]);
  }

  step(by) {
    this.choose(this.at + by);
  }

  /** Draw the entries anew, after their content changed. */
  draw() {
    const first = Math.max(0, this.at - AROUND);
    const shown = this.entries.slice(first, this.at + AROUND).map((entry, i) => {
      const isChosen = first + i === this.at;
      return h("li", { role: "option", "data-at": String(first + i), "aria-selected": String(isChosen), id: isChosen ? "chosen" : null }, this.item(entry));
    });
    this.element.replaceChildren(...(shown.length ? shown : [h("li", { class: "soft" }, "no patch")]));
    this.element.setAttribute("aria-activedescendant", "chosen");
    this.element.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }
}

/** Picture of a patch with a caption. */
export function figure(address, title, caption = "") {
  const image = h("img", { src: address, alt: title, width: 256, height: 256, error: () => frame.replaceChildren(h("p", { class: "soft" }, "not readable")) });
  const frame = h("div", { class: "picture" }, image);
  return h("figure", {}, frame, h("figcaption", {}, h("b", {}, title), caption ? ` ${caption}` : null));
}

/** Header of a page of patches. */
export function patchHeader(contents, title, ...more) {
  return h("header", { class: "bar" }, h("h1", {}, h("a", { href: "#", class: "home" }, contents.title), " / ", title), h("span", { class: "spring" }), ...more);
}
