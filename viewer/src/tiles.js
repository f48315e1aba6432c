// Tiles as arrays of numbers in physical units: three bands and the share of valid data, for the graphics card.
import DataTileSource from "ol/source/DataTile.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { ARRAYS, SATURATED, TILE } from "./tile-format.js";

const BANDS = 4;

/** Number of levels; the coarsest shows the scene in one tile. */
export function levelsOf([height, width]) {
  return 1 + Math.max(0, Math.ceil(Math.log2(Math.max(height, width) / TILE)));
}

/** Grid of tiles in pixel coordinates: x to the right, y upwards, the upper left corner of the scene at 0, 0. */
export function tileGrid(shape) {
  const resolutions = Array.from({ length: levelsOf(shape) }, (_, level) => 2 ** level).reverse();
  return new TileGrid({ extent: [0, -shape[0], shape[1], 0], origin: [0, 0], resolutions, tileSize: TILE });
}

/** Source of the tiles of a layer with up to three bands. */
export function tileSource(api, scene, layer, bands, projection) {
  const grid = tileGrid(scene.shape);
  const coarsest = levelsOf(scene.shape) - 1;
  const loader = async (z, x, y, { signal }) => {
    const level = coarsest - z;
    const tile = await api.tile(scene, layer, bands, level, x, y, signal);
    return tile.image ? fromPicture(tile.image, layer) : fromNumbers(tile.numbers, layer, bands);
  };
  const interpolate = layer.role !== "provenance";
  return new DataTileSource({ loader, tileGrid: grid, projection, bandCount: BANDS, interpolate, wrapX: false, transition: 0 });
}

/** Numbers of a tile as stored in the file, band after band. */
function fromNumbers(buffer, layer, bands) {
  const stored = new ARRAYS[layer.payload](buffer);
  const pixels = TILE * TILE;
  const count = stored.length / pixels;
  const values = new Float32Array(pixels * BANDS);
  const optical = layer.role === "optical";
  const scale = layer.payload === "f4" ? 1 : optical ? 1e-4 : layer.scale;
  const offsets = bands.map((band) => (optical ? (layer.offsets[layer.bands.indexOf(band)] ?? 0) : 0));
  for (let pixel = 0; pixel < pixels; pixel++) {
    let valid = 1;
    for (let band = 0; band < count; band++) {
      const number = stored[band * pixels + pixel];
      if (number !== number || number === layer.nodata || (optical && (number === 0 || number === SATURATED))) valid = 0;
      else values[pixel * BANDS + band] = (number + offsets[band]) * scale;
    }
    if (layer.role === "picture" && !values[pixel * BANDS] && !values[pixel * BANDS + 1] && !values[pixel * BANDS + 2]) valid = 0;
    values[pixel * BANDS + 3] = valid;
  }
  return values;
}

/** Numbers of a coarse tile, which are square roots of reflectance in a picture. */
async function fromPicture(blob, layer) {
  const bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(TILE, TILE);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, TILE, TILE);
  const table = Float32Array.from({ length: 256 }, (_, number) => (number / 255) ** 2 * layer.whitest);
  const values = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) values[i] = i % BANDS === 3 ? (data[i] > 127 ? 1 : 0) : table[data[i]];
  return values;
}
