// A look through a video on its thumbnail: the pointer, a finger or Shift and an arrow key move through a few stills.
// They are fetched one at a time, and only for the card that is looked at.
import { clock, stillAt } from "./dom.js";

const MOST_STILLS = 8, DWELL = 140;
const loaded = new Map();  // address -> whether its picture came
let looked = null;         // what is looked at: { card, hit, times, slot }
let fetching = false;

function timesOf(hit) {
  const count = Math.min(MOST_STILLS, Math.floor(hit.duration || 0));
  return Array.from({ length: count }, (_, place) => Number((hit.duration * (place + 0.5) / count).toFixed(2)));
}

// The wanted still, or the nearest to it that is there.
function nearest(times, hit, slot, wanted) {
  const fits = times.map((time, place) => [Math.abs(place - slot), place]).filter(([, place]) => wanted(stillAt(hit, times[place])));
  return fits.length ? fits.sort((a, b) => a[0] - b[0])[0][1] : -1;
}

async function fetchStills() {
  if (fetching) return;
  fetching = true;
  while (looked) {
    const { hit, times, slot } = looked, next = nearest(times, hit, slot, (address) => !loaded.has(address));
    if (next < 0) break;
    const address = stillAt(hit, times[next]), image = new Image();
    image.src = address;
    loaded.set(address, await image.decode().then(() => true, () => false));
    show();
  }
  fetching = false;
}

function show() {
  if (!looked) return;
  const { card, hit, times, slot } = looked, there = nearest(times, hit, slot, (address) => loaded.get(address));
  if (there < 0) return;
  const still = card.querySelector(".still");
  still.src = stillAt(hit, times[there]);
  still.hidden = false;
  card.classList.add("scrubbing");
  card.querySelector(".needle").style.left = `${100 * times[slot] / hit.duration}%`;
  card.querySelector(".seen").textContent = clock(times[slot]);
}

function look(card, hit, slot) {
  const times = looked && looked.card === card ? looked.times : timesOf(hit);
  if (times.length < 2) return;
  if (looked && looked.card !== card) leave(looked.card);
  looked = { card, hit, times, slot: Math.min(times.length - 1, Math.max(0, slot(times))) };
  show();
  fetchStills();
}

function leave(card) {
  if (looked && looked.card === card) looked = null;
  card.classList.remove("scrubbing");
  card.querySelector(".still").hidden = true;
}

// button: the card, with .still, .needle and .seen in its .shot.
export function scrubbable(button, hit) {
  const shot = button.querySelector(".shot");
  let dwelling = 0, touched = null, moved = false;
  const at = (event) => {
    const box = shot.getBoundingClientRect();
    return (times) => Math.floor(times.length * (event.clientX - box.left) / box.width);
  };
  shot.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") {
      if (touched === null || Math.abs(event.clientX - touched) < 8 && !moved) return;
      moved = true;
      look(button, hit, at(event));
    } else if (looked && looked.card === button) {
      look(button, hit, at(event));
    } else {
      clearTimeout(dwelling);
      dwelling = setTimeout(() => look(button, hit, at(event)), DWELL);
    }
  });
  shot.addEventListener("pointerdown", (event) => {
    [touched, moved] = [event.pointerType === "touch" ? event.clientX : null, false];
  });
  for (const end of ["pointerleave", "pointercancel"]) {
    shot.addEventListener(end, () => {
      clearTimeout(dwelling);
      touched = null;
      leave(button);
    });
  }
  // a finger that went through the stills does not open the player
  button.addEventListener("click", (event) => {
    if (moved && event.detail) event.stopImmediatePropagation();
    moved = false;
  }, true);
  button.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!event.shiftKey || !by) return;
    event.preventDefault();
    event.stopPropagation();
    const here = looked && looked.card === button ? looked.slot + by : 0;
    look(button, hit, () => here);
  });
  button.addEventListener("blur", () => leave(button));
}
