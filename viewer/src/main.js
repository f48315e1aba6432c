// Entry: finds the data and shows the page that the address names.
import { connect } from "./api.js";
import { h } from "./dom.js";
import { readLink } from "./link.js";
import { ReviewPage } from "./review-page.js";
import { ScenePage } from "./scene-page.js";
import { ScoresPage } from "./scores-page.js";

const PAGES = { scene: [ScenePage, "scenes"], scores: [ScoresPage, "scores"], review: [ReviewPage, "datasets"] };

/** List of all that a folder holds. */
class HomePage {
  constructor(_api, contents, element) {
    const entries = (title, kind, list) => (list.length ? [h("h2", {}, title), h("ul", { class: "entries" }, list.map((one) => h("li", {}, h("a", { href: `#${kind}=${one.id}` }, one.title), one.acquired ? h("span", { class: "soft" }, one.acquired.slice(0, 10)) : null)))] : []);
    element.replaceChildren(h("header", { class: "bar" }, h("h1", {}, contents.title)), h("div", { class: "home-page" }, entries("Scenes", "scene", contents.scenes), entries("Scores", "scores", contents.scores), entries("Review of a data set", "review", contents.datasets)));
    document.title = `${contents.title} – unclouded`;
  }

  open() {}
  close() {}
}

/** Page and id that the address names, or the only thing there is. */
function chosen(contents) {
  const link = readLink();
  for (const [kind, [Page, list]] of Object.entries(PAGES)) {
    if (contents[list].some((one) => one.id === link[kind])) return [Page, link[kind]];
  }
  const filled = Object.values(PAGES).filter(([, list]) => contents[list].length);
  const isSeries = new Set(contents.scenes.map((one) => Boolean(one.acquired))).size === 1;
  const isAlone = filled.length === 1 && (filled[0][1] === "scenes" ? isSeries : contents[filled[0][1]].length === 1);
  return isAlone ? [filled[0][0], contents[filled[0][1]][0].id] : [HomePage, ""];
}

async function start() {
  const main = h("main");
  document.body.append(main);
  let page = null;
  const fail = (error) => {
    main.replaceChildren(h("p", { class: "failure", role: "alert" }, `The viewer cannot show this: ${error.message}`));
    throw error;
  };
  const api = await connect().catch(fail);
  const contents = await api.contents().catch(fail);
  const show = async () => {
    page?.close();
    const [Page, id] = chosen(contents);
    page = new Page(api, contents, main);
    await Promise.resolve(page.open(id)).catch(fail);
  };
  addEventListener("hashchange", show);
  await show();
}

start();
