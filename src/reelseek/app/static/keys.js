// Keys outside the dialogs: / to the search box, arrows through the results, Escape back.
import { byId } from "./dom.js";

const query = byId("query");

function moveAmong(list, key) {
  const cards = [...list.querySelectorAll(".card")], here = cards.indexOf(document.activeElement);
  if (!cards.length) return false;
  if (here < 0) {
    if (key !== "ArrowDown") return false;
    cards[0].focus();
    return true;
  }
  const columns = getComputedStyle(list).gridTemplateColumns.split(" ").length;
  const there = here + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (there < 0 && key === "ArrowUp") query.focus();
  else if (cards[there]) cards[there].focus();
  return true;
}

export function walk(list) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey && event.key !== "/" || document.querySelector("dialog[open]")) return;
    const focused = document.activeElement, typing = focused.matches("input, select, textarea");
    if (event.key === "/" && !(typing && focused.type !== "radio" && focused.type !== "checkbox")) {
      event.preventDefault();
      query.focus();
      query.select();
    } else if (event.key === "Escape" && focused !== query) {
      query.focus();
    } else if (event.key.startsWith("Arrow") && (!typing || focused === query && event.key === "ArrowDown")) {
      if (moveAmong(list, event.key)) event.preventDefault();
    }
  });
}
