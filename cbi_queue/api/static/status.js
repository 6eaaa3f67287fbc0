// Fetches the page every two seconds and changes only what differs, so that scroll, focus, an open fold and a selection
// stay. Old and new are compared by position: every section is always present. Nothing is fetched while the tab is hidden.
// Every <time> is shown in the reader's time zone.
"use strict";

const REFRESH_MS = 2000;
const TIMEOUT_MS = 10000;
const lost = document.getElementById("lost");
let lastSeen = new Date();
let timer = null;
let refreshing = false;

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
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.isEqualNode(fresh)) return;
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
  if (refreshing) return;
  refreshing = true;
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
    if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});

localise(document);
if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
