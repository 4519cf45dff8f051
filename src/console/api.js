// Requests to the server. The token is in this module's memory and nowhere else.

import { byId } from "./dom.js";

// For a request that was refused for lack of room: how often it is tried, and the longest wait between.
const TRIES = 6;
const LONGEST_WAIT_MS = 10000;

let token = "";
let asked = null;

/** An answer that is none: `message` is a sentence for people. */
export class ApiError extends Error {}

export async function models() {
  return (await json("v1/models")).models;
}

/** What the server refuses to serve, and why. */
export async function refused() {
  return (await json("models")).refused ?? [];
}

/** The OpenAPI document of the server's paths. */
export async function description() {
  return json("openapi.json");
}

export async function metrics() {
  return text("metrics");
}

/** Scores a file under a model, after those of other people if there is little room. */
export async function score(model, file) {
  return post(`${path(model)}:score?priority=bulk`, file);
}

/** The score, and images that show why. */
export async function explain(model, file) {
  return post(`${path(model)}:explain?form=tensor`, file);
}

function path(model) {
  return `v1/models/${encodeURIComponent(model.name)}/versions/${model.version}`;
}

async function post(address, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  return json(address, { method: "POST", body: file, headers });
}

/** The body of an answer, read as JSON. */
async function json(address, options) {
  const body = await text(address, options);
  try {
    return JSON.parse(body, exact);
  } catch {
    throw new ApiError("The server's answer cannot be read: expected JSON.");
  }
}

/** A version as it is written, where the browser tells that: above 2 ** 53 a number is another. */
function exact(name, value, written) {
  return name === "version" && typeof value === "number" ? (written?.source ?? value) : value;
}

async function text(address, options) {
  const response = await request(address, options);
  try {
    return await response.text();
  } catch {
    throw new ApiError("The server's answer ended early.");
  }
}

async function request(address, options = {}) {
  for (let attempt = 1; ; attempt++) {
    const used = token;
    const response = await send(address, options);
    if (response.ok) return response;
    if (response.status === 401) {
      // Another request may have asked meanwhile.
      if (token === used) await askForToken(used !== "");
      attempt = 0;
      continue;
    }
    const problem = (await response.json().catch(() => null)) ?? {};
    if ((response.status === 429 || response.status === 503) && attempt < TRIES) {
      const wait = problem.retry_after_ms ?? 1000 * Number(response.headers.get("Retry-After") ?? 1);
      await new Promise((done) => setTimeout(done, Math.min(wait || 1000, LONGEST_WAIT_MS)));
      continue;
    }
    throw new ApiError(problem.detail ?? `The server answered ${response.status}.`);
  }
}

async function send(address, options) {
  const headers = { ...options.headers };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  try {
    return await fetch(address, { ...options, headers, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new ApiError("The server cannot be reached, or the file cannot be read.");
  }
}

/** Waits until a token is entered; requests that lack one wait together. */
function askForToken(isWrong) {
  asked ??= new Promise((done) => {
    const form = byId("token-form");
    const input = byId("token");
    byId("token-reason").textContent = isWrong ? "The server did not accept the last one." : "";
    form.hidden = false;
    input.focus();
    const use = (event) => {
      event.preventDefault();
      // Headers hold printable ASCII.
      const entered = input.value.trim();
      if (!/^[\x21-\x7e]+$/.test(entered)) {
        byId("token-reason").textContent = "A token has letters, digits and signs of ASCII, and no spaces.";
        return;
      }
      form.removeEventListener("submit", use);
      token = entered;
      input.value = "";
      form.hidden = true;
      asked = null;
      done();
    };
    form.addEventListener("submit", use);
  });
  return asked;
}
