// The player: a video from the moment that was found, its curve as the seek bar, and what is known of the hit.
import { byId, clock, complain, element, icon, lasting, spanOf, stillAt, worthSaid } from "./dom.js";
import { showAt, showCurve } from "./curve.js";
import { thumbs } from "./marks.js";
import { ask } from "./server.js";
import { followWhy, showWhy } from "./why.js";

const player = byId("player"), video = player.querySelector("video"), still = player.querySelector(".still");
const NAMED = { text: "words", picture: "picture", but: "but", then: "then", without: "without" };
let items = [], at = -1, opener = null;
let curve = null, drawing = null;
let wanted = null, fetching = false;  // of stills: the latest asked for, and whether one is on its way
let actions = { query: "", like: () => {} };

// actions: { query, like }: the sentence that was asked, empty where it is not only one; and what "More like this" does.
export function use(next) {
  actions = next;
}

export function open(list, place, from, { why = false } = {}) {
  [items, opener] = [list, from || opener];
  go(place);
  if (!player.open) player.showModal();
  showWhy(why || !byId("why").hidden, actions.query, items[at], seek);
}

function go(place) {
  at = place;
  byId("playerSaid").textContent = "";
  const hit = items[place];
  player.querySelector("h2 bdi").textContent = hit.name;
  byId("place").replaceChildren(...about(hit));
  byId("parts").replaceChildren(...partsOf(hit));
  byId("previous").disabled = place === 0;
  byId("next").disabled = place === items.length - 1;
  byId("download").href = `/video/${hit.id}`;
  byId("download").download = hit.name;
  byId("whyButton").hidden = !actions.query;
  byId("judge").replaceChildren(...(actions.query ? [thumbs(hit, actions.query, place + 1)] : []));
  if (hit.playable) startVideo(hit);
  else showStill(hit, `A browser cannot play ${hit.name.slice(hit.name.lastIndexOf("."))} files. Download it to watch it in a player.`);
  readCurve(hit);
}

function about(hit) {
  const facts = [element("b", spanOf(hit)), ...(hit.then ? [` then ${spanOf(hit.then)}`] : []), ` · ${worthSaid(hit)}`];
  if (hit.heard) facts.push(` · said at ${clock(hit.heard.start)}: `, element("bdi", `“${hit.heard.text}”`));
  if (hit.duration) facts.push(` · of ${lasting(hit.duration)}`);
  // the server's day, as its filters take it
  if (hit.changed) facts.push(` · ${hit.changed.slice(0, 10)}`);
  facts.push(" · ", element("bdi", hit.folder));
  for (const [name, value] of Object.entries(hit.metadata || {})) facts.push(" · ", element("bdi", `${name}: ${value}`));
  return facts;
}

function partsOf(hit) {
  if (!hit.parts || hit.parts.length < 2) return [];
  return hit.parts.map((part) => {
    const line = element("li");
    line.append(element("span", NAMED[part.role], "kind"), element("bdi", part.what.slice(0, 60)), element("b", part.score.toFixed(2)));
    return line;
  });
}

// ---- the curve

async function readCurve(hit) {
  if (drawing) drawing.abort();
  curve = null;
  redraw();
  if (!actions.query) return;
  const mine = drawing = new AbortController();
  try {
    const answer = await ask(`${hit.side}/api/curve?${new URLSearchParams({ q: actions.query, id: hit.id })}`, { signal: mine.signal });
    if (mine !== drawing || items[at] !== hit) return;
    curve = answer;
    redraw();
  } catch (error) {
    if (error.name !== "AbortError") byId("curveSaid").textContent = `There is no curve: ${error.message}`;
  }
}

function length() {
  const known = items[at].duration || (curve ? curve.duration : 0);
  return !video.hidden && Number.isFinite(video.duration) && video.duration > 0 ? video.duration : known || items[at].end;
}

function redraw() {
  const hit = items[at];
  const same = items.filter((other) => other.id === hit.id).flatMap((other) => [other, ...(other.then ? [other.then] : [])]
    .map(({ start, end }) => ({ start, end, here: other === hit })));
  showCurve(length(), curve, same, seek);
  const now = video.hidden ? hit.peak : video.currentTime || hit.start;
  showTime(now);
}

function showTime(time) {
  showAt(time);
  byId("now").textContent = `${clock(Math.floor(time))} / ${clock(Math.floor(length()))}`;
}

export function seek(time) {
  if (video.hidden) fetchStill(items[at], time.toFixed(3));
  else video.currentTime = time;
  showTime(time);
}

// ---- playing

const play = () => video.play().catch(() => {});

