// Two models on one query, side by side: what both found names its rank on the other side.
import { briefly, byId, clock, element, many } from "./dom.js";
import { card, counted, ghosts } from "./card.js";
import { ask, search } from "./server.js";

export const comparing = location.pathname === "/compare";
export const PATIENCE = 120;  // ms; a quick answer should not flash
const SIDES = ["", "/b"];
const columns = [...document.querySelectorAll(".side")];

// The names of the models, which stand over the columns.
export async function nameSides() {
  await Promise.all(SIDES.map(async (side, place) => {
    const known = await ask(`${side}/api/status`).catch(() => null);
    if (!known) return;
    columns[place].querySelector("h2 bdi").textContent = known.model;
    columns[place].querySelector(".hint").textContent = `trained on ${known.trained_on} · ${known.directory}`;
  }));
}

export function emptySides() {
  for (const column of columns) {
    column.querySelector(".results").replaceChildren();
    column.querySelector(".tally").textContent = "";
  }
}

async function searchSide(place, wanted, signal, actions) {
  const side = SIDES[place], list = columns[place].querySelector(".results"), tally = columns[place].querySelector(".tally");
  const waiting = setTimeout(() => list.replaceChildren(...ghosts(4)), PATIENCE);
  try {
    const answer = await search(wanted, side, signal);
    const hits = answer.hits.map((hit) => ({ ...hit, side })), best = Math.max(...hits.map((hit) => hit.score));
    list.replaceChildren(...hits.map((_, rank) => card(hits, rank, best, actions)));
    list.classList.toggle("faint", answer.nothing_matches);
    tally.textContent = `${counted(answer)}${answer.nothing_matches ? ", none of them matches" : ""} · ${briefly(answer.seconds)}`;
    return { answer, hits, list };
  } catch (error) {
    if (error.name !== "AbortError") {
      list.replaceChildren();
      tally.textContent = error.message;
    }
    throw error;
  } finally {
    clearTimeout(waiting);
  }
}

// Each side is shown as it comes, also where the other fails. Returns what can be said of both together.
export async function searchSides(wanted, signal, actions) {
  const settled = await Promise.allSettled(SIDES.map((_, place) => searchSide(place, wanted, signal, actions)));
  signal.throwIfAborted();
  const found = settled.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
  if (!found.length) throw settled[0].reason;
  if (found.length === 1) {
    const [{ answer, hits }] = found, answered = settled[0].status === "fulfilled" ? "left" : "right";
    return { answers: [answer], hits: hits.length, said: `The ${answered} side alone answered.` };
  }
  const shared = joinTwins(found[0], found[1], true);
  joinTwins(found[1], found[0], false);
  const hits = found[0].hits.length + found[1].hits.length;
  return { answers: found.map(({ answer }) => answer), hits, said: hits ? `${many(shared, "answer", "answers")} in both` : "" };
}

// The same file, and where several spans of it may answer, one that overlaps. What shows the same footage stands for it:
// the two models need not choose the same of the copies.
function twinOf(hit, { answer, hits }) {
  const same = (one, other) => one.id === other.id && (!answer.moments || other.start < one.end && one.start < other.end);
  const places = [hit, ...hit.alike];
  return hits.findIndex((other) => places.some((one) => [other, ...other.alike].some((two) => same(one, two))));
}

function joinTwins(mine, theirs, left) {
  let shared = 0;
  mine.hits.forEach((hit, rank) => {
    const line = mine.list.children[rank], there = twinOf(hit, theirs);
    const other = left ? "right" : "left";
    let told = element("span", `only ${left ? "left" : "right"}`, "twin alone");
    if (there >= 0) {
      shared += 1;
      const by = there - rank;
      told = element("button", by ? `${by > 0 ? "↓" : "↑"} ${there + 1} ${other}` : "same rank", "twin");
      told.type = "button";
      told.setAttribute("aria-label", `Number ${there + 1} on the ${other}: ${hit.name}, ${clock(hit.start)}. Go there.`);
      const twin = theirs.list.children[there];
      told.onclick = () => twin.querySelector(".card").focus();
      line.onpointerenter = () => twin.classList.add("met");
      line.onpointerleave = () => twin.classList.remove("met");
    }
    line.classList.toggle("lone", there < 0);
    line.querySelector(".score").prepend(told);
    line.prepend(element("span", String(rank + 1), "rank"));
  });
  return shared;
}
