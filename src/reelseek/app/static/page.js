// The search page: asks, shows the answers, keeps what was asked in the address, and walks by keys.
import { address, asked, canShowMore, clear, recall, showChips, showMore, showWhatServes, startOver } from "./asked.js";
import { card, counted, ghosts } from "./card.js";
import { comparing, emptySides, nameSides, PATIENCE, searchSides } from "./compare.js";
import { briefly, byId, complain, say, shortened, showNothing } from "./dom.js";
import { library, watchLibrary } from "./library.js";
import { readMarks } from "./marks.js";
import * as picture from "./picture.js";
import * as player from "./player.js";
import { search } from "./server.js";
import { walk } from "./keys.js";

const form = byId("form"), query = byId("query"), results = byId("results");
let running = null;  // the AbortController of the search under way
let pending = "";    // and its address

// ---- results

function like(hit) {
  query.value = "";
  picture.chooseMoment(hit);
  go();
  scrollTo({ top: 0 });
}

function showResults(answer, grown, actions) {
  const hits = answer.hits.map((hit) => ({ ...hit, side: "" }));
  const best = Math.max(...hits.map((hit) => hit.score)), had = results.querySelectorAll(".card").length;
  results.replaceChildren(...hits.map((hit, place) => card(hits, place, best, actions)));
  results.classList.toggle("faint", answer.nothing_matches);
  if (grown && had && had < hits.length) results.querySelectorAll(".card")[had].focus({ preventScroll: true });
  return { answers: [answer], hits: hits.length, said: `${counted(answer)}, best match first · ${briefly(answer.seconds)}` };
}

function clearResults() {
  results.replaceChildren();
  emptySides();
}

function tell(found) {
  byId("showMore").hidden = !found.answers.some((answer) => canShowMore(answer.hits.length));
  showNote(found.answers);
  say(found.hits ? found.said : "");
  if (found.hits) return;
  if (library() && !library().videos) showNothing("This index holds no videos yet.", "Index a folder, then search again.");
  else if (byId("chips").childElementCount) showNothing("Nothing was found.", "The filters leave no video. Take one of them away.");
  else showNothing("Nothing was found.", "Try other words, or describe what can be seen.");
}

function showNote(answers) {
  const none = answers.every((answer) => answer.nothing_matches) && "Nothing here matches; these are the nearest.";
  const words = [...new Set([...answers.map((answer) => answer.note), none])].filter(Boolean).join(" ");
  byId("note").hidden = !words;
  byId("note").textContent = words;
}

// grown: the same question for more of its answers.
async function find(grown = false) {
  if (running) running.abort();
  running = null;
  pending = "";
  const wanted = asked(), from = document.activeElement;
  byId("toCompare").href = `/compare${location.search}`;
  if (comparing) document.querySelector(".mark").href = `/${location.search}`;
  complain("");
  showNothing("");
  showChips(go);
  document.body.classList.toggle("searched", !wanted.empty);
  document.title = wanted.empty ? "reelseek" : `${shortened(wanted.described, 60)} · reelseek`;
  byId("start").hidden = true;
  byId("showMore").hidden = true;
  if (wanted.empty) {
    byId("note").hidden = true;
    clearResults();
    results.removeAttribute("aria-busy");
    say("");
    showStart();
    return;
  }
  pending = address();
  const mine = running = new AbortController(), actions = { query: wanted.sentence, like };
  player.use(actions);
  say("Searching…");
  // a list that grows stays
  const waiting = comparing || grown ? 0 : setTimeout(() => results.replaceChildren(...ghosts(8)), PATIENCE);
  results.setAttribute("aria-busy", "true");
  try {
    if (comparing) {
      tell(await searchSides(wanted, mine.signal, actions));
    } else {
      const answer = await search(wanted, "", mine.signal);
      clearTimeout(waiting);
      tell(showResults(answer, grown, actions));
    }
  } catch (error) {
    clearTimeout(waiting);
    if (mine !== running) return;
    byId("note").hidden = true;
    clearResults();
    say("");
    complain(error.message, [400, 404, 413, 415].includes(error.status) ? null : () => find());
  }
  clearTimeout(waiting);
  if (mine !== running) return;
  pending = "";
  results.removeAttribute("aria-busy");
  if (!from.isConnected && document.activeElement === document.body) focusResults();
}

// For who asked by a chip or a result, which is gone now: the keyboard would begin at the top of the page again.
function focusResults() {
  const first = document.querySelector(".results .card");
  if (first) first.focus({ preventScroll: true });
  else byId("nothing").focus();
}

function showStart() {
  const idle = !document.body.classList.contains("searched"), known = library();
  byId("start").hidden = !(idle && known && known.videos);
  if (idle && known && !known.videos) showNothing("This index holds no videos yet.", "Index a folder, then reload this page.");
  else if (idle) showNothing("");
}

// ---- the address

// Asks what the form says now, under an address of its own.
function go() {
  startOver();
  const wanted = address();
  if (wanted === pending) return;  // Enter in a field is a change and a submission
  if (wanted !== location.pathname + location.search) history.pushState(null, "", wanted);
  find();
}

function restore() {
  const whole = recall();
  find();
  if (!whole) complain("The picture of this search is not here any more. Choose it again.");
}

// ---- the form

function showFilters(open) {
  byId("more").hidden = !open;
  byId("moreButton").setAttribute("aria-expanded", open);
}

byId("moreButton").onclick = () => showFilters(byId("more").hidden);
byId("clear").onclick = () => {
  clear();
  changed();
};
byId("showMore").onclick = () => {
  recall();  // more of what is shown, not of what stands in the box unsent
  showMore();
  history.replaceState(null, "", address());
  find(true);
};

// A filter alone asks nothing; it narrows what is asked already.
function changed() {
  if (asked().empty) showChips(changed);
  else go();
}

form.addEventListener("change", (event) => { if (![query, byId("file")].includes(event.target)) changed(); });
form.addEventListener("input", showWhatServes);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
window.addEventListener("popstate", () => {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  restore();
});

byId("theme").onclick = () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
    !document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  } catch { /* storage may be forbidden: it holds for this visit */ }
};

if (comparing) {
  document.body.classList.add("comparing");
  [results.hidden, byId("sides").hidden] = [true, false];
  byId("hello").textContent = "Two models, one query.";
  byId("toCompare").setAttribute("aria-current", "page");
  nameSides();
}
picture.watch(go);
walk();
watchLibrary(showStart, (folder) => {
  byId("below").value = folder;
  if (asked().empty) query.focus();
  changed();
});
restore();
for (const side of comparing ? ["", "/b"] : [""]) readMarks(side);
if (!new URLSearchParams(location.search).get("q")) query.focus();
