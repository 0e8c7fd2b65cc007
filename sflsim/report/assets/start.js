const DRAWN = {accuracy, gantt, time, fleet};
for (const section of document.querySelectorAll("[data-drawn]")) DRAWN[section.dataset.drawn](section);
document.documentElement.dataset.ready = "true";
