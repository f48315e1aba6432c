// Builds the front end into the Python package. The same lock file gives the same bytes.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import path from "node:path";

const out = "../src/unclouded/viewer/static";
const options = {
  bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "none", charset: "utf8",
  metafile: true, loader: { ".svg": "dataurl" },
};

/** Names of the packages whose files are part of a bundle. */
function packagesIn(metafile) {
  const names = Object.keys(metafile.inputs).map((file) => file.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]);
  return [...new Set(names.filter(Boolean))];
}

/** Name, version and licence text of a package. */
async function licence(name) {
  const folder = path.join("node_modules", name);
  const about = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const file = ["LICENSE", "LICENSE.md", "LICENSE.txt", "LICENCE", "license"].find((one) => existsSync(path.join(folder, one)));
  const text = file ? await readFile(path.join(folder, file), "utf8") : `Licence: ${about.license}\n`;
  return `${name} ${about.version} (${about.license})\n\n${text.trim()}\n`;
}

await mkdir(out, { recursive: true });
const results = [
  await build({ ...options, entryPoints: ["src/main.js"], outfile: `${out}/app.js`, external: ["./geotiff-files.js"] }),
  await build({ ...options, entryPoints: ["src/geotiff-files.js"],
    outfile: `${out}/geotiff-files.js`, alias: { lerc: "./src/no-decoder.js", "zstddec/stream": "./src/no-decoder.js", zstddec: "./src/no-decoder.js" } }),
  await build({ ...options, entryPoints: ["src/app.css"], outfile: `${out}/app.css` }),
];
for (const name of ["index.html", "icon.svg"]) await copyFile(`src/${name}`, `${out}/${name}`);
const packages = [...new Set(results.flatMap((one) => packagesIn(one.metafile)))].sort();
const texts = await Promise.all(packages.map(licence));
await writeFile(`${out}/licences.txt`, texts.join(`\n${"-".repeat(100)}\n\n`));
// A test compares this with the sources, so that the bundle is never behind them.
const sources = ["build.mjs", "package-lock.json", ...(await readdir("src")).map((name) => `src/${name}`)].sort();
const hash = createHash("sha256");
for (const name of sources) hash.update(`${name}\0`).update(await readFile(name));
await writeFile(`${out}/sources.sha256`, `${hash.digest("hex")}\n`);
console.log(`bundled ${packages.join(", ")}`);
