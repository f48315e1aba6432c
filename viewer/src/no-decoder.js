// Stands in for the decoders of LERC and ZSTD, which are WebAssembly: an export holds neither of the two.
const refuse = () => Promise.reject(new Error("this compression is not decoded here"));

export const load = refuse;
export const decode = refuse;
export class ZSTDDecoder {
  init = refuse;
}
export default { load, decode };
