"""Makes the gallery: what each scenario and each study shows, by running it.

    python docs/gallery.py [NAME ...] [--work FOLDER]

An entry is run by its command in a process of its own. What it shows is kept in docs/gallery as <name>.json
and <name>.png; docs/generate.py makes the page of these when the site is built. Without names all entries are
made that are not kept yet, so a gallery that was stopped goes on; a name is made anew. Results go to FOLDER
(runs/gallery), and what was learned to a cache in it, so that an entry that was stopped goes on, too.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import sflsim
from sflsim.formatting import seconds_text, target_text
from sflsim.planner.columns import front, pareto_columns
from sflsim.provenance import provenance, versions
from sflsim.report.summary_text import summary_columns, summary_notes
from sflsim.sweeps.columns import sweep_columns
from sflsim.terminal.reports import draw, loaded

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "gallery"
NEEDS_DATA = ("papers-mu_splitfed_cifar10", "papers-opt_sst2")
"""Their data and weights are not shipped."""
ROWS = 12
PICTURES = ("accuracy_time.png", "front.png", "where_time_goes.png")
"""The picture of a run or a plan is the first of these that there is."""
INTRO = """# Gallery

What each scenario and each study shows. `docs/gallery.py` makes this page by running the commands; nothing in
it is written by hand. Seconds are those of the processor, all processes together, on one machine.
"""


@dataclass(frozen=True)
class Entry:
    """A scenario or a study: its file, and the verb that runs it ("run", "sweep", "plan", or "study")."""

    file: Path
    verb: str

    @property
    def name(self) -> str:
        """What it is called on the page and in files; `papers/ho_sfl` is `papers-ho_sfl`."""
        inside = self.file.relative_to(ROOT / ("analysis" if self.verb == "study" else "scenarios"))
        return "-".join(inside.with_suffix("").parts)

    @property
    def command(self) -> str:
        """How a user runs it, in a clone."""
        place = self.file.relative_to(ROOT).as_posix()
        return f"python {place}" if self.verb == "study" else f"sflsim {self.verb} {place}"

    @property
    def question(self) -> str:
        """The first sentence at the top of the file."""
        text = self.file.read_text(encoding="utf-8")
        if self.verb == "study":
            words = str(ast.get_docstring(ast.parse(text)))
        else:
            top = re.match(r"(?:#.*\n)+", text)
            words = re.sub(r"^# ?", "", top[0] if top else "", flags=re.MULTILINE)
        return re.split(r"(?<=[?.])\s", words.replace("\n", " "))[0]


@dataclass(frozen=True)
class Made:
    """What is kept of an entry, beside its picture."""

    sentence: str
    by: str
    processor_s: float | None
    """None where it was stopped once, and went on."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    printed: str = ""
    notes: Sequence[str] = ()


def entries() -> list[Entry]:
    """Return all entries: scenarios, the papers' settings, studies."""
    found = []
    for file in sorted((ROOT / "scenarios").rglob("*.yaml"), key=lambda file: (len(file.parts), file)):
        keys = yaml.safe_load(file.read_text(encoding="utf-8"))
        found.append(Entry(file, next((verb for verb in ("plan", "sweep") if verb in keys), "run")))
    studies = sorted((ROOT / "analysis").glob("[a-z]*.py"))
    return found + [Entry(file, "study") for file in studies if "def main(" in file.read_text("utf-8")]


def make(entry: Entry, work: Path) -> None:
    """Run an entry as far as it was not, and keep what it shows (raises CalledProcessError)."""
    place, started = work / entry.name, work / f"{entry.name}.started"
    went_on = started.exists()
    work.mkdir(parents=True, exist_ok=True)
    started.touch()
    before_s = _processor_s()
    if entry.verb == "study":
        command = [sys.executable, str(entry.file), "--out", str(place)]
    else:
        options = ["--out", str(place), "--workers", "1", "--cache", str(work / "cache")]
        command = [sys.executable, "-m", "sflsim", entry.verb, str(entry.file), *options]
    printed = ""
    if not place.exists() or entry.verb == "study":
        printed = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    processor_s = None if went_on else round(_processor_s() - before_s, 1)
    made, picture = shown(entry, place, printed, processor_s)
    KEPT.mkdir(exist_ok=True)
    if picture is not None:
        shutil.copyfile(picture, KEPT / f"{entry.name}.png")
    text = json.dumps(asdict(made), indent=1, ensure_ascii=False)
    (KEPT / f"{entry.name}.json").write_text(text + "\n", encoding="utf-8")
    started.unlink()


