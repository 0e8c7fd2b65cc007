// Accuracy against time, rounds, bytes or joules; a target to drag or type; what it took to reach it.
// Curves come in s, bytes and J. Returns what draws it anew when `data` has changed.
const AXES = [
  {key: "time_s", name: "time", label: "simulated time", kind: "s"}, {key: "round", name: "rounds", label: "rounds", kind: ""},
  {key: "bytes", name: "bytes", label: "bytes sent up and down, all clients", kind: "byte"},
  {key: "energy_j", name: "joules", label: "energy of the clients", kind: "J"},
];

function accuracy(section) {
  let own = data.accuracy, names = data.variants.map(({name}) => name);
  const state = {axis: AXES[0], shown: data.variants.map(() => true), target: own.target, range: [0, 1]};
  const chart = el("div", {class: "chart", id: "accuracy-chart"});
  const handle = el("div", {
    class: "handle", role: "slider", tabindex: "0", "aria-label": "target accuracy, in percent",
    "aria-valuemin": "0", "aria-valuemax": "100", title: "drag: another target",
  });
  const grip = el("div", {class: "grip", "aria-hidden": "true"});
  const input = el("input", {id: "target", inputmode: "decimal", placeholder: "e.g. 90", "aria-label": "target accuracy in percent"});
  const table = el("div", {class: "scroll", id: "time-to-target"});
  const note = el("p", {class: "note"});

  const most = (key) => Math.max(0, ...own.curves.flatMap(({bands}) => bands[key]?.x.at(-1) ?? 0));
  const started = (place) => own.curves[place].started;

  function settle() { // the accuracies in view: all that were measured, and the target
    const values = own.curves.flatMap(({bands}) => bands.round ? [...bands.round.low, ...bands.round.high] : []);
    const low = Math.min(...values, state.target ?? 1), high = Math.max(...values, state.target ?? 0);
    const edge = 0.04 * (high - low || 0.1);
    state.range = [Math.max(-0.005, low - edge), Math.min(1.005, high + edge)];
  }

  function traces(unit, size) {
    return data.variants.flatMap((variant, place) => {
      const band = own.curves[place].bands[state.axis.key];
      if (!band) return [];
      const x = band.x.map((amount) => amount / size);
      const base = {x, opacity: variant.faint ? 0.45 : 1, visible: state.shown[place], hoverinfo: "skip", showlegend: false};
      const edge = {...base, mode: "lines", line: {width: 0, shape: "hv"}};
      const color = tone(variant.color);
      const text = x.map((amount, at) => `${plain(variant.name)}<br><b>${(100 * band.mean[at]).toFixed(1)} %</b>`
        + (started(place) > 1 ? ` (${(100 * band.low[at]).toFixed(1)} to ${(100 * band.high[at]).toFixed(1)} %)` : "")
        + ` at ${numberText(amount)} ${unit || "rounds"}`);
      const cross = {size: 9, symbol: "x-thin", color, line: {color, width: 2}};
      return [
        {...edge, y: band.low},
        {...edge, y: band.high, fill: "tonexty", fillcolor: faint(variant.color, variant.faint ? 0 : 0.15)},
        {...base, y: band.mean, name: plain(variant.name), mode: "lines+markers", text, hoverinfo: "text",
          line: {color, width: variant.faint ? 1.5 : 2, dash: variant.dash, shape: "hv"},
          marker: {symbol: variant.symbol, size: 7, maxdisplayed: 8, color, line: {color: colors().paper, width: 1}}},
        {...base, x: band.crosses.x.map((amount) => amount / size), y: band.crosses.y, mode: "markers", marker: cross},
      ];
    });
  }

  function shapes() {
    if (state.target === null) return [];
    return [{type: "line", xref: "paper", x0: 0, x1: 1, y0: state.target, y1: state.target,
      line: {color: colors().muted, width: 1.5, dash: "4px,3px"}}];
  }

  function draw() {
    const {key, label, kind} = state.axis, [unit, size] = UNITS[kind](most(key));
    Plotly.react(chart, traces(unit, size), layout({
      height: narrow() ? 340 : 430, uirevision: key + unit, shapes: shapes(), margin: {l: 10, r: 58, t: 12, b: 10},
      xaxis: axis(unit ? `${label} (${unit})` : label, {rangemode: "tozero"}),
      yaxis: axis(narrow() ? "" : "test accuracy", {tickformat: ".0%", range: [...state.range]}),
    }), CONFIG);
  }

  function place() { // the handle stands at the line's right end, as far as the line is in view
    const inside = chart._fullLayout, y = inside.yaxis;
    handle.hidden = grip.hidden = state.target === null;
    if (handle.hidden) return;
    const at = Math.min(Math.max(y.c2p(state.target), 0), y._length);
    handle.style.top = grip.style.top = `${y._offset + at}px`;
    grip.style.left = `${inside.xaxis._offset}px`;
    grip.style.width = `${inside.xaxis._length}px`;
    handle.style.left = `${inside.xaxis._offset + inside.xaxis._length + 3}px`;
    handle.textContent = percentText(state.target);
    handle.setAttribute("aria-valuenow", Number((100 * state.target).toPrecision(6)));
  }

  function aim(target, from) {
    state.target = target;
    if (from !== "input") input.value = target === null ? "" : String(Number((100 * target).toPrecision(6)));
    input.classList.remove("wrong");
    if (from !== "drag") settle();
    draw();
    place();
    tabulate();
  }

  function typed() {
    const text = input.value.trim().replace("%", "").replace(",", ".").trim();
    const share = Number(text) / 100;
    if (text === "") aim(null, "input");
    else if (share > 0 && share <= 1) aim(share, "input");
    else input.classList.add("wrong");
  }

  function dragged(event) {
    const y = chart._fullLayout.yaxis;
    const share = y.p2c(event.clientY - chart.getBoundingClientRect().top - y._offset);
    const step = Math.round(Math.min(Math.max(share, state.range[0], 0.001), state.range[1], 1) * 1000) / 1000;
    if (step !== state.target) aim(step, "drag");
  }
  for (const part of [handle, grip]) {
    part.addEventListener("pointerdown", (event) => {
      part.setPointerCapture(event.pointerId);
      part.addEventListener("pointermove", dragged);
      event.preventDefault();
    });
    part.addEventListener("lostpointercapture", () => part.removeEventListener("pointermove", dragged));
  }
  handle.addEventListener("keydown", (event) => {
    const step = {ArrowUp: 0.01, ArrowDown: -0.01, PageUp: 0.05, PageDown: -0.05}[event.key];
    if (!step) return;
    event.preventDefault();
    aim(Math.round(Math.min(Math.max(state.target + step, 0.001), 1) * 1000) / 1000, "key");
  });
  input.addEventListener("input", typed);

  // The first evaluation of each seed at the target or above it: its costs so far.
  function reached(variant) {
    return own.curves[variant].seeds.flatMap((seed) => {
      const at = seed.accuracy.findIndex((share) => share >= state.target);
      return at < 0 ? [] : [{time_s: seed.time_s[at], round: seed.round[at], up: seed.uplink_bytes[at],
        down: seed.downlink_bytes[at], energy_j: seed.energy_j[at]}];
    });
  }

  function tabulate() {
    if (state.target === null) {
      table.replaceChildren();
      note.textContent = "No target: type one to see what each variant takes to reach it.";
      return;
    }
    const rows = data.variants.map((variant, place) => ({variant, place, seeds: reached(place)}))
      .filter((row) => state.shown[row.place]);
    const columns = [["time_s", "time", "s"], ["round", "rounds", ""], ["up", "uplink", "byte"],
      ["down", "downlink", "byte"], ["energy_j", "energy", "J"]].filter(([key]) => key !== "energy_j" || most(key) > 0);
    const head = el("tr", {}, el("th", {}, "variant"), el("th", {class: "figure"}, `seeds at ${percentText(state.target)}`));
    const lines = rows.map(({variant, place, seeds}) => el("tr", {"data-variant": place},
      el("td", {}, swatch(variant), variant.name),
      el("td", {class: "figure"}, `${seeds.length}/${started(place)}`)));
    for (const [key, name, kind] of columns) {
      const means = rows.map(({seeds}) => seeds.length ? mean(seeds.map((seed) => seed[key])) : null);
      const [unit, size] = UNITS[kind](Math.max(0, ...rows.flatMap(({seeds}) => seeds.map((seed) => seed[key]))));
      const whole = means.filter((_, at) => rows[at].seeds.length === started(rows[at].place));
      head.append(el("th", {class: "figure"}, unit ? `${name} (${unit})` : name));
      rows.forEach(({seeds}, at) => {
        const values = seeds.map((seed) => seed[key] / size);
        const best = means[at] !== null && rows.length > 1 && means[at] === Math.min(...whole);
        const range = values.length > 1 ? `${numberText(Math.min(...values))} to ${numberText(Math.max(...values))}` : null;
        lines[at].append(el("td", {class: `figure${best ? " best" : ""}`, "data-column": key, "data-value": means[at]},
          means[at] === null ? "-" : numberText(means[at] / size), range && el("span", {class: "range"}, range)));
      });
    }
    table.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines)));
    note.textContent = "At the first evaluation at the target or above it: mean over the seeds that got there, and "
      + "their range; uplink, downlink and energy are sums over all clients. Bold: the least among those with all seeds there.";
  }

  const axes = AXES.map((one) => ({key: one.key, text: one.name, off: !most(one.key) && !data.live,
    title: most(one.key) || data.live ? one.label : "nothing of it was spent in this run"}));
  const chips = legend(() => data.variants, state.shown, () => { draw(); tabulate(); });
  section.append(
    el("div", {class: "controls"},
      choice("against", axes, state.axis.key, (key) => { state.axis = AXES.find((one) => one.key === key); draw(); }),
      el("label", {class: "control"}, "target", input, "%")),
    chips, chart, table, note);
  settle();
  drawn(draw);
  chart.append(grip, handle);
  chart.on("plotly_afterplot", place);
  drawers.push(tabulate);
  aim(state.target, "start");

  return () => {
    own = data.accuracy;
    const now = data.variants.map(({name}) => name);
    stillShown(state.shown, names, now);
    names = now;
    chips.renew();
    settle();
    draw();
    tabulate();
  };
}
