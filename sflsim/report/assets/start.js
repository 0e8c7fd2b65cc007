const DRAWN = {accuracy, gantt, time, fleet, sweep, rows, plan};
for (const section of document.querySelectorAll("[data-drawn]")) DRAWN[section.dataset.drawn](section);
document.documentElement.dataset.ready = "true";
