// Where the time of a participant's round goes: one bar per variant, in seconds or shares.
function time(section) {
  let own = data.time;
  const state = {share: false, shown: own.parts.map(() => true)};
  const chart = el("div", {class: "chart", id: "time-chart"});

  function draw() {
    const totals = own.variants.map((_, at) => own.parts.reduce((sum, part, place) => sum + (state.shown[place] ? part.seconds[at] : 0), 0));
    const longest = Math.max(...totals);
    const [unit, size] = UNITS.s(longest);
    const width = narrow() ? 14 : 30;
    const traces = own.parts.map((part, place) => ({
      type: "bar", orientation: "h", visible: state.shown[place], y: own.variants.map((_, at) => at), hoverinfo: "text",
      x: part.seconds.map((seconds, at) => state.share ? seconds / (totals[at] || 1) : seconds / size), width: 0.68,
      marker: {color: tone(part.color), line: {color: part.color === "#ffffff" ? colors().muted : colors().paper, width: 1}},
      text: part.seconds.map((seconds, at) => {
        const wide = seconds / (state.share ? totals[at] : longest) > (narrow() ? 0.14 : 0.06);
        return wide ? `${Math.round(100 * seconds / totals[at])} %` : "";
      }),
      textposition: "inside", insidetextanchor: "middle", textangle: 0, textfont: {color: inkOn(tone(part.color)), size: 11}, constraintext: "none",
      hovertext: part.seconds.map((seconds, at) => `${plain(data.variants[own.variants[at]].name)}<br><b>${part.label}</b>`
        + `<br>${amountText(seconds, "s")}, ${(100 * seconds / (totals[at] || 1)).toFixed(1)} %`),
    }));
    Plotly.react(chart, traces, layout({
      height: 76 + 38 * own.variants.length, barmode: "stack",
      xaxis: state.share ? axis(`share of ${own.whose}`, {tickformat: ".0%", range: [0, 1.005]})
        : axis(`mean time of ${own.whose} (${unit})`, {rangemode: "tozero"}),
      yaxis: axis("", {tickvals: own.variants.map((_, at) => at), ticktext: own.variants.map((place) => wrapped(data.variants[place].name, width)),
        range: [own.variants.length - 0.5, -0.5], tickcolor: "rgba(0,0,0,0)", showline: false, showgrid: false, fixedrange: true}),
    }), CONFIG);
  }

  const chips = legend(() => own.parts.map((part) => ({name: part.label, color: part.color})), state.shown, draw);
  section.append(
    el("div", {class: "controls"}, choice("in", [{key: "seconds", text: "seconds"}, {key: "shares", text: "shares"}], "seconds",
      (key) => { state.share = key === "shares"; draw(); })),
    chips, chart);
  drawn(draw);

  return () => {
    stillShown(state.shown, own.parts.map(({label}) => label), data.time.parts.map(({label}) => label));
    own = data.time;
    chips.renew();
    draw();
  };
}

// Black or white, whichever is easier to read on a colour.
function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
  return 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 ? "#14171b" : "#ffffff";
}
