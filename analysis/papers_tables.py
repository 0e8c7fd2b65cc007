"""What do the papers report on Fashion-MNIST, and what does sflsim show?

The scenarios of scenarios/papers on the real Fashion-MNIST are run (docs/how-to/data.md says where it comes
from), GAS's under both of its divisions of the labels. With `--page` the tables replace those of a page
(docs/background/validation.md), between the lines `<!-- papers -->` and `<!-- end of papers -->`. It takes
hours of computing; what was learned is kept in the cache, so that a run that was stopped goes on.

    python analysis/papers_tables.py [--quick] [--out FOLDER] [--cache FOLDER] [--page FILE]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import pandas as pd

import sflsim

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- papers -->\n", "<!-- end of papers -->\n"
QUICK = ["workload.dataset={kind: fashion-mnist, limit: 6000, held_out_limit: 500}", "stop={rounds: 3}"]
QUICK += ["evaluate.every=3 rounds", "seeds=[0]"]


@dataclass(frozen=True)
class Setting:
    """A scenario, and the accuracies in % that its paper reports for some of its variants."""

    title: str
    scenario: str
    changes: Sequence[str] = ()
    reported: Mapping[str, float] = field(default_factory=dict)

    def run(self, quick: bool, cache: Path | bool) -> sflsim.Run:
        """Return its run."""
        path = ROOT / "scenarios" / "papers" / f"{self.scenario}.yaml"
        changes = [*self.changes, *(QUICK if quick else ())]
        return sflsim.simulate(sflsim.load_scenario(path, changes), cache=cache, keep_spans=False)


MU_SPLITFED = {
    f"mu-splitfed tau={tau}": best for tau, best in enumerate([77.5, 85.45, 85.28, 84.47], start=1)
}
MU_SPLITFED["zo-gas"] = 83.7
SETTINGS = (
    Setting("MU-SplitFed", "mu_splitfed_fashion", ["seeds=[0, 1, 2, 3, 4]"], MU_SPLITFED),
    Setting("GAS, labels by Dirichlet 0.1", "gas_fashion", (), {"gas": 90.58}),
    Setting(
        "GAS, two shards per client",
        "gas_fashion",
        ["workload.partition={kind: shards, shards_per_client: 2}"],
        {"gas": 90.66},
    ),
    Setting("HO-SFL", "ho_sfl_fashion"),
)
"""Reported with AlexNet: by MU-SplitFed (arXiv 2510.21155) after 100 epochs in single runs, by GAS (arXiv
2409.01251) at its best. HO-SFL (arXiv 2603.14773) has no Fashion-MNIST."""


def rows(setting: Setting, run: sflsim.Run) -> pd.DataFrame:
    """Return a row for each variant and seed: last accuracy, and round and time of the target (else NaN)."""
    target, found = run.scenario.target_accuracy, []
    for (variant, seed), curve in run.evaluations.groupby(["variant", "seed"], sort=False):
        there = curve[curve["accuracy"] >= target]
        first = there.iloc[0] if len(there) else None
        found.append(
            {
                "setting": setting.title,
                "variant": variant,
                "seed": seed,
                "reported": setting.reported.get(str(variant), math.nan),
                "target": target,
                "accuracy": 100 * curve["accuracy"].iloc[-1],
                "best": 100 * curve["accuracy"].max(),
                "round": math.nan if first is None else first["round"],
                "time_s": math.nan if first is None else first["time_s"],
                "rounds": curve["round"].iloc[-1],
            }
        )
    return pd.DataFrame(found)


def markdown(table: pd.DataFrame) -> str:
    """Return the table of one setting: a row for each variant, means over seeds, the least and the most."""
    target = f"{table['target'].iloc[0]:.0%}"
    titles = ["variant", "paper (%)", "best (%)", "last (%)", f"rounds to {target}", f"seconds to {target}"]
    lines = [titles, ["---"] * len(titles)]
    for variant, own in table.groupby("variant", sort=False):
        paper = own["reported"].iloc[0]
        reported = "" if math.isnan(paper) else f"{paper:g}"
        lines.append(
            [f"`{variant}`", reported, *(_over_seeds(own[name], "{:.1f}") for name in ("best", "accuracy"))]
            + [_over_seeds(own[name], "{:.0f}") for name in ("round", "time_s")]
        )
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"**{table['setting'].iloc[0]}**, {table['seed'].nunique()} seeds:\n\n{text}\n"


def _over_seeds(values: pd.Series[float], form: str) -> str:
    """Return mean, lowest and highest; of a target that some seeds miss, how many reach it."""
    known = values.dropna()
    if len(known) < len(values):
        return f"{len(known)} of {len(values)} seeds" if len(known) else "-"
    if len(known) == 1:
        return form.format(known.iloc[0])
    mean, low, high = (form.format(one) for one in (known.mean(), known.min(), known.max()))
    return f"{mean} ({low} to {high})"


def study(quick: bool, cache: Path | bool) -> Iterator[pd.DataFrame]:
    """Yield the rows of each setting."""
    for setting in SETTINGS:
        before_s = process_time()
        table = rows(setting, setting.run(quick, cache))
        print(f"{setting.title}: {process_time() - before_s:.0f} s of a processor", flush=True)
        yield table


def replaced(page: str, text: str) -> str:
    """Return the page with the tables between its two lines."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def main() -> None:
    """Run the scenarios and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few images and rounds, for CI")
    parser.add_argument("--out", type=Path, default=Path("analysis/results"))
    parser.add_argument("--cache", type=Path, help="folder of what was learned (default: the usual one)")
    parser.add_argument("--page", type=Path, help="the page whose tables are to be replaced")
    arguments = parser.parse_args()
    page = arguments.page.read_text(encoding="utf-8") if arguments.page else BEGIN + END
    if BEGIN not in page or END not in page:
        parser.error(f"{arguments.page} has no lines {BEGIN.strip()} and {END.strip()}")
    tables = list(study(arguments.quick, arguments.cache or True))
    arguments.out.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(arguments.out / "papers_tables.csv", index=False)
    text = "\n".join(map(markdown, tables))
    print(text)
    if arguments.page:
        arguments.page.write_text(replaced(page, text), encoding="utf-8")


if __name__ == "__main__":
    main()
