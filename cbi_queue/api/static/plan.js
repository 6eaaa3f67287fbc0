// Checks the plan while it is written: by the request of the button Check, so that both say the same, one request at a time.
// What the server answers is shown below the text; a line that it names is a link into the text.
"use strict";

const QUIET_MS = 600;
const TIMEOUT_MS = 60000; // the server gives up after 45 s
const LINE_END = /\r\n|[\n\r\u0085\u2028\u2029]/g; // what ends a line in YAML
const form = document.querySelector(".plan-form");
const text = document.getElementById("yaml");
const checkButton = form.querySelector("[value=check]");
const saying = document.getElementById("saying");
const found = document.getElementById("found");
let timer = null;
let checking = false;
let checked = text.value;

async function check() {
  timer = null;
  const sent = text.value;
  if (checking || sent === checked) return;
  checking = true;
  checked = sent;
  try {
    if (sent.trim() === "") return show("", null);
    saying.textContent = "Checking…";
    const body = new URLSearchParams({ yaml: sent, do: "check" });
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const outcome = page.getElementById("outcome");
    if (outcome === null) show(`Not checked: ${page.querySelector("main p")?.textContent ?? `the server answered ${answer.status}`}`, null);
    else show(outcome.querySelector("h2").textContent, outcome);
  } catch {
    show("Not checked: no answer came from the server. It is tried again when you go on.", null);
    checked = null;
  } finally {
    checking = false;
    if (text.value !== sent) wait();
  }
}

function show(words, outcome) {
  for (const id of ["outcome", "plan-text"]) document.getElementById(id)?.remove(); // of the text as it was
  text.setAttribute("aria-invalid", String(outcome !== null && outcome.querySelector(".complaints") !== null));
  saying.textContent = words;
  found.replaceChildren();
  if (outcome === null) return;
  outcome.querySelector("h2").remove(); // is said already
  for (const link of outcome.querySelectorAll("a[href^='#line-']")) link.href = "#yaml";
  found.append(...[...outcome.childNodes].map((node) => document.importNode(node, true)));
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(check, QUIET_MS);
}

function select(number) {
  let [start, end] = [0, text.value.length];
  let line = 1;
  for (const { index, 0: written } of text.value.matchAll(LINE_END)) {
    if (line === number) {
      end = index;
      break;
    }
    line += 1;
    start = index + written.length;
  }
  text.focus();
  text.setSelectionRange(start, end);
  text.scrollTop = ((number - 1) / text.value.split("\n").length) * text.scrollHeight - text.clientHeight / 2;
}

found.addEventListener("click", (event) => {
  const number = /^line (\d+)$/.exec(event.target.closest("a")?.textContent ?? "");
  if (number === null) return;
  event.preventDefault();
  select(Number(number[1]));
});
if (!checkButton.disabled) text.addEventListener("input", wait);
