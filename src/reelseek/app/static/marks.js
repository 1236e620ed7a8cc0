// Thumbs up and down on hits of a sentence: kept by the server with the index, taken back by a second press.
import { complain, element, icon } from "./dom.js";
import { ask } from "./server.js";

const kept = new Map();  // of side, query, file and frame -> spans with whether they are good, null where that was taken back
const placed = new WeakMap();  // of a pair of thumbs -> its key and span
// case and spaces do not count, as for the server
const keyOf = (side, query, { id, peak }) =>
  JSON.stringify([side, query.trim().split(/\s+/).join(" ").toLowerCase(), id, peak.toFixed(3)]);
const rounded = ({ start, end, peak }) => {
  const [low, high, best] = [start, end, peak].map((seconds) => Math.round(seconds * 1000));
  return { low, high, whole: low === 0 && best === 0 && high > 0 };
};

// As for the server: a segment, a moment in it and its frame are one answer, two lines and a whole file are others.
function oneAnswer(a, b) {
  if (a.whole || b.whole) return a.low === b.low && a.high === b.high;
  return (a.low <= b.low && b.high <= a.high) || (b.low <= a.low && a.high <= b.high);
}

const said = (key, span) => (kept.get(key) ?? []).find((other) => oneAnswer(other, span));
const keep = (key, span, good) =>
  kept.set(key, [...(kept.get(key) ?? []).filter((other) => !oneAnswer(other, span)), { ...span, good }]);

export async function readMarks(side) {
  const answer = await ask(`${side}/api/feedback`).catch(() => ({ kept: [] }));
  for (const mark of answer.kept) {
    const key = mark.id && keyOf(side, mark.q, mark);
    if (key && !said(key, rounded(mark))) keep(key, rounded(mark), mark.good);  // what was pressed meanwhile is newer
  }
  showAll();
}

// Two buttons. place: the hit's number, for their names. They may be there twice, on the card and in the player.
export function thumbs(hit, query, place) {
  const key = keyOf(hit.side, query, hit), span = rounded(hit), pair = element("span", "", "thumbs");
  placed.set(pair, [key, span]);
  pair.setAttribute("role", "group");
  pair.setAttribute("aria-label", `Is result ${place} what you meant?`);
  pair.append(...[true, false].map((good) => {
    const button = element("button", "", `thumb ${good ? "up" : "down"}`);
    button.type = "button";
    button.append(icon(good ? "up" : "down"));
    button.setAttribute("aria-label", good ? "This is what I meant" : "This is not what I meant");
    button.title = good ? "What I meant" : "Not what I meant";
    button.onclick = () => judge(hit, query, key, said(key, span)?.good === good ? null : good);
    return button;
  }));
  show(pair);
  return pair;
}

function show(pair) {
  const good = said(...placed.get(pair))?.good;
  pair.querySelector(".up").setAttribute("aria-pressed", good === true);
  pair.querySelector(".down").setAttribute("aria-pressed", good === false);
}

function showAll() {
  for (const pair of document.querySelectorAll(".thumbs")) show(pair);
}

async function judge(hit, query, key, good) {
  complain("");
  try {
    const body = JSON.stringify({ q: query, id: hit.id, t: hit.peak, start: hit.start, end: hit.end, good });
    await ask(`${hit.side}/api/feedback`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    keep(key, rounded(hit), good);
  } catch (error) {
    complain(error.message);
  }
  showAll();
}
