// Words, numbers and small parts that every module uses. Strings from files and queries enter the page through
// textContent only.

export const byId = (id) => document.getElementById(id);

export function clock(seconds) {
  const tenths = Math.round(seconds * 10), whole = Math.floor(tenths / 10);
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const tail = String(whole % 60).padStart(2, "0") + (tenths % 10 && !hours ? "." + (tenths % 10) : "");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

export function lasting(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export const briefly = (seconds) => seconds < 1 ? `${Math.ceil(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
export const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
export const spanOf = (hit) => `${clock(hit.start)} to ${clock(hit.end)}`;
export const stillAt = (hit, time) => `/thumb/${hit.id}?t=${time}`;
// By whole characters: half of an emoji is none.
export function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…` : text;
}

// What a hit is worth, in the words of its card: a probability where there is one, where ranks were merged which of them.
export function worth(hit) {
  if (hit.scale === "ranks") return hit.heard === undefined ? "as a copy" : hit.heard ? "by words" : "by picture";
  return hit.probability === null || hit.probability === undefined ? hit.score.toFixed(3) : `${Math.round(100 * hit.probability)} % match`;
}

export const worthSaid = (hit) => `${hit.scale === "ranks" ? "found" : "score"} ${worth(hit)}`;

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function icon(name) {
  const made = drawn("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" });
  made.append(drawn("use", { href: `#i-${name}` }));
  return made;
}

const MOST_RETRIES = 4;

// holder: gets the class "bare" while there is no picture.
export function loadPicture(image, address, holder, tries = 0) {
  image.onload = () => holder.classList.remove("bare");
  image.onerror = async () => {
    holder.classList.add("bare");
    if (tries >= MOST_RETRIES) return;
    // an image does not say why it failed: under load the server asks to come again, and what is gone stays gone
    const answer = await fetch(address).catch(() => null);
    if (answer && answer.status === 404 || !image.isConnected) return;
    setTimeout(() => loadPicture(image, `${address}&again=${tries}`, holder, tries + 1), answer && answer.ok ? 0 : 1200);
  };
  image.src = address;
}

export function say(text) {
  byId("said").textContent = text;
}

// Where the player is open, in it: the page behind cannot be read then.
export function complain(text, retry) {
  byId("playerSaid").textContent = text && byId("player").open ? text : "";
  if (byId("playerSaid").textContent) return;
  const trouble = byId("trouble"), button = trouble.querySelector("button");
  trouble.hidden = !text;
  trouble.querySelector("p").textContent = text || "";
  button.hidden = !retry;
  button.onclick = retry || null;
}

export function showNothing(title, advice) {
  const nothing = byId("nothing");
  nothing.hidden = !title;
  nothing.querySelector("h2").textContent = title || "";
  nothing.querySelector("p").textContent = advice || "";
}
