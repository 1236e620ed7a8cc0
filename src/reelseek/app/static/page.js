// The search page. Strings from files and queries enter the page through textContent only; nothing is fetched from
// anywhere but this server.
"use strict";

const byId = (id) => document.getElementById(id);
const form = byId("form"), query = byId("query"), moments = byId("moments"), results = byId("results");
const player = byId("player"), video = player.querySelector("video"), still = player.querySelector(".still");
const MOST_RETRIES = 4;

let hits = [];       // what the server found last
let playing = -1;    // the place in hits of what the player shows
let asked = null;    // the AbortController of the search under way
let library = null;  // the last answer of /api/status

// ---- words and numbers

function clock(seconds) {
  const tenths = Math.round(seconds * 10), whole = Math.floor(tenths / 10);
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const tail = String(whole % 60).padStart(2, "0") + (tenths % 10 && !hours ? "." + (tenths % 10) : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

function lasting(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const briefly = (seconds) => seconds < 1 ? `${Math.ceil(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
const spanOf = (hit) => `${clock(hit.start)} to ${clock(hit.end)}`;
const picture = (hit) => `/thumb/${hit.id}?t=${hit.peak}`;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// ---- asking the server

class Refused extends Error {
  constructor(message, status, wait) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

async function ask(address, signal) {
  let answer;
  try {
    answer = await fetch(address, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is reelseek serve still running?", 0, 0);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Refused(body.error || `The server answered ${answer.status}.`, answer.status, Number(answer.headers.get("Retry-After")) || 1);
  }
  return body;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function askPatiently(address, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(address, signal);
    } catch (error) {
      if (error.status !== 429 || tries >= MOST_RETRIES) throw error;
      say("The server is busy; waiting for its turn…");
      await pause(error.wait);
      if (signal.aborted) throw new DOMException("aborted", "AbortError");
    }
  }
}

// ---- what the page says

function say(text) {
  byId("said").textContent = text;
}

function complain(text, retry) {
  const trouble = byId("trouble"), button = trouble.querySelector("button");
  trouble.hidden = !text;
  trouble.querySelector("p").textContent = text || "";
  button.hidden = !retry;
  button.onclick = retry || null;
}

async function readStatus() {
  try {
    library = await ask("/api/status");
  } catch (error) {
    complain(error.message, () => { complain(""); readStatus(); });
    return;
  }
  byId("model").replaceChildren(element("b", library.model), ` trained on ${library.trained_on}`);
  const facts = [["videos", library.videos.toLocaleString("en")], ["of video", lasting(library.seconds)], ["segments", library.segments.toLocaleString("en")]];
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
  const broken = byId("broken");
  broken.hidden = library.broken.length === 0;
  broken.querySelector("summary").textContent = `${many(library.broken.length, "file", "files")} could not be read`;
  broken.querySelector("ul").replaceChildren(...library.broken.map((file) => {
    const line = element("li");
    const name = element("b");
    name.append(element("bdi", file.path));
    line.append(name, file.reason);
    return line;
  }));
  showStart();
}

function showStart() {
  const idle = !document.body.classList.contains("searched");
  byId("start").hidden = !(idle && library && library.videos);
  if (idle && library && !library.videos) showNothing("This index holds no videos yet.", "Index a folder, then reload this page.");
}

function showNothing(title, advice) {
  const nothing = byId("nothing");
  nothing.hidden = !title;
  nothing.querySelector("h2").textContent = title || "";
  nothing.querySelector("p").textContent = advice || "";
}

// ---- results

function showGhosts() {
  results.replaceChildren(...Array.from({ length: 8 }, () => {
    const ghost = element("li", "", "ghost");
    ghost.append(element("span", "", "shot"), element("span", "", "name"), element("span", "", "folder"));
    return ghost;
  }));
}

function loadPicture(image, address, holder, tries = 0) {
  image.onload = () => holder.classList.remove("bare");
  image.onerror = () => {
    holder.classList.add("bare");
    // pictures are made one by one; under load the server asks to come again
    if (tries < MOST_RETRIES) setTimeout(() => loadPicture(image, `${address}&again=${tries}`, holder, tries + 1), 1200);
  };
  image.src = address;
}

function card(hit, place, best) {
  const made = byId("card").content.firstElementChild.cloneNode(true);
  const button = made.querySelector("button");
  loadPicture(made.querySelector("img"), picture(hit), made);
  made.querySelector(".time").textContent = `${clock(hit.start)} – ${clock(hit.end)}`;
  made.querySelector(".name bdi").textContent = hit.name;
  made.querySelector(".folder bdi").textContent = hit.folder;
  made.querySelector(".bar span").style.width = best > 0 ? `${Math.max(0, 100 * hit.score / best)}%` : "0";
  made.querySelector(".value").textContent = hit.score.toFixed(3);
  button.title = `${hit.folder}/${hit.name}`;
  button.setAttribute("aria-label", `Result ${place + 1}: ${hit.name}, ${spanOf(hit)}, score ${hit.score.toFixed(3)}. Play.`);
  button.onclick = () => open(place);
  const why = made.querySelector(".ask");
  why.setAttribute("aria-label", `Why result ${place + 1}, ${hit.name}, was found`);
  why.onclick = () => {
    open(place);
    showWhy(true);
  };
  return made;
}

function showResults(answer) {
  hits = answer.hits;
  const best = Math.max(...hits.map((hit) => hit.score));
  results.replaceChildren(...hits.map((hit, place) => card(hit, place, best)));
  showNothing("");
  if (hits.length) {
    say(`${many(hits.length, answer.moments ? "moment" : "video", answer.moments ? "moments" : "videos")}, best match first · ${briefly(answer.seconds)}`);
  } else {
    say("");
    if (library && !library.videos) showNothing("This index holds no videos yet.", "Index a folder, then search again.");
    else showNothing("Nothing was found.", "Try other words, or describe what can be seen.");
  }
}

async function search() {
  if (asked) asked.abort();
  const words = query.value.trim();
  complain("");
  showNothing("");
  document.body.classList.toggle("searched", words !== "");
  document.title = words ? `${words.slice(0, 60)} · reelseek` : "reelseek";
  byId("start").hidden = true;
  if (!words) {
    hits = [];
    results.replaceChildren();
    say("");
    showStart();
    return;
  }
  const mine = asked = new AbortController();
  say("Searching…");
  // a quick answer should not flash
  const ghosts = setTimeout(showGhosts, 120);
  results.setAttribute("aria-busy", "true");
  try {
    const address = `/api/search?${new URLSearchParams({ q: words, moments: moments.checked })}`;
    const answer = await askPatiently(address, mine.signal);
    clearTimeout(ghosts);
    showResults(answer);
  } catch (error) {
    clearTimeout(ghosts);
    if (error.name === "AbortError") return;
    hits = [];
    results.replaceChildren();
    say("");
    complain(error.message, error.status === 400 || error.status === 413 ? null : search);
  }
  if (mine === asked) results.removeAttribute("aria-busy");
}

function remember() {
  const words = query.value.trim();
  const address = words ? `/?${new URLSearchParams(moments.checked ? { q: words, moments: 1 } : { q: words })}` : "/";
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
}

function recall() {
  const parts = new URLSearchParams(location.search);
  query.value = parts.get("q") || "";
  moments.checked = parts.get("moments") === "1";
  search();
}

// ---- the player

function open(place) {
  playing = place;
  const hit = hits[place];
  player.querySelector("h2 bdi").textContent = hit.name;
  const where = byId("where");
  where.replaceChildren(element("b", spanOf(hit)), ` · score ${hit.score.toFixed(3)} · `, element("bdi", hit.folder));
  byId("previous").disabled = place === 0;
  byId("next").disabled = place === hits.length - 1;
  byId("download").href = `/video/${hit.id}`;
  byId("download").download = hit.name;
  showStrip(NaN);
  if (hit.playable) startVideo(hit);
  else showStill(hit, `A browser cannot play ${hit.name.slice(hit.name.lastIndexOf("."))} files. Download it to watch it in a player.`);
  if (!player.open) player.showModal();
  followWhy();
}

function startVideo(hit) {
  still.hidden = true;
  video.hidden = false;
  byId("again").hidden = false;
  video.setAttribute("aria-label", `${hit.name}, from ${clock(hit.start)}`);
  video.src = `/video/${hit.id}#t=${hit.start}`;
  video.onloadedmetadata = () => {
    // some browsers ignore #t
    if (Math.abs(video.currentTime - hit.start) > 0.5) video.currentTime = hit.start;
    showStrip(video.duration);
    video.play().catch(() => {});
  };
  video.onerror = async () => {
    const answer = await fetch(`/video/${hit.id}`, { method: "HEAD" }).catch(() => null);
    if (playing < 0 || hits[playing] !== hit) return;
    if (answer && answer.status === 404) showStill(hit, "The file is gone, or no longer in the index.");
    else if (answer && answer.ok) showStill(hit, "This browser cannot play the file. Download it to watch it in a player.");
    else showStill(hit, "The server does not answer. Is reelseek serve still running?");
  };
}

function showStill(hit, words) {
  stopVideo();
  video.hidden = true;
  byId("again").hidden = true;
  still.hidden = false;
  still.querySelector("p").textContent = words;
  const image = still.querySelector("img");
  image.alt = `A frame of ${hit.name} at ${clock(hit.peak)}`;
  image.hidden = false;
  image.onerror = () => { image.hidden = true; };
  image.src = picture(hit);
}

// Where the hits of this file lie in it; all of them once its length is known.
function showStrip(duration) {
  const strip = player.querySelector(".strip");
  strip.querySelectorAll(".span").forEach((span) => span.remove());
  strip.hidden = !(duration > 0 && Number.isFinite(duration));
  if (strip.hidden) return;
  hits.forEach((hit, place) => {
    if (hit.id !== hits[playing].id) return;
    const span = element("span", "", place === playing ? "span here" : "span");
    span.style.left = `${100 * hit.start / duration}%`;
    span.style.width = `${100 * (Math.min(hit.end, duration) - hit.start) / duration}%`;
    strip.append(span);
  });
}

function stopVideo() {
  video.onerror = video.onloadedmetadata = null;
  video.pause();
  video.removeAttribute("src");
  video.load();
}

function step(by) {
  const place = playing + by;
  if (place >= 0 && place < hits.length) open(place);
}

video.addEventListener("timeupdate", () => {
  if (video.duration > 0) player.querySelector(".now").style.left = `${100 * video.currentTime / video.duration}%`;
});
player.addEventListener("close", () => {
  stopVideo();
  showWhy(false);
  const button = results.querySelectorAll(".card")[playing];
  playing = -1;
  if (button) button.focus();
});
player.addEventListener("click", (event) => { if (event.target === player) player.close(); });
byId("close").onclick = () => player.close();
byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
byId("again").onclick = () => {
  video.currentTime = hits[playing].start;
  video.play().catch(() => {});
};

// ---- keys

function moveAmongCards(key) {
  const cards = [...results.querySelectorAll(".card")];
  const here = cards.indexOf(document.activeElement);
  if (!cards.length) return false;
  if (here < 0) {
    if (key !== "ArrowDown") return false;
    cards[0].focus();
    return true;
  }
  const columns = getComputedStyle(results).gridTemplateColumns.split(" ").length;
  const there = here + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (there < 0 && key === "ArrowUp") query.focus();
  else if (cards[there]) cards[there].focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || player.open) return;
  const typing = document.activeElement === query;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    query.focus();
    query.select();
  } else if (event.key === "Escape" && !typing && hits.length) {
    query.focus();
  } else if (event.key.startsWith("Arrow") && (!typing || event.key === "ArrowDown")) {
    if (moveAmongCards(event.key)) event.preventDefault();
  }
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  remember();
  search();
});
moments.addEventListener("change", () => {
  if (query.value.trim()) {
    remember();
    search();
  }
});
window.addEventListener("popstate", () => {
  if (player.open) player.close();
  recall();
});

readStatus();
recall();
if (!query.value) query.focus();
