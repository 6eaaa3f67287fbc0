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
  const colours = ["#3b82c4", "#c47a1b", "#6b7280"];

  function load(address) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${address} does not load`));
      document.head.append(script);
    });
  }

  function layout(extra) {
    const text = getComputedStyle(document.body).color;
    return { autosize: true, margin: { l: 60, r: 10, t: 30, b: 40 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: text }, legend: { orientation: "h" }, hovermode: "closest", ...extra };
  }

  async function draw(traces, extra) {
    const place = document.createElement("div");
    place.className = "zoomed";
    zoom.append(place);
    await window.Plotly.newPlot(place, traces, layout(extra), { responsive: true, displaylogo: false, displayModeBar: false });
  }

  async function drawWork(found) {
    const panels = [...new Set(found.curves.map((curve) => curve.panel))];
    const axes = {};
    panels.forEach((panel, n) => {
      axes[`yaxis${n ? n + 1 : ""}`] = { title: { text: panel, font: { size: 10 } },
        domain: [1 - (n + 0.85) / panels.length, 1 - n / panels.length] };
    });
    const traces = found.curves.map((curve, n) => {
      const place = panels.indexOf(curve.panel);
      return { type: "scatter", mode: "lines", name: curve.name, yaxis: `y${place ? place + 1 : ""}`,
        x: curve.points.map(([at]) => new Date(at * 1000)), y: curve.points.map(([, value]) => value),
        line: { color: colours[n % 3], width: 1.5 } };
    });
    const shapes = found.marks.map((mark) => ({ type: "rect", xref: "x", yref: "paper", y0: 0, y1: 1, line: { width: 1, color: "#8b8f96" },
      x0: new Date(mark.at * 1000), x1: new Date((mark.until ?? mark.at) * 1000), fillcolor: "#8b8f96", opacity: 0.3 }));
    await draw(traces, { ...axes, shapes, xaxis: { anchor: `y${panels.length > 1 ? panels.length : ""}` } });
  }

  async function drawForecast(found) {
    const x = found.target_date;
    const line = (y, name, color) => ({ type: "scatter", mode: "lines", x, y, name, line: { color, width: 1.5 } });
    const bound = (y, fill) => ({ ...line(y, "95 % interval", "transparent"), fill, fillcolor: "rgba(59,130,196,.18)", showlegend: false });
    const band = found.lower_95 ? [bound(found.lower_95, "none"), bound(found.upper_95, "tonexty")] : [];
    await draw([...band, line(found.predicted_price, "Forecast", colours[0]), line(found.actual_price, "Actual", colours[1])], {});
  }

  async function open(event) {
    const fault = document.getElementById("zoom-fault");
    event.target.disabled = true;
    try {
      await load("/plots/plotly.js");
      for (const what of zoom.dataset.plots.split(" ")) {
        const answer = await fetch(`/api/v1/jobs/${zoom.dataset.job}/${what}`);
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.error ?? found.detail);
        await (what === "curves" ? drawWork : drawForecast)(found);
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
