// Thumbs up and down on hits of a sentence: kept by the server with the index, taken back by a second press.
import { complain, element, icon } from "./dom.js";
import { ask } from "./server.js";

const kept = new Map();  // of side, query, file, span and frame -> whether it is good, null where that was taken back
// case and spaces do not count, as for the server
const keyOf = (side, query, { id, start, end, peak }) =>
  JSON.stringify([side, query.trim().split(/\s+/).join(" ").toLowerCase(), id, ...[start, end, peak].map((t) => t.toFixed(3))]);

export async function readMarks(side) {
  const answer = await ask(`${side}/api/feedback`).catch(() => ({ kept: [] }));
  for (const mark of answer.kept) {
    const key = mark.id && keyOf(side, mark.q, mark);
    if (key && !kept.has(key)) kept.set(key, mark.good);  // what was pressed meanwhile is newer
  }
  showAll();
}

// Two buttons. place: the hit's number, for their names. They may be there twice, on the card and in the player.
export function thumbs(hit, query, place) {
  const key = keyOf(hit.side, query, hit), pair = element("span", "", "thumbs");
  pair.dataset.key = key;
  pair.setAttribute("role", "group");
  pair.setAttribute("aria-label", `Is result ${place} what you meant?`);
  pair.append(...[true, false].map((good) => {
    const button = element("button", "", `thumb ${good ? "up" : "down"}`);
    button.type = "button";
    button.append(icon(good ? "up" : "down"));
    button.setAttribute("aria-label", good ? "This is what I meant" : "This is not what I meant");
    button.title = good ? "What I meant" : "Not what I meant";
    button.onclick = () => judge(hit, query, key, kept.get(key) === good ? null : good);
    return button;
  }));
  show(pair);
  return pair;
}

function show(pair) {
  const good = kept.get(pair.dataset.key);
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
    kept.set(key, good);
  } catch (error) {
    complain(error.message);
  }
  showAll();
}
