// Why a hit was found: the panel below the player. Strings enter the page through textContent only.
import { byId, clock, element, loadPicture, stillAt } from "./dom.js";
import { askPatiently } from "./server.js";

const NAMED_FRAMES = 6;
const parts = byId("whyParts"), said = byId("whySaid");
let explaining = null;  // the AbortController of the explanation under way
let seek = () => {};

const tell = (words) => { said.textContent = words; };
const signed = (value, digits = 3) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const percent = (value) => `${Math.round(100 * value)} %`;

function heading(title, hint) {
  return hint ? [element("h3", title), element("p", hint, "hint")] : [element("h3", title)];
}

function bar(share) {
  const outer = element("span", "", "bar"), inner = element("span");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  outer.append(inner);
  return outer;
}

// ---- opening and closing

export function showWhy(open, query, hit, act) {
  byId("why").hidden = !open;
  byId("whyButton").setAttribute("aria-expanded", open);
  byId("player").classList.toggle("explained", open);
  if (act) seek = act;
  followWhy(query, hit);
}

// The panel is open or closed for all hits; what it says is the present one's.
export async function followWhy(query, hit) {
  if (explaining) explaining.abort();
  parts.replaceChildren();
  tell("");
  if (byId("why").hidden || !hit || !query) return;
  const mine = explaining = new AbortController();
  tell("Looking at every frame and word…");
  try {
    const asked = new URLSearchParams({ q: query, id: hit.id, t: hit.peak, start: hit.start, end: hit.end });
    const answer = await askPatiently(`${hit.side}/api/explain?${asked}`, { signal: mine.signal }, tell);
    if (mine === explaining) showExplanation(answer, hit);
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message);
  }
}

function showExplanation(why, hit) {
  const span = `${clock(why.start)} to ${clock(why.end)}`, score = why.score.toFixed(3);
  const own = (why.score - why.moment).toFixed(3);
  const less = why.moment ? ` less ${(-why.moment).toFixed(3)}, since a better moment lies there` : "";
  said.textContent =
    (hit.scale === "ranks" ? `By what it shows, ${span} scores ${own}${less}. ` : `The score ${score} is that of ${span}${less && `, ${own},${less}`}. `) +
    "The curve is the match of every stored frame with the query; click it, or press ← and → on it, to go there.";
  parts.replaceChildren(...framesOf(why, hit), ...wordsOf(why), ...incrementOf(why), ...streamsOf(why));
}

// ---- the panel

function framesOf(why, hit) {
  const worth = (frame) => why.exact ? frame.contribution : frame.cosine;
  const first = (a, b) => b.inside - a.inside;
  const carrying = [...why.frames].sort((a, b) => first(a, b) || worth(b) - worth(a)).slice(0, NAMED_FRAMES)
    .sort((a, b) => first(a, b) || a.time - b.time);
  const most = Math.max(...carrying.map(worth));
  const list = element("ol", "", "carrying");
  list.append(...carrying.map((frame) => {
    const line = element("li"), button = element("button"), shot = element("span", "", "shot"), image = element("img");
    button.type = "button";
    image.alt = "";
    loadPicture(image, stillAt(hit, frame.time), line);
    shot.append(image, element("span", "no picture", "none"));
    const told = why.exact ? `${clock(frame.time)} · ${signed(frame.contribution, 4)}` : `${clock(frame.time)} · ${frame.cosine.toFixed(3)}`;
    const match = why.exact ? [`match ${frame.cosine.toFixed(3)}, weight ${percent(frame.weight)}`] : [];
    const more = [...match, ...frame.inside ? [] : ["outside this result"]].join(", ");
    button.append(shot, bar(most > 0 ? worth(frame) / most : 0), element("span", told, "what"), element("span", more, "hint"));
    button.setAttribute("aria-label", `Go to ${clock(frame.time)}: ${told}, ${more}`);
    button.onclick = () => seek(frame.time);
    line.append(button);
    return line;
  }));
  const rest = why.rest ? ` ${signed(why.rest, 4)} comes from no single frame.` : "";
  const left = why.frames.length - carrying.length;
  const hint = why.exact
    ? `What each frame adds to the score: all ${why.frames.length} add up to it${why.moment ? ", before what the moment scores less" : ""}.${rest}${left ? ` Shown are the ${carrying.length} that add most, those of this result first.` : ""}`
    : "This method cannot say what each frame adds; these match the query best.";
  return [...heading("Frames that carried it", hint), list];
}

