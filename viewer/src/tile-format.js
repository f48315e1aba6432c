// Form of exact tiles: stored numbers, band after band.

export const TILE = 256;
/** Array of each encoding. */
export const ARRAYS = { u1: Uint8Array, u2: Uint16Array, f4: Float32Array };
/** Stored number of saturated pixels of optical images. */
export const SATURATED = 65535;
