// The border between the two sides: dragged with a pointer, or moved by keys.
import { h } from "./dom.js";

const KEY_STEP = 2;

/** Border over a map; `onChange` is called with its place in per cent of the width. */
export class Swipe {
  constructor(element, cut, onChange) {
    this.element = element;
    this.onChange = onChange;
    this.handle = h("div", {
      class: "swipe", role: "slider", tabindex: "0", "aria-label": "Border between the left and the right image",
      "aria-valuemin": "0", "aria-valuemax": "100", "aria-orientation": "horizontal",
      pointerdown: (event) => this.grab(event),
      pointermove: (event) => this.handle.hasPointerCapture(event.pointerId) && this.follow(event),
      keydown: (event) => this.byKey(event),
    }, h("span", { class: "grip", "aria-hidden": "true" }, "‹ ›"));
    element.append(this.handle);
    this.set(cut);
  }

  set(cut) {
    this.cut = Math.min(100, Math.max(0, cut));
    this.element.style.setProperty("--cut", `${this.cut}%`);
    this.handle.setAttribute("aria-valuenow", String(Math.round(this.cut)));
    this.handle.setAttribute("aria-valuetext", `${Math.round(this.cut)} % left image`);
    this.onChange(this.cut);
  }

  /** Show one side alone, or the other if that is what is seen. */
  blink() {
    this.set(this.cut >= 50 ? 0 : 100);
  }

  grab(event) {
    event.preventDefault();
    this.handle.focus();
    this.handle.setPointerCapture(event.pointerId);
  }

  follow(event) {
    const box = this.element.getBoundingClientRect();
    this.set((100 * (event.clientX - box.left)) / box.width);
  }

  byKey(event) {
    const steps = { ArrowLeft: -KEY_STEP, ArrowRight: KEY_STEP, PageUp: 10, PageDown: -10 };
    const ends = { Home: 0, End: 100 };
    if (!(event.key in steps) && !(event.key in ends)) return;
    event.preventDefault();
    event.stopPropagation();
    this.set(event.key in ends ? ends[event.key] : this.cut + steps[event.key]);
  }
}
