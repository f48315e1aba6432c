/** Create an element. Attributes whose value is null or false are left out; functions become listeners of an event. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Create an element of an SVG picture. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return element;
}

/** A labelled choice; `options` are pairs of value and text. */
export function select(label, options, value, onChange, attributes = {}) {
  const items = options.map(([key, text]) => h("option", { value: key }, text));
  const box = h("select", { "aria-label": label, title: label, ...attributes, change: () => onChange(box.value) }, items);
  box.value = value;
  return box;
}

/** Whether keys typed now belong to a form field. */
export function isTyping(event) {
  return event.target.closest("input:not([type=range]), textarea, select, [contenteditable]") !== null;
}
