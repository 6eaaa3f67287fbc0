// Keeps a page live: the server's stream of changes says when to fetch it again, and only what differs is changed, so that
// scroll, focus, an open fold, a selection and a half-typed field stay. Without the stream it asks every two seconds; while
// the tab is hidden it asks once a minute, for its title and icon are seen all the same. Forms of the class `verb` are sent without leaving the page. Every <time> is shown
// in the reader's time zone.
"use strict";

const POLL_MS = 2000; // without a stream; also the shortest time between refreshes for what changes all the time
const CHECK_MS = 10000; // with a stream: ages and expiries change without an event
const HIDDEN_MS = 60000;
const URGENT_GAP_MS = 100;
const STREAM_AGAIN_MS = 60000;
const BEAT_MS = 4000;
const SILENCE_MS = 10000; // without a beat for so long, the tab that has the stream is no help
const TIMEOUT_MS = 10000;
const SAID_MS = 12000;
const GRADUAL = new Set(["progress", "governor"]);
const lost = document.getElementById("lost");
let lastSeen = new Date();
let timer = null;
let dueAt = Infinity;
let startedAt = 0;
let refreshing = false;
let again = false;

function localTime(at) {
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const today = at.toDateString() === new Date().toDateString();
  return today ? clock : `${at.toLocaleDateString([], { month: "short", day: "numeric" })} ${clock}`;
}

function minute(at) {
  return at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

function dayAndMinute(at) {
  return `${at.toLocaleDateString([], { weekday: "short", month: "short", day: "numeric" })}, ${minute(at)}`;
}

const FORMS = { short: dayAndMinute, clock: minute };

function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.getAttribute("datetime"));
    element.textContent = (FORMS[element.dataset.form] ?? localTime)(at);
    element.title = at.toISOString().replace("T", " ").replace(/\..*/, " UTC");
  }
}

// --- the page: old and new are compared by position, and by name where an element has one

function sameKind(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;
}

function nameOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  const name = node.id || ["action", "aria-labelledby", "aria-label"].map((each) => node.getAttribute(each)).find(Boolean);
  return name ? `${node.nodeName} ${name}` : null;
}

function named(nodes) {
  const found = new Map();
  for (const node of nodes) {
    const name = nameOf(node);
    if (name !== null) found.set(name, found.has(name) ? null : node); // two of one name are nobody's
  }
  for (const [name, node] of found) if (node === null) found.delete(name);
  return found;
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

function morphChildren(old, fresh) {
  const freshChildren = [...fresh.childNodes];
  const [there, wanted] = [named(old.childNodes), named(freshChildren)];
  const isNamed = (node) => there.get(nameOf(node)) === node;
  let at = old.firstChild;
  const drop = () => {
    const next = at.nextSibling;
    at.remove();
    at = next;
  };
  for (const child of freshChildren) {
    while (at && isNamed(at) && !wanted.has(nameOf(at))) drop();
    const name = nameOf(child);
    const known = wanted.get(name) === child ? there.get(name) : undefined;
    if (known) {
      if (known === at) at = at.nextSibling;
      else old.insertBefore(known, at);
      morph(known, child);
    } else if (wanted.get(name) !== child && at && !isNamed(at)) {
      if (sameKind(at, child)) {
        const same = at;
        at = at.nextSibling;
        morph(same, child);
      } else {
        old.insertBefore(document.importNode(child, true), at);
        drop();
      }
    } else old.insertBefore(document.importNode(child, true), at);
  }
  while (at) drop();
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.isEqualNode(fresh)) return;
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
}

class NoPage extends Error {}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const content = fresh.getElementById("live");
  if (content === null) throw new NoPage();
  localise(content);
  notices.dress(content);
  const focused = document.activeElement;
  morph(document.getElementById("live"), content);
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  mark(fresh.title, fresh.querySelector("link[rel=icon]")?.getAttribute("href"));
  lastSeen = new Date();
  lost.hidden = true;
  document.body.classList.remove("stale");
}

function mark(title, address) {
  const icon = document.querySelector("link[rel=icon]");
  if (document.title !== title) document.title = title;
  if (address && icon.getAttribute("href") !== address) icon.href = address;
}

function showLost(error) {
  const what = error instanceof NoPage ? "The server sends no status page" : "Server not reachable";
  const words = `${what} since ${localTime(lastSeen)}. This page shows the state at that time. To start the server: cbi-queue serve`;
  if (lost.textContent !== words) lost.textContent = words;
  lost.hidden = false;
  mark("(!) no answer · cbi-queue", "/static/icon-alarm.svg");
  document.body.classList.add("stale");
}

// --- when it is fetched

function refreshIn(wait) {
  const at = performance.now() + Math.max(0, wait);
  if (timer !== null && dueAt <= at) return;
  clearTimeout(timer);
  dueAt = at;
  timer = setTimeout(refresh, Math.max(0, wait));
}

function rest() {
  clearTimeout(timer);
  timer = null;
}

async function refresh() {
  rest();
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  again = false;
  startedAt = performance.now();
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
    if (document.hidden) refreshIn(HIDDEN_MS);
    else {
      if (again) refreshIn(startedAt + URGENT_GAP_MS - performance.now());
      else refreshIn(stream.isOpen() && lost.hidden ? CHECK_MS : POLL_MS);
    }
  }
}

function onChange(parts) {
  if (document.hidden) return;
  const isGradual = parts.every((part) => GRADUAL.has(part));
  if (refreshing && !isGradual) again = true;
  else refreshIn(startedAt + (isGradual ? POLL_MS : URGENT_GAP_MS) - performance.now());
}

