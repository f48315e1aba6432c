// The map of a scene: two layers side by side under a movable border, in pixels of the scene.
import OlMap from "ol/Map.js";
import Overlay from "ol/Overlay.js";
import View from "ol/View.js";
import { defaults as interactions } from "ol/interaction/defaults.js";
import WebGLTileLayer from "ol/layer/WebGLTile.js";
import Projection from "ol/proj/Projection.js";
import { drawnBands, styleOf } from "./appearance.js";
import { h } from "./dom.js";
import { tileSource } from "./tiles.js";

export const SIDES = ["left", "right"];

/**
 * Map of one scene.
 *
 * Events of `element`: `picked` with a row and a column, `moved` after the view changed, `hovered` with a place.
 */
export class SceneMap {
  constructor(api, scene, element) {
    this.api = api;
    this.scene = scene;
    this.element = element;
    this.layers = {};
    const [height, width] = scene.shape;
    const extent = [0, -height, width, 0];
    this.projection = new Projection({ code: "scene", units: "pixels", extent });
    this.marker = new Overlay({ element: h("div", { class: "marker", "aria-hidden": "true" }), positioning: "center-center", stopEvent: false });
    this.view = new View({
      projection: this.projection, center: [width / 2, -height / 2], constrainOnlyCenter: true, extent,
      maxResolution: (2 * Math.max(height, width)) / 256, minResolution: 1 / 32, enableRotation: false, showFullExtent: true,
    });
    this.map = new OlMap({ target: element, view: this.view, controls: [], overlays: [this.marker], interactions: interactions({ altShiftDragRotate: false, pinchRotate: false }) });
    this.fit();
    this.map.on("singleclick", (event) => this.pick(...this.pixelAt(event.coordinate)));
    this.map.on("moveend", () => this.emit("moved"));
    this.map.on("pointermove", (event) => this.emit("hovered", { place: event.coordinate }));
    this.map.on("rendercomplete", () => (element.dataset.ready = String(++this.renders)));
    this.renders = 0;
  }

  emit(name, detail = {}) {
    this.element.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** Show the whole scene. */
  fit() {
    const [height, width] = this.scene.shape;
    this.view.fit([0, -height, width, 0], { size: this.map.getSize(), padding: [12, 12, 12, 12] });
  }

  /** Show a layer on one side. */
  show(side, layer, combination, brightness) {
    const key = `${layer.id} ${drawnBands(layer, combination).join(" ")}`;
    const old = this.layers[side];
    const style = styleOf(this.scene, layer, combination, brightness);
    if (old?.key === key) {
      old.layer.setStyle(style);
      return;
    }
    if (old) {
      this.map.removeLayer(old.layer);
      old.layer.dispose();
    }
    const source = tileSource(this.api, this.scene, layer, drawnBands(layer, combination), this.projection);
    source.on("tileloaderror", () => this.emit("failed", { layer }));
    const shown = new WebGLTileLayer({ source, style, className: `side side-${side}`, zIndex: side === "left" ? 1 : 0, cacheSize: 256 });
    this.layers[side] = { key, layer: shown };
    this.map.addLayer(shown);
  }

  brighten(brightness) {
    for (const { layer } of Object.values(this.layers)) {
      if (layer.styleVariables_?.brightness !== undefined) layer.updateStyleVariables({ brightness });
    }
  }

  /** Row and column of the pixel at a place of the map. */
  pixelAt([x, y]) {
    return [Math.floor(-y), Math.floor(x)];
  }

  pick(row, column) {
    const [height, width] = this.scene.shape;
    if (row < 0 || column < 0 || row >= height || column >= width) return;
    this.mark(row, column);
    this.emit("picked", { row, column });
  }

  mark(row, column) {
    this.marker.setPosition(row === null ? undefined : [column + 0.5, -row - 0.5]);
  }

  pickCentre() {
    this.pick(...this.pixelAt(this.view.getCenter()));
  }

  move(dx, dy) {
    const [x, y] = this.view.getCenter();
    const step = this.view.getResolution() * 80;
    this.view.setCenter([x + dx * step, y + dy * step]);
  }

  zoom(steps) {
    this.view.animate({ resolution: this.view.getResolution() / 2 ** steps, duration: 150 });
  }

  place() {
    const [x, y] = this.view.getCenter();
    return { x: x.toFixed(1), y: (-y).toFixed(1), res: Number(this.view.getResolution().toPrecision(5)) };
  }

  goTo(x, y, resolution) {
    this.view.setCenter([x, -y]);
    this.view.setResolution(resolution);
  }

  dispose() {
    this.map.setTarget(null);
    this.map.dispose();
  }
}
