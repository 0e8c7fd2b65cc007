"""How many samples of each label every client holds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sflsim.errors import ScenarioError
from sflsim.scenario.schema import Scenario
from sflsim.session import Options, Session


def label_counts(scenario: Scenario, seed: int | None = None) -> pd.DataFrame:
    """Return a table (client, label, samples) of a scenario's partition under one of its seeds.

    A row for each client and each label, zeros included; the first seed by default. Clients are
    numbered from 0, as in the tables of a run.

    Raises:
        ScenarioError: the data cannot be read in full, as a run would, or cannot be partitioned so.
    """
    session = Session(scenario, Options())
    session.materials.check_files()
    try:
        shards = session.materials.shards(scenario.seeds[0] if seed is None else seed)
        labels = scenario.workload.dataset.training_labels()
        classes = scenario.workload.dataset.classes
    except ScenarioError as error:
        raise scenario.located(error) from error
    counts = np.stack([np.bincount(labels[shard], minlength=classes) for shard in shards])
    client, label = np.divmod(np.arange(counts.size), classes)
    return pd.DataFrame({"client": client, "label": label, "samples": counts.ravel()})
