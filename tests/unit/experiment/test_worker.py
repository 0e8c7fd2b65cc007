"""The runner of an experiment's process."""

from __future__ import annotations

from dataclasses import replace

from support import data, read

from sflsim.experiment.worker import make_runner
from sflsim.session import Options, Session


def test_a_runner_takes_the_costs_of_its_caller() -> None:
    """A process of its own derives no costs that it is given: of networks that are looked at before a run."""
    model = {"kind": "mlp", "hidden": [8], "freeze": ["output.bias"]}
    workload = {"model": model, "cut": 1, "batch_size": 8}
    scenario, options = read(data(workload=workload)), Options()
    session = Session(scenario, options)
    session.check()
    costs = session.cache.of_kind("costs")
    more = {key: replace(cost, server_forward_flop=1e6) for key, cost in costs.items()}
    own, same, longer = (
        make_runner(scenario, options, given).run(lambda message: None, 0, 0).time_s
        for given in ({}, costs, more)
    )
    assert own == same < longer
