// Keeps an open page true. The server tells of every change (server-sent events); this script then fetches the page and
// changes only what differs, so that scroll, focus, an open fold, a selection and a half-filled form stay. Without the
// stream it asks every two seconds. Old and new are compared by position: every section is always present. Nothing is
// fetched while the tab is hidden. Every <time> is shown in the reader's time zone. Forms of the class `verb` are sent
// without leaving the page, and what came of it is said.
"use strict";

const POLL_MS = 2000;
const CALM_MS = 5000; // with the stream: for what changes by the passing of time, such as a worker that died
const APART_MS = 250;
const STREAM_AGAIN_MS = 30000;
const TIMEOUT_MS = 10000;
const SAID_MS = 10000;
const isStill = document.querySelector("meta[name=still]") !== null; // the answer to a form: there is nothing to fetch
const lost = document.getElementById("lost");
const typedIn = new WeakSet();
let lastSeen = new Date();
let timer = null;
let lastFetch = -Infinity;
let refreshing = false;
let isStale = false;
let stream = null;
let streamAgainAt = 0;

function localTime(at) {
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock : `${at.toLocaleDateString([], { month: "short", day: "numeric" })} ${clock}`;
}

function dayAndMinute(at) {
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return `${at.toLocaleDateString([], { weekday: "short", day: "numeric" })}, ${clock}`;
}

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.getAttribute("datetime"));
    const shown = element.dataset.form === "short" ? dayAndMinute(at) : localTime(at);
    element.textContent = shown;
    element.title = at.toISOString().replace("T", " ").replace(/\..*/, " UTC");
  }
}

function sameKind(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return false;
  return old.nodeName !== "FORM" || old.getAttribute("action") === fresh.getAttribute("action");
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

// A form that somebody is filling in stays as it is, as long as it may still be sent.
function isInUse(old, fresh) {
  if (old.nodeName !== "FORM") return false;
  const isFree = (form) => form.querySelector("button:not([disabled])") !== null;
  const focused = document.activeElement;
  const isBusy = typedIn.has(old) || old.matches(".sending") || (old.contains(focused) && focused.matches("input, select, textarea"));
  return isBusy && isFree(old) === isFree(fresh);
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.isEqualNode(fresh) || isInUse(old, fresh)) return;
  morphAttributes(old, fresh);
  const oldChildren = [...old.childNodes];
  const freshChildren = [...fresh.childNodes];
  freshChildren.forEach((child, position) => {
    const there = oldChildren[position];
    if (there === undefined) old.appendChild(document.importNode(child, true));
    else if (sameKind(there, child)) morph(there, child);
    else there.replaceWith(document.importNode(child, true));
  });
  oldChildren.slice(freshChildren.length).forEach((child) => child.remove());
}

class NoPage extends Error {}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const content = fresh.getElementById("live");
  if (content === null) throw new NoPage();
  localise(content);
  morph(document.getElementById("live"), content);
  if (document.title !== fresh.title) document.title = fresh.title;
  const [icon, freshIcon] = [document, fresh].map((page) => page.querySelector("link[rel=icon]"));
  if (freshIcon && icon.getAttribute("href") !== freshIcon.getAttribute("href")) icon.href = freshIcon.getAttribute("href");
  lastSeen = new Date();
  lost.hidden = true;
  document.body.classList.remove("stale");
}

function showLost(error) {
  const what = error instanceof NoPage ? "The server sends no status page" : "Server not reachable";
  const words = `${what} since ${localTime(lastSeen)}. This page shows the state at that time. To start the server: cbi-queue serve`;
  if (lost.textContent !== words) lost.textContent = words;
  lost.hidden = false;
  document.body.classList.add("stale");
}

async function refresh() {
  if (isStill) return;
  if (refreshing) {
    isStale = true;
    return;
  }
  refreshing = true;
  isStale = false;
  lastFetch = performance.now();
  clearTimeout(timer);
  try {
    const answer = await fetch(window.location.href, {
      headers: { Accept: "text/html" },
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    show(await answer.text());
  } catch (error) {
    showLost(error);
  } finally {
    refreshing = false;
    plan(isStale ? APART_MS : hasStream() ? CALM_MS : POLL_MS);
  }
}

function plan(after) {
  clearTimeout(timer);
  if (document.hidden || isStill) return;
  timer = setTimeout(() => {
    listen();
    refresh();
  }, after);
}

const hasStream = () => stream !== null && stream.readyState === EventSource.OPEN;

function changed(event) {
  const what = event.data ? JSON.parse(event.data).what : [];
  const isSlow = what.length > 0 && what.every((each) => each === "progress" || each === "governor");
  if (refreshing) isStale = isStale || !isSlow;
  else plan(Math.max(0, (isSlow ? POLL_MS : APART_MS) - (performance.now() - lastFetch)));
}

// The stream is closed while the tab is hidden: a browser has only six connections to a server for all of its tabs.
function listen() {
  if (isStill || document.hidden || stream !== null || performance.now() < streamAgainAt) return;
  stream = new EventSource("/api/v1/events/stream");
  stream.addEventListener("hello", changed); // a change may have come between the page and the stream
  stream.addEventListener("change", changed);
  stream.addEventListener("error", () => {
    if (stream !== null && stream.readyState === EventSource.CLOSED) {
      stream = null; // refused: there are too many, or this browser lost its right
      streamAgainAt = performance.now() + STREAM_AGAIN_MS;
    }
    plan(APART_MS);
  });
}

function unlisten() {
  stream?.close();
  stream = null;
}

const said = document.createElement("p");
said.id = "said";
said.setAttribute("role", "status");
said.setAttribute("aria-live", "polite");
document.body.append(said);
let saidTimer = null;

function say(words, isBad) {
  clearTimeout(saidTimer);
  said.textContent = words;
  said.classList.toggle("bad", isBad);
  saidTimer = setTimeout(() => { said.textContent = ""; }, isBad ? 3 * SAID_MS : SAID_MS);
}

async function send(form, submitter) {
  const fields = new URLSearchParams(new FormData(form, submitter));
  form.classList.add("sending");
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: fields,
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const told = await answer.json();
    if (!answer.ok) {
      say([told.detail, told.hint].filter(Boolean).join(" — "), true);
      return;
    }
    say(told.words, false);
    typedIn.delete(form);
    form.reset();
    form.closest("details.menu")?.removeAttribute("open");
  } catch {
    say("The server did not answer, so whether this was done is not known. The page shows it once the server is back.", true);
  } finally {
    form.classList.remove("sending");
    refresh();
  }
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.verb") || isStill) return;
  event.preventDefault();
  if (!event.target.matches(".sending")) send(event.target, event.submitter);
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form.verb");
  if (form) typedIn.add(form);
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) unlisten();
  else {
    streamAgainAt = 0;
    listen();
    refresh();
  }
});

window.addEventListener("pagehide", unlisten);
window.addEventListener("pageshow", (event) => {
  if (event.persisted && !document.hidden) plan(0);
});

localise(document);
listen();
plan(POLL_MS);
