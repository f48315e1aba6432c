// Data of an export: descriptions as JSON and pixels from cloud-optimised GeoTIFFs by byte ranges, without a program
// on the server. A server without byte ranges sends whole files.
import { fromArrayBuffer, fromUrl } from "geotiff";
import { ARRAYS, SATURATED, TILE } from "./tile-format.js";

const MASK = 4; // bit of NewSubfileType

async function json(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response.json();
}

/** The files of `unclouded view --export`. */
export class StaticFiles {
  files = new Map();

  contents = () => json("contents.json");
  scene = (id) => json(`scenes/${id}.json`);
  reportAddress = (scene) => (scene.report ? `reports/${scene.id}.html` : null);

  /** Images of a file without masks, the finest first. */
  images(layer) {
    if (!this.files.has(layer.file)) this.files.set(layer.file, openImages(`files/${layer.file}.tif`));
    return this.files.get(layer.file);
  }

  async tile(scene, layer, bands, level, column, row, signal) {
    const images = await this.images(layer);
    const factor = 2 ** level;
    const full = images[0].getWidth();
    const image = images.findLast((one) => full / one.getWidth() <= factor * 1.01) ?? images[0];
    const step = factor / Math.round(full / image.getWidth()); // pixels of this image for one of the tile
    const [left, top] = [column * TILE * step, row * TILE * step];
    const right = Math.min(left + TILE * step, image.getWidth());
    const bottom = Math.min(top + TILE * step, image.getHeight());
    const [width, height] = [Math.ceil((right - left) / step), Math.ceil((bottom - top) / step)];
    const window = { window: [left, top, right, bottom], width, height, interleave: false, signal };
    const found = layer.role === "picture"
      ? planes(await image.readRGB({ ...window, interleave: true }), 3)
      : await image.readRasters({ ...window, samples: bands.map((band) => layer.bands.indexOf(band)) });
    return { numbers: padded(found, layer, width, height) };
  }

  async pixel(scene, row, column) {
    const window = [column, row, column + 1, row + 1];
    const layers = scene.layers.filter((one) => one.role !== "picture");
    const values = await Promise.all(layers.map(async (layer) => {
      const [image] = await this.images(layer);
      const found = await image.readRasters({ window, interleave: false });
      return [layer.id, Object.fromEntries(layer.bands.map((band, i) => [band, physical(found[i][0], layer, i)]))];
    }));
    const [a, b, c, d, e, f] = scene.transform;
    const place = { x: a * (column + 0.5) + b * (row + 0.5) + c, y: d * (column + 0.5) + e * (row + 0.5) + f };
    return { row, column, ...place, values: Object.fromEntries(values) };
  }
}

async function openImages(address) {
  const probe = await fetch(address, { headers: { Range: "bytes=0-0" } });
  const file = probe.status === 206 ? await fromUrl(address) : await fromArrayBuffer(await probe.arrayBuffer());
  const count = await file.getImageCount();
  const all = await Promise.all(Array.from({ length: count }, (_, i) => file.getImage(i)));
  const pictures = all.filter((one) => !((one.fileDirectory.getValue?.("NewSubfileType") ?? one.fileDirectory.NewSubfileType ?? 0) & MASK));
  return pictures.sort((one, other) => other.getWidth() - one.getWidth());
}

function planes(interleaved, count) {
  return Array.from({ length: count }, (_, i) => interleaved.filter((_value, at) => at % count === i));
}

/** Numbers of a tile, band after band, with the number of gaps beyond the edge of the scene. */
function padded(found, layer, width, height) {
  const gap = layer.payload === "f4" ? NaN : (layer.nodata ?? 0);
  const numbers = new ARRAYS[layer.payload](found.length * TILE * TILE).fill(gap);
  found.forEach((band, index) => {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const value = band[row * width + column];
        numbers[index * TILE * TILE + row * TILE + column] = layer.payload === "f4" ? float(value, layer) : Math.max(0, value);
      }
    }
  });
  return numbers.buffer;
}

/** Value of a layer of floating-point numbers in its unit. */
function float(value, layer) {
  if (value === layer.nodata) return NaN;
  if (layer.role !== "radar") return value * layer.scale;
  if (layer.units === "linear") return value > 0 ? 10 * Math.log10(value) : NaN;
  return layer.units === "dB x 100" ? value / 100 : value;
}

function physical(stored, layer, band) {
  if (layer.payload === "f4") {
    const value = float(stored, layer);
    return Number.isFinite(value) ? value : null;
  }
  if (stored === layer.nodata) return null;
  if (layer.role !== "optical") return stored * layer.scale;
  return stored === 0 || stored === SATURATED ? null : (stored + (layer.offsets[band] ?? 0)) / 10000;
}
