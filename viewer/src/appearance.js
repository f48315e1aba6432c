// How layers look: combinations of bands, colours and legends. Colours are those of report.html.

/** Combinations of optical bands; the first whose bands a layer has is used where the chosen one cannot be. */
export const COMBINATIONS = {
  true: { title: "True colour", bands: ["B04", "B03", "B02"] },
  nir: { title: "False colour (near infrared)", bands: ["B08", "B04", "B03"] },
  swir: { title: "Short-wave infrared", bands: ["B12", "B8A", "B04"] },
  ndvi: { title: "NDVI", bands: ["B08", "B04"] },
};

export const RAMPS = {
  cloud_map: [[0, "#182838"], [1, "#fafaf8"]],
  confidence: [[0, "#7e2248"], [0.5, "#e28a4c"], [0.75, "#f4dea0"], [1, "#dee8ec"]],
  uncertainty: [[0, "#f7f4ec"], [0.02, "#f1b878"], [0.05, "#b4506a"], [0.1, "#32124c"]],
  ndvi: [[-0.2, "#7d5a34"], [0, "#d8c9a3"], [0.2, "#eef0dc"], [0.5, "#74b6a0"], [0.9, "#0b4f4a"]],
  other: [[0, "#10151a"], [1, "#f8f8f4"]],
};

export const PROVENANCE = {
  1: ["#2f7d6d", "observed, m = 0"],
  2: ["#e2b250", "predicted under thin cloud or cloud edge, m < 0.5"],
  3: ["#c0622f", "predicted under cloud, m ≥ 0.5"],
  6: ["#344e78", "predicted under cloud shadow"],
  8: ["#4a7cb8", "predicted from other dates"],
  4: ["#7662a8", "predicted next to a gap"],
  5: ["#7e2248", "predicted, cloud state unknown"],
  7: ["#d66c84", "predicted without radar"],
  0: ["#8c8c8c", "no data"],
};

const RADAR = ["VV", "VH", "VV − VH"];

/** Whether a layer has all bands of a combination. */
export const hasBands = (layer, key) => COMBINATIONS[key].bands.every((band) => layer.bands.includes(band));

/** Return the combination in which an optical layer is shown; null if it has other bands. */
export function combinationOf(layer, chosen) {
  return [chosen, ...Object.keys(COMBINATIONS)].find((key) => hasBands(layer, key)) ?? null;
}

/** Return the bands of a layer that are drawn. */
export function drawnBands(layer, chosen) {
  if (layer.role === "radar") return layer.bands.slice(0, 2);
  if (layer.role === "uncertainty") return [layer.bands.includes("B04") ? "B04" : layer.bands[0]];
  if (layer.role === "picture") return layer.bands.slice(0, 3);
  if (layer.role !== "optical") return layer.bands.slice(0, 1);
  const key = combinationOf(layer, chosen);
  return key ? COMBINATIONS[key].bands : layer.bands.slice(0, layer.bands.length > 2 ? 3 : 1);
}

/** Black level of each band and the common span to white; the same for all layers of a scene. */
export function stretchOf(scene, bands) {
  const { minRange, defaultRange } = scene.display;
  const ranges = bands.map((band) => scene.stretch[band] ?? [0, defaultRange]);
  return { black: ranges.map(([low]) => low), span: Math.max(minRange, ...ranges.map(([low, high]) => high - low)) };
}

/** Style of a layer for the graphics card, with its variables. */
export function styleOf(scene, layer, chosen, brightness) {
  const bands = drawnBands(layer, chosen);
  const valid = ["case", [">", ["band", 4], 0.5], 1, 0];
  if (layer.role === "provenance") return { color: ["case", ...classes(), [0, 0, 0, 0]] };
  if (layer.role === "radar") {
    const difference = ["-", ["band", 1], ["band", 2]];
    const channels = [["band", 1], bands.length > 1 ? ["band", 2] : ["band", 1], difference];
    return { color: ["array", ...scene.display.radarDb.map(([low, span], i) => clamped(["/", ["-", channels[i], low], span])), valid] };
  }
  if (layer.role === "picture") return { color: ["array", ...[1, 2, 3].map((band) => ["/", ["band", band], 255]), valid] };
  if (layer.role !== "optical") return { color: ramp(RAMPS[layer.role] ?? RAMPS.other, ["band", 1]) };
  if (combinationOf(layer, chosen) === "ndvi") {
    const index = ["/", ["-", ["band", 1], ["band", 2]], ["max", ["+", ["band", 1], ["band", 2]], 0.0001]];
    return { color: ramp(RAMPS.ndvi, index) };
  }
  const { black, span } = stretchOf(scene, bands);
  const channels = [0, 1, 2].map((i) => {
    const band = Math.min(i, bands.length - 1);
    const linear = ["/", ["*", ["-", ["band", band + 1], black[band]], ["var", "brightness"]], span];
    return ["^", clamped(linear), scene.display.gamma];
  });
  return { color: ["array", ...channels, valid], variables: { brightness } };
}

const clamped = (value) => ["clamp", value, 0, 1];

function ramp(stops, value) {
  return ["case", ["<", ["band", 4], 0.5], [0, 0, 0, 0], ["interpolate", ["linear"], value, ...stops.flat()]];
}

function classes() {
  const shown = Object.entries(PROVENANCE).filter(([code]) => code !== "0");
  return shown.flatMap(([code, [colour]]) => [["==", ["band", 1], Number(code)], colour]);
}

/** Legend of a layer: text, ramp with its ends, or classes with their shares. */
export function legendOf(scene, layer, chosen) {
  if (layer.role === "provenance") return { classes: shares(scene, layer) };
  if (layer.role === "radar") {
    const text = scene.display.radarDb.map(([low, span], i) => `${["red", "green", "blue"][i]} ${RADAR[i]} ${low} to ${low + span} dB`);
    return { text: text.join(" · ") };
  }
  if (layer.role === "cloud_map") return { ramp: RAMPS.cloud_map, ends: ["0 clear", "1 cloudy"] };
  if (layer.role === "confidence") return { ramp: RAMPS.confidence, ends: ["0 guessed", "1 certain"], note: "Nothing is drawn where pixels were not predicted." };
  if (layer.role === "uncertainty") return { ramp: RAMPS.uncertainty, ends: ["0", "0.1 reflectance"] };
  if (layer.role === "picture") return { text: "picture of the product, in its own stretch and without spectra: the image itself was not found" };
  if (layer.role !== "optical") return { ramp: RAMPS.other, ends: ["0", "1"] };
  const key = combinationOf(layer, chosen);
  if (key === "ndvi") return { ramp: RAMPS.ndvi, ends: ["−0.2", "0.9"] };
  return { text: `red, green, blue: ${drawnBands(layer, chosen).join(", ")}` };
}

function shares(scene, layer) {
  const counts = scene.facts.pixels ?? {};
  const countOf = (code) => counts[layer.classes[code]?.replaceAll(" ", "_")] ?? 0;
  const total = scene.shape[0] * scene.shape[1];
  return Object.entries(PROVENANCE)
    .map(([code, [colour, text]]) => ({ code, colour, text, share: countOf(code) / total }))
    .filter(({ share }) => share > 0 || !scene.facts.pixels)
    .sort((a, b) => b.share - a.share);
}

/** Share as a percentage, never rounded to none or all. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return share < 1 && share > 0.999 ? "> 99.9 %" : `${(100 * share).toFixed(1)} %`;
}
