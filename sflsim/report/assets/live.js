// A live page: settings that change what is shown, what the server is doing, and all that it sends.
(function live() {
  const own = data.live, box = document.getElementById("controls");
  const fields = new Map();
  let sending = null, next = null;

  async function ask(action, body = {}) {
    const answer = await fetch(`act/${action}`, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)})
      .catch(() => null);
    if (answer === null) return "The command has ended: nothing is computed any more.";
    return (await answer.json().catch(() => ({error: `No answer to read (HTTP ${answer.status}); the terminal of the command may say why.`}))).error;
  }

  // Settings: at most one change is under way, and the last one wins.

  const settings = () => Object.fromEntries([...fields].map(([id, field]) => [id, field.text()]));

  async function change(id) {
    next = id;
    if (sending) return;
    sending = true;
    while (next !== null) {
      const last = next;
      next = null;
      const error = await ask("change", settings());
      for (const field of fields.values()) field.told("");
      fields.get(last).told(error);
    }
    sending = false;
  }

  const parted = (text) => /^\s*([0-9.eE+-]+)\s*(.*)$/.exec(text) ?? [null, NaN, ""];

  // A slider from a tenth to ten times what the scenario has, beside a field for any amount.
  function amountField(control) {
    const [, base, unit] = parted(control.value), steps = 40;
    const slider = el("input", {type: "range", min: -steps, max: steps, step: 1, "aria-label": `${control.group} ${control.label}, slider`});
    const text = el("input", {type: "text", class: "amount", "aria-label": `${control.group} ${control.label}`, "data-control": control.id});
    const place = () => {
      const [, number, its] = parted(text.value);
      slider.disabled = !(Number(base) > 0) || its !== unit || !(Number(number) > 0) || text.disabled;
      if (!slider.disabled) slider.value = Math.round(steps * Math.log10(number / base));
    };
    slider.addEventListener("input", () => {
      const at = Number(slider.value);
      text.value = at ? `${Number((base * 10 ** (at / steps)).toPrecision(3))} ${unit}`.trim() : control.value;
      change(control.id);
    });
    text.addEventListener("change", () => { place(); change(control.id); });
    return {parts: [text, slider], text: () => text.value, set: (value) => { text.value = value; place(); }, input: text};
  }

  function wholeField(control) {
    const slider = el("input", {type: "range", min: control.least, max: control.most, step: 1, "aria-label": `${control.group} ${control.label}, slider`});
    const text = el("input", {type: "number", min: control.least, max: control.most, "aria-label": `${control.group} ${control.label}`, "data-control": control.id});
    slider.addEventListener("input", () => { text.value = slider.value; change(control.id); });
    text.addEventListener("change", () => { slider.value = text.value; change(control.id); });
    return {parts: [text, slider], text: () => text.value, set: (value) => { text.value = slider.value = value; }, input: text};
  }

  function stepsField(control) {
    const slider = el("input", {type: "range", min: 0, max: control.options.length - 1, step: 1, "aria-label": control.label, "data-control": control.id});
    const shown = el("output", {class: "amount"});
    slider.addEventListener("input", () => { shown.textContent = control.options[slider.value]; change(control.id); });
    return {parts: [shown, slider], text: () => control.options[slider.value], input: slider,
      set: (value) => { slider.value = control.options.indexOf(value); shown.textContent = value; }};
  }

  function choiceField(control) {
    const select = el("select", {"aria-label": `${control.group} ${control.label}`, "data-control": control.id});
    for (const option of control.options) select.append(el("option", {value: option}, option));
    select.addEventListener("change", () => change(control.id));
    return {parts: [select], text: () => select.value, set: (value) => { select.value = value; }, input: select};
  }

  function textField(control) {
    const text = el("input", {type: "text", class: "wide", "aria-label": `${control.group} ${control.label}`, "data-control": control.id});
    text.addEventListener("change", () => change(control.id));
    return {parts: [text], text: () => text.value, set: (value) => { text.value = value; }, input: text};
  }

  const KINDS = {choice: choiceField, steps: stepsField, amount: amountField, whole: wholeField, text: textField};

  function build() {
    const groups = new Map();
    for (const control of own.controls) {
      const field = KINDS[control.kind](control), wrong = el("p", {class: "wrong-value", role: "alert"});
      const row = el("div", {class: `setting ${control.kind}`}, el("span", {class: "name"}, control.label), ...field.parts, wrong);
      fields.set(control.id, {...field, control, told: (error) => {
        wrong.textContent = error;
        field.input.classList.toggle("wrong", Boolean(error));
      }});
      if (!groups.has(control.group)) groups.set(control.group, []);
      groups.get(control.group).push(row);
    }
    return [...groups].map(([name, rows], place) => el("details", {class: "group", open: place < 1 || !narrow() ? "" : null},
      el("summary", {}, name), ...rows));
  }

  function fill() { // what somebody types in at this moment stays
    for (const {control, input, set, told} of fields.values()) {
      const now = own.controls.find(({id}) => id === control.id);
      const needed = control.needs && own.controls.find(({id}) => id === control.needs);
      input.disabled = Boolean(needed) && needed.now !== needed.value;
      if (sending || input === document.activeElement && input.type !== "range") continue;
      set(now.now);
    }
  }

  // What is done and what is lacking.

  const said = el("p", {class: "said", role: "status"}), bar = el("progress", {max: 1}), failed = el("p", {class: "wrong-value", role: "alert"});
  const lacking = el("p", {class: "note lacking"}), pins = el("ul", {class: "pins"}), command = el("pre", {class: "command"});
  const button = (id, text, title, act) => el("button", {type: "button", id, title, onclick: async () => { failed.textContent = await act(); }}, text);
  const train = button("train", "Train", "compute in the background what is not known", () => ask("train"));
  const stop = button("stop", "Stop", "stop training at its next evaluation", () => ask("stop"));
  const pin = button("pin", "Pin", "keep the curves that are on for comparison", () => ask("pin", {names: onNames()}));
  const save = button("save", "Save", "write scenario and run to a new folder", () => ask("save", {target: targetText()}));
  const targetText = () => { const typed = document.getElementById("target")?.value.trim(); return typed ? `${typed.replace("%", "").replace(",", ".").trim()}%` : ""; };
  const onNames = () => [...document.querySelectorAll("#accuracy .chip[aria-pressed=true]")].map((chip) => chip.textContent);
  const timeText = (seconds) => seconds === null || seconds === undefined ? "?" : amountText(Math.max(1, seconds), "s");

  function tell() {
    const now = own.status, doing = now.background?.doing;
    const missing = now.lacking?.length ?? 0;
    if (now.ended) said.textContent = now.ended;
    else if (doing === "training") said.textContent = `Training, about ${timeText(now.background.left_s)} left.`;
    else if (doing === "saving") said.textContent = "Saving: the run is written to a new folder.";
    else if (now.failed) said.textContent = "";
    else if (now.timed < now.runs) said.textContent = `Timing: ${now.timed} of ${now.runs} runs.`;
    else if (now.details) said.textContent = "All curves are drawn; the rounds follow.";
    else said.textContent = now.background?.done || (missing ? "" : now.runs ? "All is as sflsim run gives it." : "");
    const share = doing === "training" ? now.background.share : now.timed < now.runs ? now.timed / now.runs : null;
    bar.hidden = share === null;
    if (share !== null) bar.value = share;
    const each = now.measuring ? "how long is being measured" : now.training_s === null ? "how long is not known" : `about ${timeText(now.training_s)}`;
    lacking.textContent = missing && doing !== "training"
      ? `${now.lacking.join(", ")}: other rounds than before, which must be trained (${each}).` : "";
    train.hidden = !own.controls.length || !missing || doing === "training";
    stop.hidden = doing !== "training" || !own.controls.length;
    pin.hidden = save.hidden = !own.controls.length;
    save.disabled = missing > 0 || now.timed < now.runs || Boolean(doing);
    pin.disabled = !data.accuracy;
    failed.textContent = now.background?.failed || now.failed || "";
    command.textContent = now.overrides?.map((one) => `--set ${/^[\w.=[\]-]+$/.test(one) ? one : `'${one.replaceAll("'", "'\\''")}'`}`).join(" \\\n  ") ?? "";
    command.hidden = !command.textContent;
    for (const id of ["time", "gantt"]) document.getElementById(id).classList.toggle("stale", now.timed < now.runs || now.details > 0);
  }

  function showPins() {
    pins.replaceChildren(...own.pins.map(({name, about}) => el("li", {}, el("b", {}, name), ` ${about} `,
      el("button", {type: "button", "aria-label": `remove ${name}`, onclick: () => ask("unpin", {name})}, "remove"))));
  }

  // Of a part that is not known, nothing of earlier settings stays.
  const empty = (key) => document.getElementById(key).classList.toggle("empty", !data[key]);

  function apply(parts) {
    for (const key of ["controls", "status", "pins"]) if (key in parts) own[key] = parts[key];
    for (const key of ["variants", "accuracy", "time", "gantt"]) if (key in parts) data[key] = parts[key];
    for (const key of ["accuracy", "time", "gantt"]) {
      if (!(key in parts) && !(key === "accuracy" && "variants" in parts)) continue;
      empty(key);
      show(key);
    }
    if ("controls" in parts) fill();
    if ("pins" in parts) showPins();
    tell();
  }

  async function follow() {
    for (;;) {
      const answer = await fetch(`news?since=${own.number}`, {cache: "no-store"}).then((one) => one.ok ? one.json() : null).catch(() => null);
      if (answer === null || answer.ended) {
        if (answer) apply(answer.parts);
        apply({status: {...own.status, ended: "The command has ended: nothing is computed any more.", runs: 0, timed: 0}});
        document.documentElement.dataset.ended = "true";
        return;
      }
      own.number = answer.number;
      apply(answer.parts);
    }
  }

  box.append(el("div", {class: "state"}, said, bar, lacking, el("div", {class: "acts"}, train, stop, pin, save), failed, pins, command), ...build());
  for (const key of ["accuracy", "time", "gantt"]) empty(key);
  if (own.controls.length) fill();
  showPins();
  tell();
  follow();
})();