function startVideo(hit) {
  still.hidden = true;
  video.hidden = false;
  player.classList.remove("stills");
  video.setAttribute("aria-label", `${hit.name}, from ${clock(hit.start)}`);
  video.src = `/video/${hit.id}#t=${hit.start}`;
  video.onloadedmetadata = () => {
    // some browsers ignore #t
    if (Math.abs(video.currentTime - hit.start) > 0.5) video.currentTime = hit.start;
    redraw();
    play();
  };
  video.onerror = async () => {
    // a byte of it, or the sentence that says why there is none
    const answer = await fetch(`/video/${hit.id}`, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    const refused = answer && answer.status === 404 ? await answer.json().catch(() => ({})) : null;
    if (items[at] !== hit) return;
    if (refused) showStill(hit, refused.error || "The file is gone, or no longer in the index.");
    else if (answer && answer.ok) showStill(hit, "This browser cannot play the file. Download it to watch it in a player.");
    else showStill(hit, "The server does not answer. Is reelseek serve still running?");
    redraw();
  };
}

function showStill(hit, words) {
  stopVideo();
  video.hidden = true;
  still.hidden = false;
  player.classList.add("stills");
  still.querySelector("p").textContent = words;
  still.querySelector("img").hidden = true;  // it may be of the film before
  fetchStill(hit, hit.peak);
}

// One at a time, the latest wins: a dragged seek bar wants more of them than the server makes.
async function fetchStill(hit, time) {
  wanted = { hit, time };
  if (fetching) return;
  fetching = true;
  const image = still.querySelector("img");
  while (wanted) {
    const { hit, time } = wanted;
    wanted = null;
    image.src = stillAt(hit, time);
    const came = await image.decode().then(() => true, () => false);
    if (items[at] !== hit) continue;
    image.alt = `A frame of ${hit.name} at ${clock(Number(time))}`;
    image.hidden = !came;
  }
  fetching = false;
}

function stopVideo() {
  video.onerror = video.onloadedmetadata = null;
  video.pause();
  video.removeAttribute("src");
  video.load();
}

function showState() {
  const button = byId("play");
  button.replaceChildren(icon(video.paused ? "play" : "pause"));
  button.setAttribute("aria-label", video.paused ? "Play" : "Pause");
  byId("mute").replaceChildren(icon(video.muted ? "muted" : "sound"));
  byId("mute").setAttribute("aria-pressed", video.muted);
}

function step(by) {
  if (!items[at + by]) return;
  go(at + by);
  followWhy(actions.query, items[at]);
}

for (const event of ["play", "pause", "volumechange"]) video.addEventListener(event, showState);
video.addEventListener("timeupdate", () => { if (at >= 0 && !video.hidden) showTime(video.currentTime); });
const toggle = () => video.paused ? play() : video.pause();
video.addEventListener("click", () => { if (!video.controls) toggle(); });
// full screen has room for nothing but the video: there the browser's own controls serve
document.addEventListener("fullscreenchange", () => { video.controls = document.fullscreenElement === video; });
byId("play").onclick = toggle;
byId("mute").onclick = () => { video.muted = !video.muted; };
byId("full").onclick = () => { if (video.requestFullscreen) video.requestFullscreen().catch((error) => complain(error.message)); };
byId("close").onclick = () => player.close();
byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
byId("again").onclick = () => {
  seek(items[at].start);
  play();
};
byId("alike").onclick = () => {
  const hit = items[at];
  opener = null;
  player.close();
  actions.like(hit);
};
byId("whyButton").onclick = () => showWhy(byId("why").hidden, actions.query, items[at], seek);
player.addEventListener("click", (event) => { if (event.target === player) player.close(); });
player.addEventListener("close", () => {
  if (drawing) drawing.abort();
  stopVideo();
  showWhy(false);
  const back = cardOf(at) || opener;
  // this comes after the browser gave the focus back: who has used a key since then is elsewhere
  const waiting = [opener, document.body].includes(document.activeElement);
  [items, at, opener] = [[], -1, null];
  if (back && waiting) back.focus();
});

// Where the focus goes: to the card of what was watched last, not to the first that was opened.
function cardOf(place) {
  const list = opener && opener.classList.contains("card") ? opener.closest(".results") : null;
  return list ? list.querySelectorAll(".card")[place] : null;
}

player.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button, a, summary") && event.key === " ") return;
  if (event.key === " " || event.key === "k") toggle();
  else if (event.key === "m") video.muted = !video.muted;
  else if (event.key === "f") byId("full").click();
  else if (event.key === "n" || event.key === "p") step(event.key === "n" ? 1 : -1);
  else return;
  event.preventDefault();
});
