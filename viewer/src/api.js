// Data of the viewer: from its server, or from the files of an export, which any server of static files can offer.

class ServerError extends Error {}

async function request(address, options) {
  const response = await fetch(address, options);
  if (response.ok) return response;
  const text = await response.json().then((body) => body.error, () => "");
  throw new ServerError(text || `${response.status} ${response.statusText}`);
}

const json = async (address, options) => (await request(address, options)).json();

/** The server of `unclouded view`, which reads all pixels from the files. */
class Server {
  contents = () => json("api/contents");
  scene = (id) => json(`api/scenes/${id}`);
  pixel = (scene, row, column) => json(`api/scenes/${scene.id}/pixel/${row}/${column}`);
  scores = (id) => json(`api/scores/${id}`);
  difference = (id, first, second) => json(`api/scores/${id}/difference/${first}/${second}`);
  scoredPicture = (id, patch, kind, remover) => `api/scores/${id}/pictures/${patch}/${kind}${remover === undefined ? "" : `/${remover}`}`;
  dataset = (id) => json(`api/datasets/${id}`);
  review = (id) => json(`api/datasets/${id}/review`);
  reviewedPicture = (id, patch, kind) => `api/datasets/${id}/pictures/${patch}/${kind}`;
  decide = (id, decision, token) => this.post(`api/datasets/${id}/review`, decision, token);
  reportAddress = (scene) => (scene.report ? `api/scenes/${scene.id}/report` : null);
  fileAddress = (layer) => `files/${layer.file}`;

  async tile(scene, layer, bands, level, column, row, signal) {
    const address = `api/scenes/${scene.id}/tiles/${layer.id}/${bands.join("_")}/${level}/${column}/${row}`;
    const response = await request(address, { signal });
    return response.headers.get("Content-Type") === "image/webp"
      ? { image: await response.blob() }
      : { numbers: await response.arrayBuffer() };
  }

  async post(address, body, token) {
    const headers = { "Content-Type": "application/json", "X-Unclouded-Token": token };
    return json(address, { method: "POST", headers, body: JSON.stringify(body) });
  }
}

/** Return where the data come from: an export has its contents beside the page. */
export async function connect() {
  if (document.documentElement.dataset.files !== "static") return new Server();
  const { StaticFiles } = await import("./geotiff-files.js");
  return new StaticFiles();
}
