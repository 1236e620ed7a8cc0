// The library panel: the index and its model, a running `reelseek index`, and the files that could not be read.
import { byId, complain, element, lasting, many } from "./dom.js";
import { ask } from "./server.js";

const FEW = 5;               // unreadable files that are shown at first: folders come below them
const SOON = 3, LATER = 30;  // seconds between two looks, while somebody writes the index and otherwise
let known = null;            // the last answer
let waiting = 0;
let heard = () => {};
let whole = false;           // whether all unreadable files that are known are shown
const drawn = new Map();     // what a list was drawn from: drawing it again would take a selection and the focus away

export const library = () => known;

// told: called after every look.
export function watchLibrary(told, showFolder) {
  heard = told;
  const panel = byId("library");
  byId("libraryButton").onclick = () => {
    panel.showModal();
    look();
  };
  byId("libraryClose").onclick = () => panel.close();
  byId("brokenAll").onclick = () => {
    whole = !whole;
    showBroken();
  };
  panel.addEventListener("click", (event) => {
    if (event.target === panel) panel.close();
    const folder = event.target.closest("[data-folder]");
    if (!folder) return;
    panel.close();
    showFolder(folder.dataset.folder);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  return look();
}

async function look() {
  clearTimeout(waiting);
  try {
    known = await ask("/api/status");
    show();
    heard();
  } catch (error) {
    if (!known) complain(error.message, () => {
      complain("");
      look();
    });
  }
  // a page that nobody looks at asks nothing
  if (!document.hidden) waiting = setTimeout(look, 1000 * (known && known.indexing ? SOON : LATER));
}

function fact(name, value) {
  const pair = element("div");
  pair.append(element("dt", name), element("dd", value));
  return pair;
}

function changed(name, value) {
  const now = JSON.stringify(value);
  if (drawn.get(name) === now) return false;
  drawn.set(name, now);
  return true;
}

function show() {
  const broken = known.broken_count, running = known.indexing;
  byId("libraryButton").classList.toggle("busy", Boolean(running));
  byId("librarySaid").textContent = running ? `Indexing${progress(running)}` : many(known.videos, "video", "videos");
  byId("libraryBroken").textContent = broken ? `${broken.toLocaleString("en")} unread` : "";
  byId("model").replaceChildren(element("b", known.model), ` trained on ${known.trained_on}`);
  byId("facts").replaceChildren(fact("videos", known.videos.toLocaleString("en")), fact("of video", lasting(known.seconds)), fact("segments", known.segments.toLocaleString("en")));
  byId("about").replaceChildren(
    fact("Model", known.model), fact("Trained on", known.trained_on),
    fact("Library", `${many(known.videos, "video", "videos")}, ${lasting(known.seconds)}, ${many(known.segments, "segment", "segments")}`),
    ...(known.subtitles ? [fact("Subtitles", many(known.subtitles, "file", "files"))] : []),
    fact("Index", known.directory),
  );
  showRun(running);
  showBroken();
  showFolders();
  byId("whereField").hidden = !known.columns.length;
  byId("where").placeholder = known.columns.length ? `${known.columns[0]}=…` : "";
  byId("columns").textContent = known.columns.length ? `Columns: ${known.columns.join(", ")}` : "";
  byId("subtitlesField").hidden = !known.subtitles;
  byId("toCompare").hidden = !known.against;
}

const progress = (run) => run.total ? ` ${Math.floor(100 * run.done / run.total)} %` : "…";

function showRun(running) {
  byId("indexing").hidden = !running;
  if (!running) return;
  const bar = byId("indexing").querySelector("progress");
  byId("indexing").querySelector("p").textContent = running.total
    ? `${running.done.toLocaleString("en")} of ${many(running.total, "file", "files")} done. What is indexed can be found at once.`
    : "Files are being counted. What is indexed can be found at once.";
  if (running.total) {
    bar.max = running.total;
    bar.value = running.done;
  } else {
    bar.removeAttribute("value");
  }
}

function showBroken() {
  const count = known.broken_count, named = known.broken.slice(0, whole ? known.broken.length : FEW);
  byId("broken").hidden = count === 0;
  byId("broken").querySelector("h3").textContent = `${many(count, "file", "files")} could not be read`;
  byId("brokenAll").hidden = known.broken.length <= FEW;
  byId("brokenAll").textContent = whole ? "Show fewer" : `Show ${known.broken.length.toLocaleString("en")}`;
  byId("brokenAll").setAttribute("aria-expanded", whole);
  byId("brokenRest").textContent = count > known.broken.length
    ? `Only the first ${known.broken.length.toLocaleString("en")} are listed here; reelseek index list names all.` : "";
  if (!changed("broken", named)) return;
  byId("broken").querySelector("ul").replaceChildren(...named.map((file) => {
    const line = element("li"), name = element("b");
    name.append(element("bdi", file.path));
    line.append(name, element("span", file.reason));
    return line;
  }));
}

function showFolders() {
  byId("foldersRest").textContent = known.folder_count > known.folders.length
    ? `The ${known.folders.length.toLocaleString("en")} with the most videos, of ${known.folder_count.toLocaleString("en")}. Write any other under More, Folder.` : "";
  if (changed("options", known.folders)) {
    byId("folderList").replaceChildren(...known.folders.map((folder) => {
      const option = element("option");
      option.value = folder.path;
      return option;
    }));
  }
  const reading = byId("library").contains(document.activeElement) && byId("folders").childElementCount;
  if (reading || !changed("folders", known.folders)) return;
  byId("folders").replaceChildren(...known.folders.map((folder) => {
    const line = element("li"), button = element("button", "", "folder");
    button.type = "button";
    button.dataset.folder = folder.path;
    button.append(element("bdi", folder.path), element("span", folder.videos.toLocaleString("en")));
    button.setAttribute("aria-label", `Search in ${folder.path} only, ${many(folder.videos, "video", "videos")}`);
    line.append(button);
    return line;
  }));
}
