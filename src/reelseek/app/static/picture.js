// A picture or short clip as the query: chosen, dropped or pasted; or a moment of an indexed video. Its preview is a chip.
import { byId, complain, icon, loadPicture, shortened, stillAt } from "./dom.js";

const MOST_MEGABYTES = { image: 32, video: 256 };
// as reelseek/video/suffixes.py has them
export const VIDEO_SUFFIXES = [
  ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
  ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv",
];
const PREVIEW = 36;
const files = new Map();  // those of this load of the page, so that Back finds them; an address cannot hold one
let file = null, key = "", like = null;

export const chosen = () => ({ file, like, key });

function show() {
  const chip = byId("picture"), preview = chip.querySelector(".preview");
  chip.hidden = !file && !like;
  byId("butField").hidden = chip.hidden;
  if (chip.hidden) byId("but").value = "";
  byId("query").placeholder = chip.hidden ? "Describe a scene" : "Add words, or search";
  if (chip.hidden) return;
  const name = file ? file.name || "picture" : like.name;
  chip.querySelector("bdi").textContent = shortened(name, 24);
  chip.title = like ? `like a moment of ${name}` : name;
  byId("dropPicture").setAttribute("aria-label", `Take away the picture ${name}`);
  preview.replaceChildren(icon("film"));
  if (like) {
    const image = document.createElement("img");
    image.alt = "";
    loadPicture(image, stillAt(like, like.t), preview);
    preview.replaceChildren(image);
  } else if (file.type.startsWith("image/")) {
    drawPreview(preview, file);
  }
}

// On a canvas: the page's security policy allows no picture but the server's.
async function drawPreview(preview, mine) {
  try {
    const bitmap = await createImageBitmap(mine), canvas = document.createElement("canvas");
    const scale = devicePixelRatio * PREVIEW / Math.min(bitmap.width, bitmap.height);
    canvas.width = canvas.height = Math.round(PREVIEW * devicePixelRatio);
    const width = bitmap.width * scale, height = bitmap.height * scale;
    canvas.getContext("2d").drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    bitmap.close();
    if (mine === file) preview.replaceChildren(canvas);
  } catch { /* a format that this browser does not know; the server may */ }
}

const kindOf = (some) => some.type.split("/")[0];

// Browsers know some videos as other things (.ts), and some not at all.
function knownByName(some) {
  const isVideo = VIDEO_SUFFIXES.some((suffix) => some.name.toLowerCase().endsWith(suffix));
  return isVideo && !MOST_MEGABYTES[kindOf(some)] ? new File([some], some.name, { type: "video/*" }) : some;
}

// Whether it can be used; says why not.
export function choose(given) {
  const next = knownByName(given), kind = kindOf(next);
  if (!MOST_MEGABYTES[kind]) {
    complain(`${next.name || "This"} is no picture and no video.`);
    return false;
  }
  if (next.size > MOST_MEGABYTES[kind] * 2 ** 20) {
    complain(`${next.name} has more than ${MOST_MEGABYTES[kind]} MB. Choose a smaller one.`);
    return false;
  }
  // no other load gives this key: an address of one must not find a picture of another
  key = `${Math.floor(performance.timeOrigin)}-${files.size + 1}`;
  files.set(key, next);
  [file, like] = [next, null];
  show();
  return true;
}

export function chooseMoment(hit) {
  [file, like] = [null, { id: hit.id, t: hit.peak, name: hit.name }];
  show();
}

export function forget() {
  [file, like] = [null, null];
  show();
}

// From an address. False where it names a picture of another load.
export function recall(moment, kept) {
  [like, key] = [moment, kept];
  file = files.get(kept) || null;
  show();
  return kept === null || file !== null;
}

export function watch(changed) {
  const input = byId("file"), veil = byId("veil");
  input.accept = ["image/*", "video/*", ...VIDEO_SUFFIXES].join(",");
  const take = (list) => { if (list.length && choose(list[0])) changed(); };
  byId("choose").onclick = () => input.click();
  input.onchange = () => {
    take(input.files);
    input.value = "";
  };
  byId("dropPicture").onclick = () => {
    forget();
    byId("query").focus();
    changed();
  };
  const brings = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    veil.hidden = document.querySelector("dialog[open]") !== null;
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!brings(event)) return;
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData ? event.clipboardData.files : [];
    if (!pasted.length || document.querySelector("dialog[open]")) return;
    // office programs add a picture of the words; a file manager adds the name of the file that was copied
    const words = event.clipboardData.getData("text/plain").trim();
    if (words && !words.endsWith(pasted[0].name) && event.target.closest("input")) return;
    event.preventDefault();
    take(pasted);
  });
}