def _processor_s() -> float:
    """Return the seconds that processes which have ended here have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shown(entry: Entry, place: Path, printed: str, processor_s: float | None) -> tuple[Made, Path | None]:
    """Return what an entry shows, and its picture."""
    if entry.verb == "study":
        by = _made_by({"provenance": provenance(), "versions": versions()})
        made = Made(sentence_of_study(printed), by, processor_s, printed=printed)
        return made, next(iter(place.glob("*.png")), None)
    result = loaded(place)
    by = _made_by(result.manifest)
    if isinstance(result, sflsim.Run):
        summary = result.summary()
        made = Made(
            sentence_of_run(summary), by, processor_s, summary_columns(summary), "", summary_notes(summary)
        )
    elif isinstance(result, sflsim.Sweep):
        rows = result.summary()
        notes = [f"The first {ROWS} of {len(rows)} rows."] if len(rows) > ROWS else []
        columns = sweep_columns(result, rows.head(ROWS))
        made = Made(sentence_of_sweep(rows), by, processor_s, columns, "", notes)
    else:
        rows = front(result)
        columns = {} if rows.empty else pareto_columns(result, rows.head(ROWS))
        lines = [line for line in result.explanation.splitlines() if line.strip()]
        sentence = next((line for line in lines if line.startswith("Recommended")), lines[0])
        notes = ["The Pareto front, the recommended point first."]
        made = Made(sentence, by, processor_s, columns, result.explanation, notes)
    pictures, _ = draw(place, place / "plots")
    by_name = {path.name: path for path in pictures}
    wanted = [by_name[name] for name in PICTURES if name in by_name]
    return made, next(iter([*wanted, *pictures]), None)


def _made_by(manifest: Mapping[str, Any]) -> str:
    """Return the versions that made a result."""
    commit = str(manifest["provenance"].get("commit", ""))[:7]
    known = manifest["versions"]
    return (
        f"sflsim {known['sflsim']}{f' at {commit}' if commit else ''}, torch {known['torch'].split('+')[0]}"
    )


def sentence_of_run(summary: pd.DataFrame) -> str:
    """Return which variant was first at the target, or was the most accurate, and what stays undecided."""
    there = summary[summary["time_s"].notna() & (summary["seeds_reached"].fillna(0) > 0)]
    if there.empty:
        known = summary[summary["accuracy_mean"].notna()]
        if known.empty:
            return (
                f"Nothing was learned; rounds took {seconds_text(float(summary['time_s'].min()))} at least."
            )
        best = known.loc[known["accuracy_mean"].idxmax()]
        return f"{best['variant']} ends with the highest accuracy, {100 * best['accuracy_mean']:.1f} %."
    first = there.loc[there["time_s"].idxmin()]
    text = f"{first['variant']} is first at {target_text(first['target'])}, "
    text += f"after {seconds_text(first['time_s'])} ({first['seeds_reached']} of {first['seeds']} seeds)."
    undecided = there.loc[there["undecided"] & (there["variant"] != first["variant"]), "variant"]
    if len(undecided):
        text += f" These seeds cannot tell it from {_listed(undecided)}."
    never = summary.loc[~summary["variant"].isin(there["variant"]), "variant"]
    return text + (f" Not there: {_listed(never)}." if len(never) else "")


def sentence_of_sweep(rows: pd.DataFrame) -> str:
    """Return at how many points each variant was first."""
    timed = rows[rows["time_s"].notna()]
    first = timed.loc[timed.groupby("point")["time_s"].idxmin(), "variant"].value_counts()
    wins = [f"{variant} at {count}" for variant, count in first.items()]
    points = rows["point"].nunique()
    return f"First at the target, of {points} points: {_listed(wins)}." if wins else "None is at the target."


def sentence_of_study(printed: str) -> str:
    """Return the last line, if it is a sentence: it ends as one, or stands apart."""
    *lines, last = ["", *printed.strip().splitlines()]
    return last if last.endswith(".") or (lines and not lines[-1]) else ""


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))


def page() -> str:
    """Return the text of the gallery; entries that are not made are named at its end."""
    parts, made = [INTRO], kept()
    for entry in entries():
        if entry in made:
            parts.append(section(entry, made[entry]))
    left = [entry for entry in entries() if entry not in made]
    if left:
        parts.append("## Not shown here\n")
        lacking = " (its data is not shipped)"
        parts += [
            f"- `{entry.command}`: {_text(entry.question)}{lacking * (entry.name in NEEDS_DATA)}"
            for entry in left
        ]
        parts.append("")
    return "\n".join(parts)


def section(entry: Entry, made: Made) -> str:
    """Return one entry as Markdown."""
    took = (
        "went on after a stop" if made.processor_s is None else f"{made.processor_s:.0f} s of processor time"
    )
    lines = [
        f"## {entry.name}\n",
        f"{_text(entry.question)}\n",
        f"```\n{entry.command}\n```\n",
        f"{took}; {made.by}.\n",
    ]
    if made.sentence:
        lines.append(f"**{_text(made.sentence)}**\n")
    if (KEPT / f"{entry.name}.png").exists():
        lines.append(f"![{entry.name}](../gallery/{entry.name}.png)\n")
    if made.columns:
        rows = [list(made.columns), ["---"] * len(made.columns), *zip(*made.columns.values(), strict=True)]
        lines += ["| " + " | ".join(map(_text, row)) + " |" for row in rows]
        lines.append("")
    if made.printed:
        lines.append(f"```\n{made.printed.rstrip()}\n```\n")
    lines += [f"- {_text(note)}" for note in made.notes]
    return "\n".join([*lines, ""])


def _text(text: str) -> str:
    """Return text that Markdown takes as it is, within a table, too."""
    return re.sub(r"([\\|*_\[\]])", r"\\\1", text)


def kept() -> dict[Entry, Made]:
    """Return what is kept of the entries."""
    files = {entry: KEPT / f"{entry.name}.json" for entry in entries()}
    return {
        entry: Made(**json.loads(file.read_text(encoding="utf-8")))
        for entry, file in files.items()
        if file.exists()
    }


def main() -> None:
    """Make what is named, or what is not there yet."""
    known = {entry.name: entry for entry in entries()}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "gallery")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"no such entry: {_listed(unknown)}; allowed: {_listed(known)}")
    left = [name for name, entry in known.items() if entry not in kept() and name not in NEEDS_DATA]
    for name in arguments.names or left:
        print(name, flush=True)
        make(known[name], arguments.work)


if __name__ == "__main__":
    main()
