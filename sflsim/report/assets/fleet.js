// The fleet: devices by speed and bandwidth, both on logarithmic axes.
function fleet(section) {
  const own = data.fleet;
  const state = {seed: own.seeds[0], way: "up", shown: own.groups.map(() => true)};
  const chart = el("div", {class: "chart", id: "fleet-chart"});
  const note = el("p", {class: "note"});
  const rateText = (rate) => rate === "inf" ? "unlimited" : amountText(8 * rate, "bit");

  function draw() {
    const {points} = state.seed;
    const finite = points.map((point) => point[state.way]).filter((rate) => typeof rate === "number" && rate > 0);
    const unlimited = points.some((point) => point[state.way] === "inf");
    const top = 8 * (finite.length ? Math.max(...finite) : 1e9) * 6; // where unlimited links stand
    const most = Math.max(...points.map((point) => point.count));
    const y = (point) => point[state.way] === "inf" ? top : 8 * point[state.way];
    const traces = own.groups.map((group, place) => {
      const mine = points.filter((point) => point.group === place), color = tone(group.color);
      return {
        mode: "markers", name: plain(group.name), visible: state.shown[place], hoverinfo: "text", cliponaxis: false,
        x: mine.map((point) => point.flop_per_s), y: mine.map(y),
        marker: {color: faint(group.color, 0.75), symbol: group.symbol, line: {color, width: 1},
          size: mine.map((point) => 9 + 22 * Math.sqrt(point.count / most) * (most > 1 ? 1 : 0))},
        text: mine.map((point) => {
          const names = point.names.map(plain).join(", ") + (point.count > point.names.length ? ", ..." : "");
          return `<b>${plain(group.name)}</b>, ${point.count} ${point.count === 1 ? "device" : "devices"}<br>`
            + `${amountText(point.flop_per_s, "flop")}<br>up ${rateText(point.up)}, down ${rateText(point.down)}`
            + `${point.memory_bytes === null ? "" : `<br>memory ${amountText(point.memory_bytes, "byte")}`}<br>${names}`;
        }),
      };
    });
    const spans = (values) => {
      const logs = values.filter((value) => value > 0).map(Math.log10);
      return logs.length ? [Math.min(...logs) - 0.35, Math.max(...logs) + 0.35] : [0, 1];
    };
    const log = (range) => ({type: "log", range, tickformat: "~s", dtick: range[1] - range[0] > 3 ? 1 : "D2", minor: {dtick: "D1"}});
    const rows = spans(points.map(y));
    Plotly.react(chart, traces, layout({
      height: narrow() ? 340 : 400, uirevision: state.way,
      xaxis: axis("speed of the device (FLOP/s)", log(spans(points.map((point) => point.flop_per_s)))),
      yaxis: axis(`${state.way === "up" ? "uplink" : "downlink"} (bit/s)`, log(rows)),
      annotations: unlimited ? [{xref: "paper", x: 0.01, y: Math.log10(top), text: "unlimited", showarrow: false, xanchor: "left",
        yanchor: "bottom", font: {color: colors().muted, size: 12}}] : [],
      shapes: unlimited ? [{type: "line", xref: "paper", x0: 0, x1: 1, y0: top, y1: top, line: {color: colors().muted, width: 1, dash: "2px,3px"}}] : [],
    }), CONFIG);
    const {shown, devices} = state.seed;
    note.textContent = "Only devices that took part are known here. Rates are those of a client's first message."
      + (shown < devices ? ` ${shown} of ${devices} devices are in this file.` : "");
  }

  section.append(
    el("div", {class: "controls"},
      choice("bandwidth", [{key: "up", text: "uplink"}, {key: "down", text: "downlink"}], "up", (key) => { state.way = key; draw(); }),
      own.seeds.length > 1 ? pick("seed", own.seeds.map(({seed}) => ({key: seed, text: String(seed)})), state.seed.seed,
        (text) => { state.seed = own.seeds.find(({seed}) => String(seed) === text); draw(); }) : null),
    legend(() => own.groups, state.shown, draw), chart, note);
  drawn(draw);
}
