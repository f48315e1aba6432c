// Entry: finds the data and shows the page that the address names.
import { connect } from "./api.js";
import { h } from "./dom.js";
import { readLink } from "./link.js";
import { ScenePage } from "./scene-page.js";

async function start() {
  const main = h("main");
  document.body.append(main);
  try {
    const api = await connect();
    const contents = await api.contents();
    await new ScenePage(api, contents, main).open(readLink().scene);
  } catch (error) {
    main.replaceChildren(h("p", { class: "failure", role: "alert" }, `The viewer cannot show this: ${error.message}`));
    throw error;
  }
}

start();
