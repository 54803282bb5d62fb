"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const edges = data.edges, count = edges.length - 1;
  const bucketOf = (frame) => {
    let low = 0, high = count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= frame) low = middle; else high = middle - 1;
    }
    return low;
  };

  // -- the kept frames
  let shown = -1, piece = false;
  const stage = $("stage");
  const show = (n, focus) => {
    if (!data.kept.length) return;
    shown = Math.max(0, Math.min(data.kept.length - 1, n));
    const kept = data.kept[shown], kind = piece ? "piece-" : "";
    $("before").src = "frames/" + kept.files[kind + "before"];
    $("after").src = "frames/" + kept.files[kind + "after"];
    $("before").alt = "Frame " + kept.frame + " of the source" + (piece ? ", a piece at full size" : "");
    $("after").alt = "Frame " + kept.frame + " restored" + (piece ? ", a piece at full size" : "");
    $("which").textContent = "Frame " + kept.frame + (kept.flags.length ? ": " + kept.flags.join(", ") : "");
    document.querySelectorAll(".strip button").forEach((b, i) => b.setAttribute("aria-pressed", String(i === shown)));
    const button = document.querySelectorAll(".strip button")[shown];
    if (focus) button.focus();
    const strip = button.parentElement;
    strip.scrollLeft = button.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + button.offsetWidth / 2;
  };
  const nearest = (frame) => {
    let best = 0;
    data.kept.forEach((k, i) => {
      if (Math.abs(k.frame - frame) < Math.abs(data.kept[best].frame - frame)) best = i;
    });
    return best;
  };
  const cut = (percent) => {
    const value = Math.max(0, Math.min(100, percent));
    stage.style.setProperty("--cut", value + "%");
    $("slider").value = String(value);
  };
  if (data.kept.length) {
    $("slider").addEventListener("input", () => cut(Number($("slider").value)));
    let held = false;
    const drag = (event) => {
      const box = stage.getBoundingClientRect();
      cut(100 * (event.clientX - box.left) / box.width);
    };
    stage.addEventListener("pointerdown", (event) => { held = true; drag(event); event.preventDefault(); });
    window.addEventListener("pointermove", (event) => { if (held) drag(event); });
    window.addEventListener("pointerup", () => { held = false; });
    const toggle = (id, act) => $(id).addEventListener("click", () => {
      const on = $(id).getAttribute("aria-pressed") !== "true";
      $(id).setAttribute("aria-pressed", String(on));
      act(on);
    });
    toggle("difference", (on) => stage.classList.toggle("difference", on));
    toggle("piece", (on) => { piece = on; show(shown); });
    $("earlier").addEventListener("click", () => { show(shown - 1); point(bucketOf(data.kept[shown].frame)); });
    $("later").addEventListener("click", () => { show(shown + 1); point(bucketOf(data.kept[shown].frame)); });
    document.querySelectorAll(".strip button").forEach((b, i) => {
      b.addEventListener("click", () => { show(i); point(bucketOf(data.kept[i].frame)); });
      b.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step) { show(i + step, true); point(bucketOf(data.kept[shown].frame)); event.preventDefault(); }
      });
    });
  }

  // -- the timelines
  const charts = $("charts");
  let at = 0;
  const clock = (frame) => {
    const seconds = (frame - edges[0]) / data.rate, minutes = Math.floor(seconds / 60);
    return Math.floor(minutes / 60) + ":" + String(minutes % 60).padStart(2, "0") + ":" +
      (seconds % 60).toFixed(2).padStart(5, "0");
  };
  const point = (bucket) => {
    at = Math.max(0, Math.min(count - 1, bucket));
    const first = edges[at], last = edges[at + 1] - 1;
    const x = String((at + 0.5) * Number(charts.dataset.width) / count);
    charts.querySelectorAll("line.cursor").forEach((line) => {
      line.setAttribute("x1", x); line.setAttribute("x2", x); line.removeAttribute("visibility");
    });
    const name = (first === last ? "Frame " + first : "Frames " + first + " to " + last) + ", " + clock(first);
    $("where").textContent = name;
    charts.setAttribute("aria-valuenow", String(at));
    charts.setAttribute("aria-valuetext", name);
    const list = $("values");
    list.replaceChildren();
    for (const chart of data.charts) {
      const values = chart.names.map((n) => (data.series[n] || [])[at]).filter((v) => v !== null && v !== undefined);
      if (!values.length) continue;
      const row = document.createElement("div"), term = document.createElement("dt"), said = document.createElement("dd");
      term.textContent = chart.title;
      const share = chart.unit === "share";
      said.textContent = values.map((v) => share ? Number((100 * v).toPrecision(4)) : v).join(" → ") +
        (share ? " %" : chart.unit === "1" ? "" : " " + chart.unit);
      row.append(term, said);
      list.append(row);
    }
  };
  const go = (frame) => { point(bucketOf(frame)); if (data.kept.length) show(nearest(frame)); };
  charts.addEventListener("click", (event) => {
    const svg = event.target.closest("svg");
    if (!svg) return;
    const box = svg.getBoundingClientRect();
    const bucket = Math.floor(count * (event.clientX - box.left) / box.width);
    go(edges[Math.max(0, Math.min(count - 1, bucket))]);
  });
  charts.addEventListener("keydown", (event) => {
    if (event.target !== charts) return;
    const big = Math.max(1, Math.round(count / 20));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - big, PageDown: at + big, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    go(edges[Math.max(0, Math.min(count - 1, to))]);
    event.preventDefault();
  });
  document.querySelectorAll("button[data-frame]").forEach((button) => {
    button.addEventListener("click", () => { go(Number(button.dataset.frame)); $("frames").scrollIntoView(); });
  });
  const asked = /^#frame=(\d+)$/.exec(location.hash);
  go(asked ? Number(asked[1]) : data.kept.length ? data.kept[0].frame : edges[0]);
})();
