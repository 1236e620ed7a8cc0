// What is asked: the form, the address of the page, and the parameters of the HTTP interface, which have the same names.
import { byId, element, shortened } from "./dom.js";
import * as picture from "./picture.js";

const TEXTS = ["q", "but", "then", "below", "since", "until", "longer", "shorter"];
const LISTS = ["without", "where"];  // several are separated by semicolons
const MODES = { moments: "all", best_moment: "best" };
const CHECKS = { duplicates: ["with", "duplicates"], subtitles: ["and", "what is said"] };
const STEP = 24, MOST_HITS = 200;
const NAMED = {
  but: "but", then: "then", without: "without", below: "in", since: "from", until: "until", longer: "at least",
  shorter: "at most", where: "where",
};
const field = (name) => byId(name === "q" ? "query" : name);
const pieces = (name) => field(name).value.split(";").map((piece) => piece.trim()).filter(Boolean);

let most = STEP;

// Two moments in order are one answer a video, whatever else is chosen.
const ordered = () => Boolean(field("then").value.trim());

function mode() {
  return ordered() ? "one" : byId("form").elements.span.value;
}

function parameters() {
  const parts = new URLSearchParams();
  for (const name of TEXTS) if (field(name).value.trim()) parts.set(name, field(name).value.trim());
  for (const name of LISTS) for (const piece of pieces(name)) parts.append(name, piece);
  for (const [name, value] of Object.entries(MODES)) if (mode() === value) parts.set(name, 1);
  for (const name of Object.keys(CHECKS)) if (ticked(name)) parts.set(name, 1);
  if (Number(byId("variety").value)) parts.set("variety", byId("variety").value);
  if (most !== STEP) parts.set("k", most);
  return parts;
}

// Subtitles are searched for words: where there are none, or an order of two moments is asked, the box is out of use.
const canHear = () => Boolean(field("q").value.trim() && !ordered() && !picture.chosen().like);
const ticked = (name) => byId(name).checked && (name !== "subtitles" || canHear());

// What is asked now. sentence: the words, where they are all that is asked: only those are explained and judged.
export function asked() {
  const words = field("q").value.trim(), { file, like } = picture.chosen();
  const more = ["but", "then"].some((name) => field(name).value.trim()) || pieces("without").length > 0;
  const described = words || shortened(file ? file.name || "a picture" : like ? `like ${like.name}` : "", 60);
  return { words, file, like, described, empty: !described, sentence: file || like || more ? "" : words, most, parameters };
}

export function canShowMore(count) {
  return count >= most && most < MOST_HITS;
}

export function showMore() {
  most = Math.min(MOST_HITS, most + STEP);
}

export function startOver() {
  most = STEP;
}

// ---- the address

export function address() {
  const parts = parameters(), { file, like, key } = picture.chosen();
  if (like) for (const name of ["id", "t", "name"]) parts.set(name === "name" ? "like" : name, like[name]);
  if (file) parts.set("picture", key);
  if (!field("q").value.trim() && !file && !like) return location.pathname;
  return `${location.pathname}?${parts}`;
}

export function recall() {
  const parts = new URLSearchParams(location.search);
  for (const name of TEXTS) field(name).value = parts.get(name) || "";
  for (const name of LISTS) field(name).value = parts.getAll(name).join("; ");
  const chosen = Object.keys(MODES).find((name) => parts.get(name) === "1");
  for (const choice of byId("form").elements.span) choice.checked = choice.value === (chosen ? MODES[chosen] : "one");
  for (const name of Object.keys(CHECKS)) byId(name).checked = parts.get(name) === "1";
  byId("variety").value = parts.get("variety") || 0;
  most = Math.min(MOST_HITS, Math.max(1, Number(parts.get("k")) || STEP));
  const like = parts.has("id") && parts.has("t") ? { id: parts.get("id"), t: parts.get("t"), name: parts.get("like") || "a moment" } : null;
  return picture.recall(like, parts.get("picture"));
}

// ---- what narrows the search, as chips that take it away

function chip(name, words, undo) {
  const line = element("li"), button = element("button", "", "chip");
  button.type = "button";
  button.append(element("span", name, "kind"), element("bdi", shortened(words, 40)), element("span", "×", "cross"));
  button.setAttribute("aria-label", `Take away: ${name} ${words}`);
  button.onclick = undo;
  line.append(button);
  return line;
}

export function showWhatServes() {
  byId("subtitles").disabled = !canHear();
  for (const choice of byId("form").elements.span) choice.disabled = ordered();
}

export function showChips(changed) {
  showWhatServes();
  const chips = [];
  for (const [name, words] of Object.entries(NAMED)) {
    const values = LISTS.includes(name) ? pieces(name) : [field(name).value.trim()].filter(Boolean);
    values.forEach((value, place) => chips.push(chip(words, value, () => {
      field(name).value = values.filter((_, other) => other !== place).join("; ");
      changed();
    })));
  }
  for (const [name, words] of Object.entries(CHECKS)) {
    if (!ticked(name)) continue;
    chips.push(chip(...words, () => {
      byId(name).checked = false;
      changed();
    }));
  }
  const variety = Number(byId("variety").value);
  if (variety) {
    chips.push(chip("variety", `${Math.round(100 * variety)} %`, () => {
      byId("variety").value = 0;
      changed();
    }));
  }
  byId("chips").replaceChildren(...chips);
  byId("moreCount").textContent = chips.length || "";
  byId("clear").disabled = !chips.length;
}

export function clear() {
  for (const name of Object.keys(NAMED)) field(name).value = "";
  for (const name of Object.keys(CHECKS)) byId(name).checked = false;
  byId("variety").value = 0;
}
