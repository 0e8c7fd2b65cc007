// What all sections share: elements, figures as text, colours, controls. Names from the scenario
// become text nodes here, or go through `plain` where plotly would read them as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const drawers = [];
const touch = matchMedia("(pointer: coarse)").matches;
const narrow = () => document.documentElement.clientWidth < 640;
const CONFIG = {
  responsive: true, displaylogo: false, displayModeBar: !touch && !narrow(),
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
};
const TIMES = [["ms", 1e-3, 1], ["s", 1, 120], ["min", 60, 7200], ["h", 3600, 172800], ["d", 86400, Infinity]];
const UNITS = {
  s: (most) => most > 0 ? TIMES.find((unit) => most < unit[2]) : TIMES[1],
  byte: (most) => powers(["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1024, most),
  J: (most) => powers(["J", "kJ", "MJ", "GJ", "TJ"], 1000, most),
  bit: (most) => powers(["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"], 1000, most),
  flop: (most) => powers(["FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"], 1000, most),
  "": () => ["", 1],
};

function powers(names, base, most) {
  let power = 0;
  while (most >= base ** (power + 1) && power < names.length - 1) power += 1;
  return [names[power], base ** power];
}

// Three significant digits, never an exponent below a million, as in the terminal.
function numberText(number) {
  if (number === null || !Number.isFinite(number)) return "-";
  const size = Math.abs(number);
  if (size >= 1e6) return number.toPrecision(3).replace(/\.?0+e/, "e");
  if (size === 0 || size >= 100) return number.toFixed(0);
  return size < 1e-6 ? number.toExponential(2) : number.toPrecision(3);
}

function amountText(number, kind) {
  if (number === null || !Number.isFinite(number)) return "-";
  const [unit, size] = UNITS[kind](Math.abs(number));
  return `${numberText(number / size)} ${unit}`.trim();
}

const percentText = (share) => `${Number((100 * share).toPrecision(6))} %`;
const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
const distinct = (values) => [...new Set(values)];

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

// A long name over several lines, for the ticks of an axis.
function wrapped(name, width) {
  const lines = [];
  for (const word of String(name).split(" ")) {
    const last = lines.length - 1;
    if (last >= 0 && lines[last].length + 1 + word.length <= width) lines[last] += ` ${word}`;
    else for (let at = 0; at === 0 || at < word.length; at += width) lines.push(word.slice(at, at + width));
  }
  return lines.map(plain).join("<br>");
}

function colors() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {paper: of("paper"), ink: of("ink"), muted: of("muted"), line: of("line"), grid: of("grid")};
}

// The palette's black is ink, and its white paper: both turn with the page.
function tone(color) {
  if (color === "#000000") return colors().ink;
  return color === "#ffffff" ? colors().paper : color;
}

function faint(color, alpha) {
  const hex = tone(color).replace("#", "");
  const [red, green, blue] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${alpha})`;
}

function axis(title, extra = {}) {
  const {ink, muted, line, grid} = colors();
  return {
    title: {text: title, font: {size: 12.5, color: muted}, standoff: 10}, color: ink, gridcolor: grid,
    linecolor: line, tickcolor: line, ticks: "outside", ticklen: 4, zeroline: false, showline: true,
    automargin: true, ...extra,
  };
}

function layout(extra) {
  const {ink, paper, line} = colors();
  return {
    autosize: true, showlegend: false, hovermode: "closest", dragmode: touch ? false : "zoom",
    paper_bgcolor: paper, plot_bgcolor: paper, margin: {l: 10, r: 14, t: 12, b: 10},
    font: {family: getComputedStyle(document.body).fontFamily, size: 12, color: ink},
    hoverlabel: {bgcolor: paper, bordercolor: line, font: {color: ink, size: 12}, align: "left"},
    ...extra,
  };
}

// Draw now, and again when the page turns dark or light or is turned on its side.
function drawn(draw) {
  drawers.push(draw);
  draw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawers.forEach((draw) => draw()));
matchMedia("(max-width: 639px)").addEventListener("change", () => drawers.forEach((draw) => draw()));

function choice(name, options, chosen, change) {
  const group = el("span", {class: "choice", role: "group", "aria-label": name});
  for (const {key, text, off, title} of options) {
    const button = el("button", {type: "button", "data-key": key, "aria-pressed": key === chosen, title}, text);
    button.disabled = Boolean(off);
    button.addEventListener("click", () => {
      for (const other of group.children) other.setAttribute("aria-pressed", other === button);
      change(key);
    });
    group.append(button);
  }
  return el("span", {class: "control"}, name, group);
}

function pick(name, options, chosen, change) {
  const select = el("select", {"aria-label": name});
  options.forEach(({key, text}) => select.append(el("option", {value: String(key)}, text)));
  select.value = String(chosen);
  select.addEventListener("change", () => change(select.value));
  return el("label", {class: "control"}, name, select);
}

const MARKS = {
  "circle": "M12 1.5a4.5 4.5 0 1 0 .01 0z", "square": "M8 2h8v8h-8z", "diamond": "M12 0l6 6-6 6-6-6z",
  "triangle-up": "M12 1l5.5 9.5h-11z", "triangle-down": "M12 11l5.5-9.5h-11z", "cross": "M10 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
  "star": "M12 0l1.7 4h4.3l-3.4 2.7 1.3 4.3-3.9-2.6-3.9 2.6 1.3-4.3-3.4-2.7h4.3z", "x-thin": "M8 2l8 8m0-8l-8 8",
  "box": "M6 0h12v12h-12z",
};

// The line, the mark or the box that stands for something in legends and tables.
function swatch({color, dash, symbol}) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), path = document.createElementNS(space, "path");
  const stroked = dash || symbol === "x-thin";
  const place = {d: dash ? "M0 6h24" : MARKS[symbol ?? "box"] ?? MARKS.circle, fill: stroked ? "none" : tone(color),
    stroke: stroked ? tone(color) : color === "#ffffff" ? colors().muted : "none", "stroke-width": dash ? 2.5 : 1};
  if (dash && dash !== "solid") place["stroke-dasharray"] = dash.replaceAll("px", "");
  const set = (element, values) => Object.entries(values).forEach(([name, value]) => element.setAttribute(name, value));
  set(svg, {class: "swatch", width: 24, height: 12, "aria-hidden": "true"});
  set(path, place);
  svg.append(path);
  return svg;
}

// A legend to switch with: a click turns one on or off, a double click leaves it alone. `items` gives what
// it holds; `renew` fills it again when that has changed.
function legend(items, shown, change) {
  const box = el("div", {class: "legend"});
  const set = (next) => {
    shown.splice(0, shown.length, ...next);
    [...box.querySelectorAll(".chip")].forEach((chip, place) => chip.setAttribute("aria-pressed", shown[place]));
    change();
  };
  const all = (on) => el("button", {type: "button", "data-all": on, onclick: () => set(shown.map(() => on))}, on ? "all" : "none");
  box.renew = () => box.replaceChildren(...items().map((item, place) => el("button", {
    type: "button", class: "chip", "aria-pressed": shown[place], title: "click: on or off; double click: only this",
    onclick: () => set(shown.map((on, other) => other === place ? !on : on)),
    ondblclick: () => set(shown.map((_, other) => other === place)),
  }, swatch(item), item.name)), el("span", {class: "apart"}, all(true), all(false)));
  box.renew();
  drawers.push(box.renew);
  return box;
}

// What is on, for new items: what had the same name before stays as it was.
function stillShown(shown, before, now) {
  const was = new Map(before.map((name, place) => [name, shown[place]]));
  shown.splice(0, shown.length, ...now.map((name) => was.get(name) ?? true));
}
