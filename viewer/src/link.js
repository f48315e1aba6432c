// The state of the view lives in the fragment of the address, so that a link restores it.

/** Return the state in the address as an object of texts. */
export function readLink() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** Put a state into the address without a new entry in the history; empty values are left out. */
export function writeLink(state) {
  const kept = Object.entries(state).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = `#${new URLSearchParams(kept)}`;
  if (text !== location.hash) history.replaceState(null, "", text);
}

/** Return a number in a range from a text, or a default. */
export function number(text, fallback, low = -Infinity, high = Infinity) {
  const value = text === undefined || text === "" ? NaN : Number(text);
  return Number.isFinite(value) ? Math.min(Math.max(value, low), high) : fallback;
}
