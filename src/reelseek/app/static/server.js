// Asking the server. Nothing is fetched from anywhere else.
import { say } from "./dom.js";

const MOST_RETRIES = 4;

class Refused extends Error {
  constructor(message, status, wait) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

export async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is reelseek serve still running?", 0, 0);
  }
  let body = {};
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // a refusal may come without a sentence, an answer not
    if (answer.ok) throw new Refused("The answer broke off. Is reelseek serve still running?", 0, 0);
  }
  if (!answer.ok) {
    throw new Refused(body.error || `The server answered ${answer.status}.`, answer.status, Number(answer.headers.get("Retry-After")) || 1);
  }
  return body;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// Comes again a few times where the server is busy, and tells so.
export async function askPatiently(address, options, tell) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(address, options);
    } catch (error) {
      if (error.status !== 429 || tries >= MOST_RETRIES) throw error;
      tell("The server is busy; waiting for its turn…");
      await pause(error.wait);
      if (options.signal.aborted) throw new DOMException("aborted", "AbortError");
    }
  }
}

// side: "" for the server's index, "/b" for the one it is compared with.
export function search(asked, side, signal) {
  const parts = asked.parameters();
  if (asked.file) {
    const headers = { "Content-Type": asked.file.type };
    return askPatiently(`${side}/api/search?${parts}`, { method: "POST", body: asked.file, headers, signal }, say);
  }
  if (!asked.like) return askPatiently(`${side}/api/search?${parts}`, { signal }, say);
  parts.set("id", asked.like.id);
  parts.set("t", asked.like.t);
  return askPatiently(`${side}/api/similar?${parts}`, { signal }, say);
}
