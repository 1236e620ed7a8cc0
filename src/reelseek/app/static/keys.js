// Keys outside the dialogs: / to the search box, arrows through the results, Escape back.
import { byId } from "./dom.js";

const query = byId("query");

// Side by side there are two lists: left and right lead to the same place of the other.
function moveAmong(key) {
  const lists = [...document.querySelectorAll(".results")].map((list) => [...list.querySelectorAll(".card")]).filter((cards) => cards.length);
  const focused = document.activeElement;
  if (focused === query) {
    if (key !== "ArrowDown" || !lists.length) return false;
    lists[0][0].focus();
    return true;
  }
  // a result has more buttons than its card
  const line = focused.closest(".results > li"), mine = lists.find((cards) => cards.some((card) => card.parentElement === line));
  if (!mine) return false;
  const here = mine.findIndex((card) => card.parentElement === line), across = key === "ArrowLeft" || key === "ArrowRight";
  const columns = lists.length > 1 ? 1 : getComputedStyle(focused.closest(".results")).gridTemplateColumns.split(" ").length;
  const there = across && lists.length > 1 ? here : here + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const list = across && lists.length > 1 ? lists[key === "ArrowLeft" ? 0 : 1] : mine;
  if (there < 0 && key === "ArrowUp") query.focus();
  else if (list[there]) list[there].focus();
  return true;
}

export function walk() {
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
      if (moveAmong(event.key)) event.preventDefault();
    }
  });
}
