// What all sections share: elements, figures as text, colours, controls. Names from the scenario
// become text nodes here, or go through `plain` where plotly would read them as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const drawers = [];
const touch = matchMedia("(pointer: coarse)").matches;
const narrow = () => document.documentElement.clientWidth < 640;
const CONFIG = {
  responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
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

// A line and its symbol as they are drawn, for legends and tables.
function swatch({color, dash, symbol}) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, dash ? "line" : "rect");
  const place = dash ? {x1: 0, x2: 24, y1: 6, y2: 6, stroke: tone(color), "stroke-width": 2.5}
    : {x: 6, y: 0, width: 12, height: 12, rx: 2, fill: tone(color), stroke: faint("#888888", 0.7)};
  if (dash && dash !== "solid") place["stroke-dasharray"] = dash.replaceAll("px", "");
  svg.setAttribute("class", "swatch");
  for (const [name, value] of Object.entries({width: 24, height: 12, "aria-hidden": "true"})) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries(place)) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

// A legend to switch with: a click turns one on or off, a double click leaves it alone.
function legend(items, shown, change) {
  const box = el("div", {class: "legend"});
  const set = (next) => {
    shown.splice(0, shown.length, ...next);
    chips.forEach((chip, place) => chip.setAttribute("aria-pressed", shown[place]));
    change();
  };
  const chips = items.map((item, place) => el("button", {
    type: "button", class: "chip", "aria-pressed": shown[place], title: "click: on or off; double click: only this",
    onclick: () => set(shown.map((on, other) => other === place ? !on : on)),
    ondblclick: () => set(shown.map((_, other) => other === place)),
  }, swatch(item), item.name));
  const all = (on) => el("button", {type: "button", "data-all": on, onclick: () => set(shown.map(() => on))}, on ? "all" : "none");
  box.append(...chips, el("span", {class: "apart"}, all(true), all(false)));
  drawers.push(() => chips.forEach((chip, place) => chip.replaceChild(swatch(items[place]), chip.firstChild)));
  return box;
}
