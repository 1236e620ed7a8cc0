// Why a hit was found: the curve above the player's strip and the panel below the player. Loaded before page.js, whose
// names are used inside functions only. Strings enter the page through textContent only.
"use strict";

const NAMED_FRAMES = 6;
const curve = document.getElementById("curve"), whyParts = document.getElementById("whyParts");
let explaining = null;  // the AbortController of the explanation under way
let explained = null;   // the explanation that is shown

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

function showWhy(open) {
  byId("why").hidden = !open;
  byId("whyButton").setAttribute("aria-expanded", open);
  player.classList.toggle("explained", open);
  followWhy();
}

// The panel is open or closed for all hits; what it says is the present one's.
async function followWhy() {
  if (explaining) explaining.abort();
  explained = null;
  curve.hidden = true;
  whyParts.replaceChildren();
  byId("whySaid").textContent = "";
  if (byId("why").hidden || playing < 0) return;
  const mine = explaining = new AbortController(), hit = hits[playing];
  byId("whySaid").textContent = "Looking at every frame and word…";
  try {
    const parts = new URLSearchParams({ q: query.value.trim(), id: hit.id, t: hit.peak });
    const answer = await askPatiently(`/api/explain?${parts}`, mine.signal);
    if (mine !== explaining || playing < 0) return;
    explained = answer;
    showExplanation(answer, hit);
  } catch (error) {
    if (error.name !== "AbortError") byId("whySaid").textContent = error.message;
  }
}

function showExplanation(why, hit) {
  const values = why.curve.map(([, cosine]) => cosine);
  const low = Math.min(...values), high = Math.max(...values);
  byId("whySaid").textContent =
    `The score ${why.score.toFixed(3)} is that of ${clock(why.start)} to ${clock(why.end)}. ` +
    `The curve is the match of every stored frame with the query, ${low.toFixed(3)} to ${high.toFixed(3)}; ` +
    "click it, or press ← and → on it, to go there.";
  whyParts.replaceChildren(...framesOf(why, hit), ...wordsOf(why), ...incrementOf(why), ...streamsOf(why));
  drawCurve();
}

// ---- the curve along the player's strip

function lengthOf(why) {
  return Number.isFinite(video.duration) && video.duration > 0 && !video.hidden ? video.duration : Math.max(why.duration, 0.1);
}

function drawn(tag, className, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  made.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function drawCurve() {
  curve.hidden = !explained;
  if (!explained) return;
  const whole = lengthOf(explained), values = explained.curve.map(([, cosine]) => cosine);
  const low = Math.min(...values), high = Math.max(...values);
  const across = (time) => (1000 * Math.min(1, time / whole)).toFixed(1);
  const up = (cosine) => (high > low ? 90 - 80 * (cosine - low) / (high - low) : 50).toFixed(1);
  const points = explained.curve.map(([time, cosine]) => `${across(time)} ${up(cosine)}`);
  const first = points[0].split(" ")[1], last = points[points.length - 1].split(" ")[1];
  const line = `M0 ${first} L${points.join(" L")} L1000 ${last}`;
  const start = Number(across(explained.start));
  curve.querySelector("svg").replaceChildren(
    drawn("rect", "segment", { x: start, y: 0, height: 100, width: Math.max(2, across(explained.end) - start) }),
    drawn("path", "area", { d: `${line} L1000 100 L0 100 Z` }),
    drawn("path", "line", { d: line }),
  );
  curve.setAttribute("aria-valuemax", whole.toFixed(1));
  showAt(video.hidden ? hits[playing].peak : video.currentTime);
}

function nearest(time) {
  const distance = ([other]) => Math.abs(other - time);
  return explained.curve.reduce((best, point, place) => distance(point) < distance(explained.curve[best]) ? place : best, 0);
}

function showAt(time) {
  if (!explained) return;
  const [, cosine] = explained.curve[nearest(time)];
  curve.querySelector(".at").style.left = `${100 * Math.min(1, time / lengthOf(explained))}%`;
  curve.setAttribute("aria-valuenow", time.toFixed(1));
  curve.setAttribute("aria-valuetext", `${clock(time)}, match ${cosine.toFixed(3)}`);
}

function seek(time) {
  if (video.hidden) {
    still.querySelector("img").src = `/thumb/${hits[playing].id}?t=${time.toFixed(3)}`;
  } else {
    video.currentTime = time;
  }
  showAt(time);
}

function seekAt(event) {
  if (!explained) return;
  const box = curve.getBoundingClientRect();
  seek(lengthOf(explained) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
}

curve.addEventListener("pointerdown", (event) => {
  curve.setPointerCapture(event.pointerId);
  seekAt(event);
});
curve.addEventListener("pointermove", (event) => { if (event.buttons) seekAt(event); });
curve.addEventListener("keydown", (event) => {
  if (!explained) return;
  const last = explained.curve.length - 1, here = nearest(Number(curve.getAttribute("aria-valuenow")));
  const there = { ArrowLeft: here - 1, ArrowDown: here - 1, ArrowRight: here + 1, ArrowUp: here + 1, Home: 0, End: last }[event.key];
  if (there === undefined) return;
  event.preventDefault();
  seek(explained.curve[Math.min(last, Math.max(0, there))][0]);
});

// ---- the panel

function framesOf(why, hit) {
  const worth = (frame) => why.exact ? frame.contribution : frame.cosine;
  const carrying = [...why.frames].sort((a, b) => worth(b) - worth(a)).slice(0, NAMED_FRAMES).sort((a, b) => a.time - b.time);
  const most = Math.max(...carrying.map(worth));
  const list = element("ol", "", "carrying");
  list.append(...carrying.map((frame) => {
    const line = element("li"), button = element("button"), shot = element("span", "", "shot"), image = element("img");
    button.type = "button";
    image.alt = "";
    loadPicture(image, `/thumb/${hit.id}?t=${frame.time}`, line);
    shot.append(image, element("span", "no picture", "none"));
    const told = why.exact ? `${clock(frame.time)} · ${signed(frame.contribution, 4)}` : `${clock(frame.time)} · ${frame.cosine.toFixed(3)}`;
    const more = why.exact ? `match ${frame.cosine.toFixed(3)}, weight ${percent(frame.weight)}` : "";
    button.append(shot, bar(most > 0 ? worth(frame) / most : 0), element("span", told, "what"), element("span", more, "hint"));
    button.setAttribute("aria-label", `Go to ${clock(frame.time)}: ${told}, ${more}`);
    button.onclick = () => seek(frame.time);
    line.append(button);
    return line;
  }));
  const rest = why.rest ? ` ${signed(why.rest, 4)} comes from no single frame.` : "";
  const left = why.frames.length - carrying.length;
  const hint = why.exact
    ? `What each frame adds to the score: all ${why.frames.length} add up to it.${rest}${left ? ` Shown are the ${carrying.length} that add most.` : ""}`
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
  const hint = `What GARE adds to the ${why.increment.side} for this pair: ${increment(why.increment, why.score)}.`;
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

document.getElementById("whyButton").onclick = () => showWhy(byId("why").hidden);
document.querySelector("#player video").addEventListener("loadedmetadata", drawCurve);
document.querySelector("#player video").addEventListener("timeupdate", (event) => showAt(event.target.currentTime));