function tinted(element, share) {
  const colour = share < 0 ? "var(--mark)" : "var(--accent)";
  element.style.background = `color-mix(in srgb, ${colour} ${Math.round(38 * Math.min(1, Math.abs(share)))}%, transparent)`;
}

function wordsOf(why) {
  if (!why.words.length) return [];
  const most = Math.max(...why.words.map((word) => Math.abs(word.weight)), 1e-9);
  const list = element("ul", "", "words");
  list.append(...why.words.map((word) => {
    const chip = element("li");
    chip.append(element("bdi", word.text.length > 60 ? `${word.text.slice(0, 59)}…` : word.text), " ", element("small", signed(word.weight)));
    tinted(chip, word.weight / most);
    return chip;
  }));
  const hint = "How much leaving a word out of the query lowers this score, beyond what it does to scores in this index usually. Below 0 the word speaks against this video, or the others say it already.";
  return [...heading("Words", hint), list, ...mapOf(why)];
}

function mapOf(why) {
  if (!why.words[0].by_frame.length) return [];
  const most = Math.max(...why.words.flatMap((word) => word.by_frame.map(Math.abs)), 1e-9);
  const details = element("details"), scroll = element("div", "", "scroll"), table = element("table", "", "map");
  const head = element("tr");
  head.append(element("td"), ...why.frames.map((frame) => element("th", clock(frame.time))));
  const top = element("thead"), body = element("tbody");
  top.append(head);
  body.append(...why.words.map((word) => {
    const row = element("tr"), name = element("th");
    name.scope = "row";
    name.append(element("bdi", word.text.slice(0, 40)));
    row.append(name, ...word.by_frame.map((value) => {
      const cell = element("td", signed(value, 4));
      tinted(cell, value / most);
      return cell;
    }));
    return row;
  }));
  table.append(top, body);
  scroll.append(table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Words by frame");
  const hint = "The same, frame by frame: how much of what a frame adds is lost without the word.";
  details.append(element("summary", "Words by frame"), element("p", hint, "hint"), scroll);
  return [details];
}

function increment(part, score) {
  return `length ${part.length.toPrecision(3)}, ${percent(part.relative)} of the ${part.side}'s; cosine with the gap ` +
    `${signed(part.gap_cosine, 2)}; without it the score is ${part.without.toFixed(3)}, with it ${score.toFixed(3)}`;
}

function incrementOf(why) {
  if (!why.increment) return [];
  const hint = `What GARE adds to the ${why.increment.side} for this pair: ${increment(why.increment, why.score - why.moment)}.`;
  return heading("Increment", hint);
}

function streamsOf(why) {
  if (!why.streams.length) return [];
  const facts = element("dl", "", "facts");
  facts.append(...why.streams.map((stream) => {
    const pair = element("div"), about = element("dd");
    const counted = stream.share ? `${percent(stream.share)} of the score` : "not part of the score";
    about.append(bar(stream.share), `${stream.score.toFixed(3)}, ${counted}. Reads `);
    about.append(element("bdi", stream.words.length ? `“${stream.words.join(" ").slice(0, 200)}”` : "the whole query"), ".");
    const experts = Object.entries(stream.experts).map(([name, share]) => `${name} ${percent(share)}`).join(", ");
    if (experts) about.append(` Frames mixed from ${experts}.`);
    if (stream.increment) about.append(` Increment: ${increment(stream.increment, stream.score)}.`);
    pair.append(element("dt", stream.name), about);
    return pair;
  }));
  return [...heading("Streams", "What the method reads in the query, and how much of the score each reading made."), facts];
}
