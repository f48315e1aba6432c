// What the pages share: the state in the address, and keys until the page is closed.
import { readLink } from "./link.js";

/** Page in an element, with `open(id)` and `byKey(event)`; `contents` lists all that can be shown. */
export class Page {
  constructor(api, contents, element) {
    this.api = api;
    this.contents = contents;
    this.element = element;
    this.state = readLink();
    this.keys = (event) => this.byKey(event);
    addEventListener("keydown", this.keys);
  }

  close() {
    removeEventListener("keydown", this.keys);
  }
}