// --- the stream: one tab of a browser has it and passes on what it hears, for browsers open six connections to a server
// and no more; another tab takes over when that one is closed or hidden

const stream = {
  NAME: "cbi-queue.stream",
  source: null,
  retry: null,
  quit: null,
  heardAt: -Infinity,
  channel: new BroadcastChannel("cbi-queue.stream"),
  isOpen() {
    if (this.source !== null) return this.source.readyState === EventSource.OPEN;
    return performance.now() - this.heardAt < SILENCE_MS;
  },
  hear({ isOpen, changed }) {
    this.heardAt = isOpen ? performance.now() : -Infinity;
    if (!isOpen && !document.hidden) refreshIn(0); // says that the server is lost, or goes on by polling
    if (changed) onChange(changed);
  },
  pass(heard) {
    this.hear(heard);
    this.channel.postMessage(heard);
  },
  open() {
    const source = new EventSource("/api/v1/events/stream");
    this.source = source;
    source.addEventListener("hello", () => this.pass({ isOpen: true, changed: [] }));
    source.addEventListener("change", (event) => {
      const { changed, told } = JSON.parse(event.data);
      this.pass({ isOpen: true, changed });
      told.forEach((one) => notices.tell(one));
    });
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.pass({ isOpen: false });
      if (source.readyState !== EventSource.CLOSED) return;
      this.source = null; // refused: too many are open, perhaps
      this.retry = setTimeout(() => this.open(), STREAM_AGAIN_MS);
    });
  },
  close() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  },
  join() {
    if (!navigator.locks) {
      this.quit = () => this.close(); // another machine's page: each tab has a stream of its own
      this.open();
      return;
    }
    const over = new AbortController();
    const beat = () => this.isOpen() && this.channel.postMessage({ isOpen: true });
    const lead = () => {
      this.open();
      const pulse = setInterval(beat, BEAT_MS);
      return new Promise((done) => over.signal.addEventListener("abort", done)).then(() => clearInterval(pulse));
    };
    this.quit = () => {
      over.abort();
      this.close();
    };
    navigator.locks.request(this.NAME, { signal: over.signal }, lead).catch(() => {});
  },
  settle() {
    const isWanted = !document.hidden || notices.isOn;
    if (isWanted && this.quit === null) this.join();
    if (!isWanted) this.leave();
  },
  leave() {
    this.quit?.();
    this.quit = null;
  },
};

stream.channel.addEventListener("message", (event) => stream.hear(event.data));
document.addEventListener("visibilitychange", () => {
  rest();
  if (document.hidden) refreshIn(HIDDEN_MS);
  else refresh();
  stream.settle();
});
window.addEventListener("pagehide", () => stream.leave());
window.addEventListener("pageshow", (event) => event.persisted && stream.settle());

// --- notifications of the browser, when the reader asked for them: by the tab that has the stream, also a hidden one

const notices = {
  KEY: "cbi-queue.notify",
  isPossible: "Notification" in window && Boolean(navigator.locks),
  get isOn() {
    return this.isPossible && Notification.permission === "granted" && localStorage.getItem(this.KEY) === "yes";
  },
  tell({ key, event, job, words }) {
    if (!this.isOn) return;
    const title = event === "plan_done" ? "The plan is done" : `${job} failed`;
    const notice = new Notification(title, { body: words, tag: key, icon: "/static/icon-alarm.svg" });
    notice.onclick = () => {
      window.focus();
      window.location.href = job ? `/jobs/${encodeURIComponent(job)}` : "/status";
    };
  },
  dress(root) {
    const button = root.querySelector(".notify");
    if (button === null || !this.isPossible) return;
    button.textContent = this.isOn ? "Stop notifications in this browser" : "Notify me here of failures and the end of a plan";
    button.hidden = Notification.permission === "denied"; // only the browser's settings can change that
    button.setAttribute("aria-pressed", String(this.isOn));
  },
  show() {
    this.dress(document);
    stream.settle();
  },
  async change() {
    if (this.isOn) localStorage.removeItem(this.KEY);
    else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(this.KEY, "yes");
    this.show();
  },
  start() {
    if (!this.isPossible) return;
    document.addEventListener("click", (event) => event.target.matches(".notify") && this.change());
    window.addEventListener("storage", (event) => event.key === this.KEY && this.show());
    this.dress(document);
  },
};

// --- forms

const said = document.createElement("p");
said.id = "said";
said.className = "toast";
said.setAttribute("role", "status");
lost.before(said);
let silence = null;

function say(words, isBad) {
  clearTimeout(silence);
  said.textContent = words;
  said.classList.toggle("bad", isBad);
  if (!isBad) silence = setTimeout(() => said.replaceChildren(), SAID_MS);
}

said.addEventListener("click", () => said.replaceChildren());

async function send(form, submitter) {
  const body = new URLSearchParams(new FormData(form, submitter));
  form.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const told = await answer.json();
    if (answer.ok) {
      form.reset();
      form.closest("details")?.removeAttribute("open");
    }
    say(answer.ok ? told.words : `Not done: ${told.detail}${told.hint ? ` (${told.hint})` : ""}`, !answer.ok);
  } catch {
    say("No answer came from the server, so it is not known whether this was done. The page shows it once the server answers.", true);
  } finally {
    form.removeAttribute("aria-busy");
    refresh();
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form.verb") || event.defaultPrevented) return;
  event.preventDefault();
  if (!form.hasAttribute("aria-busy")) send(form, event.submitter);
});

localise(document);
notices.start();
stream.settle();
refreshIn(document.hidden ? HIDDEN_MS : POLL_MS);
