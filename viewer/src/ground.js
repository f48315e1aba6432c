// From pixels of the scene to the ground: coordinates, scale bar and the direction of north.

const METRES_PER_DEGREE = 111_320;

/** Coordinates of a place of the map in the reference system of the scene. */
export function onGround(scene, [x, y]) {
  const [a, b, c, d, e, f] = scene.transform;
  return [a * x - b * y + c, d * x - e * y + f];
}

/** Text of coordinates: metres, degrees, or pixels without a reference system. */
export function placeText(scene, place) {
  if (!scene.crs) return `row ${Math.floor(-place[1])}, column ${Math.floor(place[0])}`;
  const [x, y] = onGround(scene, place);
  if (scene.crs.units === "degrees") return `${degrees(y, "N", "S")} ${degrees(x, "E", "W")}`;
  return `E ${Math.round(x).toLocaleString("en")} N ${Math.round(y).toLocaleString("en")}`;
}

export function degrees(value, positive, negative) {
  return `${Math.abs(value).toFixed(5)}° ${value < 0 ? negative : positive}`;
}

/** Metres of one pixel along a row; null without a reference system. */
export function metresPerPixel(scene) {
  if (!scene.crs) return null;
  const [a, , , d, , f] = scene.transform;
  const step = Math.hypot(a, d);
  return scene.crs.units === "degrees" ? step * METRES_PER_DEGREE * Math.cos((f * Math.PI) / 180) : step;
}

/** Length and text of a scale bar of at most `widest` CSS pixels. */
export function scaleBar(scene, resolution, widest = 120) {
  const metres = metresPerPixel(scene);
  const perCss = resolution * (metres ?? 1);
  const power = 10 ** Math.floor(Math.log10(perCss * widest));
  const length = [5, 2, 1].map((one) => one * power).find((one) => one <= perCss * widest);
  const text = metres === null ? `${length} px` : length >= 1000 ? `${length / 1000} km` : `${Number(length.toPrecision(2))} m`;
  return { width: length / perCss, text };
}

/** Angle of north on the screen, clockwise from up, in degrees; null without a reference system. */
export function northAngle(scene) {
  if (!scene.crs) return null;
  const [a, b, , d, e] = scene.transform;
  const determinant = a * e - b * d;
  const [column, row] = [-b / determinant, a / determinant]; // step of pixels towards north
  return (Math.atan2(column, -row) * 180) / Math.PI;
}
