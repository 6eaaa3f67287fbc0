// The page of one job: its log is followed part by part, and its plots can be zoomed. It works without this script.
"use strict";

(() => {
  const FOLLOW_MS = 1500;
  const MOST_CHARACTERS = 400000;
  const log = document.getElementById("log-text");
  let failures = 0;

  function append(text) {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(document.createTextNode(text));
    let held = log.textContent.length;
    while (held > MOST_CHARACTERS && log.childNodes.length > 1) {
      held -= log.firstChild.length;
      log.firstChild.remove();
    }
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  async function follow() {
    let wait = FOLLOW_MS;
    try {
      if (!document.hidden) {
        const { job, attempt, next } = log.dataset;
        const answer = await fetch(`/api/v1/jobs/${job}/log/part?attempt=${attempt}&offset=${next}`, { cache: "no-store" });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        const part = await answer.json();
        failures = 0;
        if (part.text) append(part.text);
        log.dataset.next = part.next;
        if (part.next < part.size && part.text) wait = 50;
        else if (part.newest > Number(attempt)) {
          log.dataset.attempt = part.newest;
          log.dataset.next = 0;
          document.getElementById("log-attempt").textContent = part.newest;
          log.replaceChildren();
          wait = 50;
        }
      }
    } catch {
      failures += 1; // the page itself says that the server is gone
      wait = Math.min(30000, FOLLOW_MS * 2 ** Math.min(failures, 5));
    }
    setTimeout(follow, wait);
  }

  if (log) {
    log.scrollTop = log.scrollHeight;
    setTimeout(follow, FOLLOW_MS);
  }

  const zoom = document.getElementById("zoom");
  const [WIDE, LEFT, TALL, GAP] = [800, 70, 110, 34];

  function add(parent, name, attributes, text = "") {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return parent.appendChild(element);
  }

  function ends(values) {
    return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  }

  const brief = (value) => Number(value.toPrecision(4)).toString();

  // One plot: panels above each other; `label` writes an x. Drag, or the buttons, choose the stretch that is shown.
  function plot({ name, panels, marks, whole, label }) {
    const place = zoom.appendChild(document.createElement("div"));
    const figure = add(place, "svg", { viewBox: `0 0 ${WIDE} ${panels.length * (TALL + GAP) + 24}`, class: "zoomed", role: "img", "aria-label": name });
    const told = place.appendChild(document.createElement("p"));
    told.className = "small told";
    const buttons = place.appendChild(document.createElement("p"));
    buttons.className = "verbs";
    let [from, to] = whole;
    const across = (x) => LEFT + ((x - from) / (to - from)) * (WIDE - LEFT);

    function panel({ title, curves }, top) {
      const shown = curves.map((curve) => curve.points.filter(([x], n, all) => (all[n + 1] ?? [x])[0] >= from && (all[n - 1] ?? [x])[0] <= to));
      const [low, high] = ends(shown.flat().map(([, value]) => value));
      add(figure, "text", { x: LEFT, y: top - 6 }, `${title}${curves.length > 1 ? `: ${curves.map((curve) => curve.name).join(", ")}` : ""}`);
      if (low > high) return;
      const up = (value) => top + TALL * (1 - (high > low ? (value - low) / (high - low) : 0.5));
      [[high, 10], [low, TALL]].forEach(([value, down]) => add(figure, "text", { x: LEFT - 6, y: top + down, "text-anchor": "end" }, brief(value)));
      const clip = add(figure, "svg", { x: LEFT, y: top, width: WIDE - LEFT, height: TALL, viewBox: `${LEFT} ${top} ${WIDE - LEFT} ${TALL}` });
      shown.forEach((points, n) => add(clip, "polyline", { class: `curve-${n % 4}`, points: points.map(([x, value]) => `${across(x).toFixed(1)},${up(value).toFixed(1)}`).join(" ") }));
    }

    function draw() {
      figure.replaceChildren();
      const height = panels.length * (TALL + GAP);
      for (const mark of marks) {
        const [begin, end] = [Math.max(mark.at, from), Math.min(mark.until ?? mark.at, to)];
        if (end < begin) continue;
        const band = add(figure, "rect", { class: `mark ${mark.kind}`, x: across(begin), width: Math.max(1, across(end) - across(begin)), ...(mark.kind === "stored" ? { y: height - 10, height: 10 } : { y: 16, height: height - 16 }) });
        add(band, "title", {}, mark.words);
      }
      panels.forEach((each, n) => panel(each, n * (TALL + GAP) + 24));
      add(figure, "text", { x: LEFT, y: height + 16 }, label(from));
      add(figure, "text", { x: WIDE, y: height + 16, "text-anchor": "end" }, label(to));
      told.textContent = `${label(from)} to ${label(to)}`;
    }

    function show(begin, end) {
      if (end - begin < (whole[1] - whole[0]) / 1e4) return;
      [from, to] = [Math.max(begin, whole[0]), Math.min(end, whole[1])];
      draw();
    }

    const at = (event) => {
      const box = figure.getBoundingClientRect();
      return from + Math.min(1, Math.max(0, (((event.clientX - box.left) / box.width) * WIDE - LEFT) / (WIDE - LEFT))) * (to - from);
    };
    let pressed = null;
    figure.addEventListener("pointerdown", (event) => { pressed = at(event); });
    figure.addEventListener("pointerup", (event) => {
      const [begin, end] = ends([pressed ?? at(event), at(event)]);
      pressed = null;
      if (end > begin) show(begin, end);
    });
    figure.addEventListener("pointermove", (event) => {
      const x = at(event);
      const near = (points) => points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
      const values = panels.flatMap(({ curves }) => curves.map((curve) => `${curve.name} ${brief(near(curve.points)[1])}`));
      told.textContent = `${label(x)}: ${values.join(", ")}`;
    });
    const step = () => (to - from) / 4;
    for (const [words, act] of [["Zoom in", () => show(from + step(), to - step())], ["Zoom out", () => show(from - 2 * step(), to + 2 * step())],
      ["Earlier", () => { const by = Math.min(step(), from - whole[0]); show(from - by, to - by); }],
      ["Later", () => { const by = Math.min(step(), whole[1] - to); show(from + by, to + by); }], ["Whole", () => show(...whole)]]) {
      const button = buttons.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = words;
      button.addEventListener("click", act);
    }
    draw();
  }

  function plotWork(found) {
    const titles = [...new Set(found.curves.map((curve) => curve.panel))];
    const panels = titles.map((title) => ({ title, curves: found.curves.filter((curve) => curve.panel === title) }));
    plot({ name: "Work over time", panels, marks: found.marks, whole: [found.begin, found.end], label: (at) => new Date(at * 1000).toLocaleString() });
  }

  function plotForecast(found) {
    const days = found.target_date;
    const named = { Forecast: found.predicted_price, Actual: found.actual_price, "95 % from": found.lower_95, "95 % to": found.upper_95 };
    const curves = Object.entries(named).map(([name, values]) => ({ name, points: (values ?? []).map((value, n) => [n, value]).filter(([, value]) => value !== null) }));
    const known = curves.filter((curve) => curve.points.length);
    if (known.length && days.length > 1) plot({ name: "Forecast and actual", panels: [{ title: "Price", curves: known }], marks: [], whole: [0, days.length - 1], label: (n) => days[Math.round(n)] });
  }

  async function open(event) {
    const fault = document.getElementById("zoom-fault");
    event.target.disabled = true;
    fault.textContent = "";
    try {
      for (const what of zoom.dataset.plots.split(" ")) {
        const answer = await fetch(`/api/v1/jobs/${zoom.dataset.job}/${what}`);
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.error ?? found.detail);
        (what === "curves" ? plotWork : plotForecast)(found);
      }
    } catch (error) {
      fault.textContent = `The plots cannot be shown: ${error.message}`;
      event.target.disabled = false;
    }
  }

  if (zoom) {
    zoom.hidden = false;
    document.getElementById("zoom-open").addEventListener("click", open);
  }
})();
