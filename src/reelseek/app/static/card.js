// A result as a card: its picture, where it lies, how well it matches, and what can be done with it.
import { byId, clock, element, icon, loadPicture, many, spanOf, stillAt, worth, worthSaid } from "./dom.js";
import { thumbs } from "./marks.js";
import { open } from "./player.js";
import { scrubbable } from "./scrub.js";

function small(name, label, title, act) {
  const button = element("button", "", `small to-${name}`);
  button.type = "button";
  button.title = title;
  button.setAttribute("aria-label", label);
  button.append(icon(name));
  button.onclick = act;
  return button;
}

// The same footage elsewhere, which was left out of the list for this hit.
function others(hit, made) {
  const bare = { side: hit.side, duration: hit.duration, scale: hit.scale, alike: [], then: null };
  const list = element("ol", "", "alike"), items = hit.alike.map((other) => ({ ...bare, ...other }));
  const toggle = element("button", `${hit.alike_count.toLocaleString("en")} more of the same`, "fold");
  list.hidden = true;
  list.setAttribute("aria-label", `The same as ${hit.name}`);
  toggle.type = "button";
  toggle.setAttribute("aria-expanded", "false");
  toggle.onclick = () => {
    list.hidden = !list.hidden;
    toggle.setAttribute("aria-expanded", !list.hidden);
  };
  list.append(...items.map((other, place) => {
    const line = element("li"), button = element("button", "", "same");
    button.type = "button";
    button.append(element("bdi", other.name), element("span", `${clock(other.start)} – ${clock(other.end)}`));
    button.title = `${other.folder}/${other.name}`;
    button.onclick = () => open(items, place, button);
    line.append(button);
    return line;
  }));
  const rest = hit.alike_count - items.length;
  if (rest) list.append(element("li", `and ${rest.toLocaleString("en")} more`, "rest"));
  made.append(toggle, list);
}

// items: all results of the list. actions: { query, like, why }; query is the sentence, empty where it is more than one.
export function card(items, place, best, actions) {
  const hit = items[place], made = byId("card").content.firstElementChild.cloneNode(true);
  const button = made.querySelector(".card"), number = place + 1;
  loadPicture(made.querySelector("img"), stillAt(hit, hit.peak), made);
  made.querySelector(".time").textContent = `${clock(hit.start)} – ${clock(hit.end)}`;
  made.querySelector(".name bdi").textContent = hit.name;
  made.querySelector(".folder bdi").textContent = hit.folder;
  made.querySelector(".bar span").style.width = best > 0 ? `${Math.max(0, 100 * hit.score / best)}%` : "0";
  made.querySelector(".value").textContent = worth(hit);
  if (hit.duration > 0) {
    const lies = made.querySelector(".lies");
    lies.style.left = `${100 * hit.start / hit.duration}%`;
    lies.style.width = `${100 * (Math.min(hit.end, hit.duration) - hit.start) / hit.duration}%`;
  }
  const then = hit.then ? `, then ${spanOf(hit.then)}` : "";
  if (hit.then) made.querySelector(".folder").before(element("span", `then ${clock(hit.then.start)} – ${clock(hit.then.end)}`, "then"));
  const heard = hit.heard ? `, said at ${clock(hit.heard.start)}: ${hit.heard.text}` : "";
  if (hit.heard) {
    const line = element("span", "", "heard");
    line.append(element("span", clock(hit.heard.start), "when"), element("bdi", `“${hit.heard.text}”`));
    made.querySelector(".folder").before(line);
  }
  button.title = `${hit.folder}/${hit.name}`;
  button.setAttribute("aria-label", `Result ${number}: ${hit.name}, ${spanOf(hit)}${then}${heard}, ${worthSaid(hit)}. Play.`);
  button.onclick = () => open(items, place, button);
  scrubbable(button, hit);
  const tools = made.querySelector(".tools");
  if (actions.query) tools.append(thumbs(hit, actions.query, number));
  tools.append(small("like", `More like result ${number}, ${hit.name}`, "More like this", () => actions.like(hit)));
  if (actions.query) {
    tools.append(small("why", `Why result ${number}, ${hit.name}, was found`, "Why", () => open(items, place, button, { why: true })));
  }
  if (hit.alike.length) others(hit, made);
  return made;
}

export function ghosts(count) {
  return Array.from({ length: count }, () => {
    const ghost = element("li", "", "ghost");
    ghost.setAttribute("aria-hidden", "true");
    ghost.append(element("span", "", "shot"), element("span", "", "name"), element("span", "", "folder"));
    return ghost;
  });
}

export const counted = (answer) =>
  many(answer.hits.length, answer.moments ? "moment" : "video", answer.moments ? "moments" : "videos");
