const DRAWN = {accuracy, gantt, time, fleet, sweep, rows, plan};
const renewals = {};

// Draw a section, or draw it anew where it is drawn already; of a live page, once there is something.
function show(key) {
  if (data.live && !data[key]) return;
  if (renewals[key]) renewals[key]();
  else renewals[key] = DRAWN[key](document.getElementById(key)) ?? (() => {});
}

for (const section of document.querySelectorAll("[data-drawn]")) show(section.dataset.drawn);
document.documentElement.dataset.ready = "true";
