// Chosen rounds of one run: who computes, sends, waits and serves.
function gantt(section) {
  let own = data.gantt;
  const MOST_BARS = 6000;
  const MOST_ROWS = 30; // of the rounds shown at first
  const state = {run: own.runs[0], from: 0, count: 3, shown: own.legend.map(() => true)};
  const chart = el("div", {class: "chart", id: "gantt-chart"});
  const note = el("p", {class: "note"});
  const seedBox = el("span"), variantBox = el("span");
  const from = el("input", {id: "gantt-from", type: "number", "aria-label": "first round"});
  const count = el("input", {id: "gantt-count", type: "number", min: 1, "aria-label": "number of rounds"});
  const items = () => own.legend.map((name) => own.activities.find((activity) => activity.name === name))
    .map(({label, color}) => ({name: label, color}));

  function inView() { // the spans of the rounds asked for, as many whole rounds as can be drawn
    const {run} = state, rounds = run.rounds.slice(state.from, state.from + state.count);
    const per = new Map(rounds.map((round) => [round, 0]));
    run.round.forEach((round) => { if (per.has(round)) per.set(round, per.get(round) + 1); });
    let bars = 0;
    const kept = rounds.filter((round, at) => (bars += per.get(round)) <= MOST_BARS || at === 0);
    const set = new Set(kept), all = run.round.map((_, at) => at);
    if (!run.ends_s) return {kept, asked: rounds.length, spans: all.filter((at) => set.has(run.round[at]))};
    const since = state.from ? run.ends_s[state.from - 1] : 0, until = run.ends_s[state.from + kept.length - 1];
    const spans = all.filter((at) => run.start_s[at] < until && run.end_s[at] > since); // all that happens in the time shown
    return {kept, asked: rounds.length, spans, since, until};
  }

  function start() { // three rounds, or fewer of a large fleet
    const rowsIn = () => new Set(inView().spans.map((at) => state.run.row[at])).size;
    while (state.count > 1 && rowsIn() > MOST_ROWS) state.count -= 1;
  }

  function draw() {
    const {run} = state, {kept, asked, spans, since, until} = inView();
    const used = distinct(spans.map((at) => run.row[at])).sort((one, other) => one - other);
    const rowOf = new Map(used.map((row, at) => [row, at]));
    const end = until ?? Math.max(...spans.map((at) => run.end_s[at]));
    const start = since ?? Math.min(...spans.map((at) => run.start_s[at]));
    const what = run.ends_s ? "update" : "round";
    const [unit, size] = UNITS.s(end);
    const traces = own.activities.map((activity, kind) => {
      const bars = spans.filter((at) => run.activity[at] === kind);
      return {
        type: "bar", orientation: "h", hoverinfo: "text", visible: state.shown[own.legend.indexOf(activity.name)],
        base: bars.map((at) => run.start_s[at] / size), x: bars.map((at) => (run.end_s[at] - run.start_s[at]) / size),
        y: bars.map((at) => rowOf.get(run.row[at]) + (activity.top + activity.bottom) / 2),
        width: bars.map(() => activity.bottom - activity.top), textposition: "none",
        hovertext: bars.map((at) => `${plain(run.rows[run.row[at]])}<br><b>${activity.label}</b>${run.wasted[at] ? ", wasted" : ""}`
          + `<br>${amountText(run.end_s[at] - run.start_s[at], "s")}, from ${amountText(run.start_s[at], "s")}<br>${run.ends_s ? "before update" : "round"} ${run.round[at]}`),
        marker: {color: tone(activity.color), opacity: bars.map((at) => run.wasted[at] ? 0.45 : 1),
          line: {width: 0.6, color: tone(activity.color)}},
      };
    });
    const {ink, muted} = colors();
    const shapes = [], labels = [];
    for (const [place, round] of kept.entries()) {
      const times = spans.filter((at) => run.round[at] === round), end_s = run.ends_s?.[state.from + place];
      const last = (end_s ?? Math.max(...times.map((at) => run.end_s[at]))) / size;
      const first = run.ends_s ? last : Math.min(...times.map((at) => run.start_s[at])) / size; // an update's number is at its line
      shapes.push({type: "line", yref: "paper", y0: 0, y1: 1, x0: last, x1: last, line: {color: muted, width: 1, dash: "4px,3px"}});
      if (kept.length <= 12) labels.push({x: (first + last) / 2, y: 1, yref: "paper", yanchor: "bottom", showarrow: false,
        xanchor: run.ends_s ? "right" : "center",
        text: kept.length <= (narrow() ? 3 : 6) ? `${what} ${round}` : String(round), font: {color: ink, size: 12}});
    }
    const clients = used.filter((row) => row < run.clients).length;
    if (clients && clients < used.length) shapes.push({type: "line", xref: "paper", x0: 0, x1: 1, y0: clients - 0.5, y1: clients - 0.5,
      line: {color: muted, width: 0.7}});
    const width = narrow() ? 16 : 28;
    Plotly.react(chart, traces, layout({
      height: 86 + Math.max(3, used.length) * 28, barmode: "overlay", bargap: 0, shapes, annotations: labels, margin: {l: 10, r: 14, t: 24, b: 10},
      xaxis: axis(`simulated time (${unit})`, {range: [start / size, start / size + 1.005 * (end - start) / size || 1]}),
      yaxis: axis("", {tickvals: used.map((_, at) => at), ticktext: used.map((row) => wrapped(run.rows[row], width)), range: [used.length - 0.5, -0.5],
        tickcolor: "rgba(0,0,0,0)", showgrid: false, showline: false, fixedrange: true}),
    }), CONFIG);
    const notes = [run.notes.length && `In this file: ${run.notes.join("; ")}.`, own.note && `Of each variant: ${own.note}.`,
      kept.length < asked && `Rounds ${kept[0]} to ${kept[kept.length - 1]} are drawn: more would be too many bars.`];
    note.textContent = notes.filter(Boolean).join(" ");
  }

  function show() { // the controls say what is drawn
    const {rounds} = state.run;
    state.from = Math.min(state.from, rounds.length - 1);
    state.count = Math.max(1, Math.min(state.count, rounds.length - state.from));
    from.min = rounds[0];
    from.max = rounds[rounds.length - 1];
    from.value = rounds[state.from];
    count.max = rounds.length;
    count.value = state.count;
    draw();
  }

  function choose(variant, seed) {
    const variants = distinct(own.runs.map((run) => run.variant)).map((at) => ({key: at, text: data.variants[at].name}));
    variantBox.replaceChildren(pick("variant", variants, variant, (text) => choose(Number(text), state.run.seed)));
    const runs = own.runs.filter((run) => run.variant === variant);
    state.run = runs.find((run) => run.seed === seed) ?? runs[0];
    seedBox.replaceChildren(pick("seed", runs.map((run) => ({key: run.seed, text: String(run.seed)})), state.run.seed,
      (text) => choose(variant, runs.find((run) => String(run.seed) === text).seed)));
    show();
  }

  function step(by) {
    state.from = Math.max(0, Math.min(state.from + by * state.count, state.run.rounds.length - state.count));
    show();
  }
  from.addEventListener("change", () => {
    const asked = Number(from.value), at = state.run.rounds.findIndex((round) => round >= asked);
    state.from = at < 0 ? state.run.rounds.length - 1 : at;
    show();
  });
  count.addEventListener("change", () => { state.count = Math.floor(Number(count.value)) || 1; show(); });

  const chips = legend(items, state.shown, draw);
  section.append(
    el("div", {class: "controls"}, variantBox, seedBox,
      el("label", {class: "control"}, "from round", from), el("label", {class: "control"}, "show", count, "rounds"),
      el("span", {class: "choice"}, el("button", {type: "button", onclick: () => step(-1), "aria-label": "earlier rounds"}, "\u2190"),
        el("button", {type: "button", onclick: () => step(1), "aria-label": "later rounds"}, "\u2192"))),
    chips, chart, note);
  drawers.push(draw);
  start();
  choose(state.run.variant, state.run.seed);

  return () => { // the same run as before, where there is one
    stillShown(state.shown, own.legend, data.gantt.legend);
    own = data.gantt;
    chips.renew();
    const same = own.runs.find((run) => run.variant === state.run.variant && run.seed === state.run.seed) ?? own.runs[0];
    choose(same.variant, same.seed);
  };
}
