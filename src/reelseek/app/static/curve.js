// The seek bar of the player: the match of every stored frame with the sentence as a curve, and where the hits lie.
import { byId, clock, drawn } from "./dom.js";

const MOST_POINTS = 600, STEPS = 40;
const bar = byId("curve"), [whole, played] = bar.querySelectorAll("svg");
let seek = () => {};
let shown = { duration: 0, times: [], scores: [] };

const within = (time) => Math.min(1, Math.max(0, time / shown.duration));

// The best of each stretch: what stands out must not be lost where a video has more frames than the bar has pixels.
export function thinned(times, scores, most = MOST_POINTS) {
  if (times.length <= most) return times.map((time, place) => [time, scores[place]]);
  return Array.from({ length: most }, (_, stretch) => {
    const from = Math.floor(stretch * times.length / most), to = Math.floor((stretch + 1) * times.length / most);
    let best = from;
    for (let place = from; place < to; place += 1) if (scores[place] > scores[best]) best = place;
    return [times[best], scores[best]];
  });
}

function path() {
  const points = thinned(shown.times, shown.scores), values = points.map(([, score]) => score);
  const low = Math.min(...values), high = Math.max(...values);
  const up = (score) => (high > low ? 86 - 74 * (score - low) / (high - low) : 50).toFixed(1);
  const line = points.map(([time, score]) => `${(1000 * within(time)).toFixed(1)} ${up(score)}`);
  return `M0 ${up(values[0])} L${line.join(" L")} L1000 ${up(values.at(-1))}`;
}

// spans: [{ start, end, here }]; curve: { times, scores } or null; duration in seconds.
export function showCurve(duration, curve, spans, act) {
  shown = { duration: Math.max(duration, 0.1), times: curve ? curve.times : [], scores: curve ? curve.scores : [] };
  seek = act;
  bar.classList.toggle("flat", !shown.times.length);
  const marks = spans.flatMap(({ start, end, here }) => {
    const x = 1000 * within(start), width = Math.max(3, 1000 * within(end) - x), name = here ? "span here" : "span";
    const place = { x: x.toFixed(1), width: width.toFixed(1), y: 0 };
    return [drawn("rect", { ...place, class: `${name} tint`, height: 100 }), drawn("rect", { ...place, class: name, height: 6 })];
  });
  if (shown.times.length) {
    const line = path();
    whole.replaceChildren(...marks, drawn("path", { class: "area", d: `${line} L1000 100 L0 100 Z` }), drawn("path", { class: "line", d: line }));
    played.replaceChildren(drawn("path", { class: "area", d: `${line} L1000 100 L0 100 Z` }));
  } else {
    whole.replaceChildren(...marks);
    played.replaceChildren(drawn("rect", { class: "area", x: 0, y: 0, width: 1000, height: 100 }));
  }
  bar.setAttribute("aria-valuemax", shown.duration.toFixed(1));
  byId("curveSaid").textContent = inWords(spans.find((span) => span.here));
}

function inWords(span) {
  const lies = span ? ` The result lies at ${clock(span.start)} to ${clock(span.end)}.` : "";
  if (!shown.times.length) return `The video lasts ${clock(shown.duration)}.${lies}`;
  const order = shown.times.map((time, place) => [shown.scores[place], time]).sort((a, b) => b[0] - a[0]);
  const [high, low] = [order[0], order.at(-1)].map(([score, time]) => `${score.toFixed(3)} at ${clock(time)}`);
  return `The match over ${clock(shown.duration)}: highest ${high}, lowest ${low}.${lies}`;
}

function nearest(time) {
  return shown.times.reduce((best, other, place) => Math.abs(other - time) < Math.abs(shown.times[best] - time) ? place : best, 0);
}

function told(time) {
  const match = shown.times.length ? `, match ${shown.scores[nearest(time)].toFixed(3)}` : "";
  return `${clock(time)}${match}`;
}

export function showAt(time) {
  const share = `${100 * within(time)}%`;
  bar.querySelector(".at").style.left = share;
  played.style.clipPath = `inset(0 calc(100% - ${share}) 0 0)`;
  bar.setAttribute("aria-valuenow", time.toFixed(1));
  bar.setAttribute("aria-valuetext", told(time));
}

function timeOf(event) {
  const box = bar.getBoundingClientRect();
  return shown.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}

bar.addEventListener("pointerdown", (event) => {
  bar.setPointerCapture(event.pointerId);
  seek(timeOf(event));
});
bar.addEventListener("pointermove", (event) => {
  const time = timeOf(event), hint = bar.querySelector(".hover");
  hint.textContent = told(time);
  hint.style.left = `${Math.min(92, Math.max(8, 100 * within(time)))}%`;
  if (event.buttons) seek(time);
});

// By stored frames where there are any, else by parts of the video.
function stepped(by) {
  const now = Number(bar.getAttribute("aria-valuenow"));
  if (!shown.times.length) return Math.min(shown.duration, Math.max(0, now + by * shown.duration / STEPS));
  return shown.times[Math.min(shown.times.length - 1, Math.max(0, nearest(now) + by))];
}

bar.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  seek(stepped(by));
});
