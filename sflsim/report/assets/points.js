// Many experiments as points: the lines of a sweep, the front of a plan, and a table to sort.
const column = (columns, key) => columns.find((one) => one.key === key);
const most = (numbers) => Math.max(0, ...numbers.filter((number) => number !== null).map(Math.abs));

function scaleOf({kind, unit, numbers}) {
  if (kind === "share") return ["%", 0.01];
  return unit ? [unit, 1] : UNITS[kind === "text" ? "" : kind](most(numbers ?? []));
}

function titled(one) {
  const [unit] = scaleOf(one);
  return plain(unit ? `${one.name} (${unit})` : one.name);
}

function cellText(one, at) {
  if (one.texts) return one.texts[at];
  const number = one.numbers[at];
  if (one.kind === "share") return number === null ? "-" : `${(100 * number).toFixed(1)} %`;
  if (one.kind === "") {
    if (number === null) return "-";
    return `${Number.isInteger(number) ? number : numberText(number)} ${one.unit}`.trim();
  }
  return amountText(number, one.kind);
}

// A table whose headings sort; `marked` rows stand out.
function grid(box, columns, rows, marked = () => false) {
  const MOST = 500;
  const state = {key: null, down: false};
  const show = () => {
    const by = column(columns, state.key);
    const value = (at) => by.numbers ? by.numbers[at] : by.texts[at];
    const order = by ? [...rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * (state.down ? -1 : 1);
    }) : rows;
    const head = el("tr", {}, ...columns.map((one) => el("th", {
      class: one.texts ? null : "figure", "aria-sort": one.key !== state.key ? null : state.down ? "descending" : "ascending",
    }, el("button", {type: "button", onclick: () => {
      state.down = state.key === one.key && !state.down;
      state.key = one.key;
      show();
    }}, one.name))));
    const body = order.slice(0, MOST).map((at) => el("tr", {class: marked(at) ? "marked" : null},
      ...columns.map((one) => el("td", {class: one.texts ? null : "figure"}, cellText(one, at)))));
    box.replaceChildren(el("div", {class: "scroll"}, el("table", {}, el("thead", {}, head), el("tbody", {}, ...body))),
      el("p", {class: "note"}, order.length > MOST ? `The first ${MOST} of ${order.length} rows.` : ""));
  };
  show();
}

function ranged(numbers) { // an axis that is logarithmic where the numbers span a wide range
  const there = numbers.filter((number) => number !== null);
  return there.length > 2 && Math.min(...there) > 0 && Math.max(...there) / Math.min(...there) >= 50 ? {type: "log"} : {};
}

function sweep(section) {
  const own = data.points, columns = own.columns;
  const state = {x: own.over[0], y: own.figures[0], only: {}, shown: data.variants.map(() => true)};
  const chart = el("div", {class: "chart", id: "sweep-chart"});
  const filters = el("span", {class: "controls"});
  const note = el("p", {class: "note"});
  const levels = (one) => distinct(one.texts ?? one.numbers);
  own.over.forEach((key) => { state.only[key] = "0"; });

  function draw() {
    const x = column(columns, state.x), y = column(columns, state.y);
    const [, size] = scaleOf(y);
    const fits = (at) => own.over.every((key) => {
      const one = column(columns, key), only = state.only[key];
      return key === state.x || only === "all" || (one.texts ?? one.numbers)[at] === levels(one)[Number(only)];
    });
    const rows = own.variant.map((_, at) => at).filter(fits);
    const places = distinct(rows.map((at) => x.numbers ? x.numbers[at] : x.texts[at]));
    if (x.numbers) places.sort((one, other) => one - other);
    const traces = data.variants.flatMap((variant, which) => {
      const spots = places.map((place) => {
        const here = rows.filter((at) => own.variant[at] === which && (x.numbers ?? x.texts)[at] === place);
        const values = here.map((at) => y.numbers[at]).filter((number) => number !== null).map((number) => number / size);
        return {place, values, runs: here.length};
      }).filter((spot) => spot.values.length);
      const color = tone(variant.color), at = spots.map((spot) => x.numbers ? spot.place : plain(spot.place));
      const base = {x: at, visible: state.shown[which], hoverinfo: "skip"};
      const edge = {...base, mode: "lines", line: {width: 0}};
      return [
        {...edge, y: spots.map((spot) => Math.min(...spot.values))},
        {...edge, y: spots.map((spot) => Math.max(...spot.values)), fill: "tonexty", fillcolor: faint(variant.color, 0.13)},
        {...base, y: spots.map((spot) => mean(spot.values)), mode: "lines+markers", name: plain(variant.name), hoverinfo: "text",
          line: {color, width: 2, dash: variant.dash},
          marker: {size: 8, symbol: spots.map((spot) => variant.symbol + (spot.values.length < spot.runs ? "-open" : "")), color},
          text: spots.map((spot) => `${plain(variant.name)}<br><b>${numberText(mean(spot.values))} ${scaleOf(y)[0]}</b>`
            + `<br>${plain(x.name)}: ${plain(spot.place)} ${x.texts && x.numbers ? plain(x.unit) : ""}<br>${spot.values.length} of ${spot.runs} runs`)},
      ];
    });
    Plotly.react(chart, traces, layout({
      height: narrow() ? 340 : 420,
      xaxis: axis(titled(x), x.numbers ? ranged(places) : {type: "category"}),
      yaxis: axis(titled(y), ranged(rows.map((at) => y.numbers[at]))),
    }), CONFIG);
    const without = rows.filter((at) => y.numbers[at] === null).length;
    note.textContent = without ? `${without} of ${rows.length} runs in view have no ${y.name}: not reached, or failed.` : "";
  }

  function filter() { // the paths that are not on the axis: one value each, or the mean of all
    const others = own.over.filter((key) => key !== state.x && levels(column(columns, key)).length > 1);
    filters.replaceChildren(...others.map((key) => pick(key, [
      ...levels(column(columns, key)).map((level, at) => ({key: at, text: String(level)})), {key: "all", text: "mean of all"},
    ], state.only[key], (only) => { state.only[key] = only; draw(); })));
    filters.hidden = others.length === 0;
  }

  section.append(
    el("div", {class: "controls"},
      pick("x axis", own.over.map((key) => ({key, text: key})), state.x, (key) => { state.x = key; filter(); draw(); }),
      pick("y axis", own.figures.map((key) => ({key, text: column(columns, key).name})), state.y, (key) => { state.y = key; draw(); }), filters),
    legend(() => data.variants, state.shown, draw), chart, note);
  filter();
  drawn(draw);
}

function rows(section) {
  const box = el("div", {id: "sweep-table"});
  section.append(box);
  grid(box, data.points.columns, data.points.variant.map((_, at) => at));
}

function plan(section) {
  const own = data.plan, columns = own.columns;
  const axes = columns.filter((one) => one.numbers && distinct(one.numbers).length > 1);
  const wanted = own.objectives.filter((key) => axes.some((one) => one.key === key));
  const keys = distinct([...wanted, ...axes.map((one) => one.key)]);
  const chart = el("div", {class: "chart", id: "plan-chart"});
  const note = el("p", {class: "note"}), box = el("div", {id: "plan-table"});
  const state = {x: keys[0], y: keys[1] ?? keys[0]};
  const all = own.pareto.map((_, at) => at);
  const kinds = [
    {name: "given up: takes at least this", color: "#9aa4b0", symbol: "diamond", size: 6, of: (at) => !own.exact[at] && !own.recommended[at]},
    {name: "breaks a constraint", color: "#9aa4b0", symbol: "x-thin", size: 7, of: (at) => own.exact[at] && !own.feasible[at] && !own.recommended[at]},
    {name: "feasible", color: "#7d8794", symbol: "circle", size: 7, of: (at) => own.exact[at] && own.feasible[at] && !own.pareto[at] && !own.recommended[at]},
    {name: "front", color: own.colors.front, symbol: "circle", size: 10, of: (at) => own.pareto[at] && !own.recommended[at]},
    {name: "recommended", color: own.colors.recommended, symbol: "star", size: 17, of: (at) => own.recommended[at]},
  ].filter((kind) => all.some(kind.of));
  const shown = kinds.map(() => true);

  function draw() {
    const x = column(columns, state.x), y = column(columns, state.y);
    const scaled = (one, at) => one.numbers[at] === null ? null : one.numbers[at] / scaleOf(one)[1];
    const there = (at) => x.numbers[at] !== null && y.numbers[at] !== null;
    const front = all.filter((at) => own.pareto[at] && there(at)).sort((one, other) => x.numbers[one] - x.numbers[other]);
    const traces = [];
    if (own.objectives.length === 2 && own.objectives.includes(state.x) && own.objectives.includes(state.y) && state.x !== state.y) {
      traces.push({x: front.map((at) => scaled(x, at)), y: front.map((at) => scaled(y, at)), mode: "lines", hoverinfo: "skip",
        line: {color: tone(own.colors.front), width: 1.2, shape: "hv", dash: "4px,3px"}});
    }
    kinds.forEach((kind, place) => {
      const mine = all.filter((at) => kind.of(at) && there(at)), color = tone(kind.color);
      traces.push({
        x: mine.map((at) => scaled(x, at)), y: mine.map((at) => scaled(y, at)), mode: "markers", name: kind.name, visible: shown[place],
        marker: {size: kind.size, symbol: kind.symbol, color, opacity: kind.size < 10 ? 0.65 : 1, line: {color: kind.symbol === "x-thin" ? color : colors().paper, width: 1}},
        hoverinfo: "text", text: mine.map((at) => [`<b>${kind.name}</b>`, ...[...own.decisions, ...own.objectives].map((key) => {
          const one = column(columns, key);
          return `${plain(one.name)}: ${plain(cellText(one, at))}`;
        })].join("<br>")),
      });
    });
    Plotly.react(chart, traces, layout({
      height: narrow() ? 360 : 460,
      xaxis: axis(titled(x), ranged(x.numbers)), yaxis: axis(titled(y), ranged(y.numbers)),
    }), CONFIG);
    const gone = all.filter((at) => !there(at)).length;
    note.textContent = gone ? `${gone} points have no ${x.name} or no ${y.name} and are not drawn.` : "";
  }

  function tabulate(which) {
    const rows = which === "all" ? all : all.filter((at) => own.pareto[at] || own.recommended[at]);
    const first = [...rows].sort((one, other) => own.recommended[other] - own.recommended[one]);
    grid(box, columns, first, (at) => own.recommended[at]);
  }

  if (keys.length === 0) {
    section.append(el("p", {class: "note"}, "No two points differ in a figure, so there is nothing to draw."));
  } else {
    const options = keys.map((key) => ({key, text: column(columns, key).name}));
    section.append(
      el("div", {class: "controls"}, pick("x axis", options, state.x, (key) => { state.x = key; draw(); }),
        pick("y axis", options, state.y, (key) => { state.y = key; draw(); })),
      legend(() => kinds, shown, draw), chart, note);
    drawn(draw);
  }
  section.append(el("div", {class: "controls"},
    choice("list", [{key: "front", text: "the front"}, {key: "all", text: "all points"}], "front", tabulate)), box);
  tabulate("front");
}
