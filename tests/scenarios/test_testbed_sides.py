"""What the sides of the testbed learn is what the simulation learns: in threads, over sockets, unshaped.

Exactly where timing cannot change it. Where it can (the order of server steps, their number) the testbed says
what happened, and the simulation's math is given that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, NamedTuple

import pandas as pd
import pytest
from support import connected
from testbed.client import take_part
from testbed.exchanges import SIDES
from testbed.pace import Record
from testbed.parties import Client, Peer, Server
from testbed.server import run
from testbed.setting import Setting
from testbed.wire import Wire

import sflsim
from sflsim.algorithms import cse_fsl, mu_splitfed, splitfed_v2
from sflsim.algorithms.common import local_loss
from sflsim.learning.calls import Model, average, evaluate
from sflsim.rows import Span
from sflsim.session import Options, Session

ROUNDS = 4
SCENARIO = f"""
name: sides
seeds: [0]
workload:
  model: {{kind: mlp, hidden: [16, 16]}}
  cut: 1
  batch_size: 16
  partition: {{kind: dirichlet, alpha: 1}}
fleet:
  clients: 4
  participants: 3
  groups: [{{device: {{compute: 1 GFLOP/s}}, link: {{up: unlimited, down: unlimited}}}}]
server: {{compute: 1 GFLOP/s, slots: 2}}
variants: [fedavg]
stop: {{rounds: {ROUNDS}}}
evaluate: {{every: 1 round}}
"""


class Learned(NamedTuple):
    """What a run learned, and what made it."""

    evaluations: pd.DataFrame
    spans: pd.DataFrame
    sides: Any
    setting: Setting


def scenario_of(variant: dict[str, Any], fleet: dict[str, int] | None = None) -> sflsim.Scenario:
    overrides = [f"fleet.{key}={value}" for key, value in (fleet or {}).items()]
    return sflsim.parse_scenario(SCENARIO.replace("[fedavg]", str([variant])), overrides=overrides)


def in_threads(scenario: sflsim.Scenario) -> Learned:
    """Run the variant for real, with a thread for each party in place of a process."""
    setting = Setting.of(Session(scenario, Options()), 0, 0)
    assert setting.task.auxiliary  # made before there are threads, as that seeds torch's generator
    sides = SIDES[setting.config.algorithm](setting.task, setting.config)
    server = Server(1 if sides.one_server_model else scenario.server.slots, 1.0, Record())
    with ThreadPoolExecutor() as threads:
        peers, clients = {}, []
        for index in range(len(setting.fleet)):
            here, there = connected()
            name = setting.fleet.device(index).name
            peers[index] = Peer(server, name, index, Wire(here))
            me = Client(name, index, setting.task, setting.config, Wire(there), 1.0, Record())
            clients.append(threads.submit(take_part, me))
        found = run(sides, server, peers, setting, scenario)
        for client in clients:
            client.result()
    evaluations = pd.DataFrame(found["evaluations"], columns=["round", "time_s", "accuracy", "loss"])
    return Learned(evaluations, pd.DataFrame(found["spans"], columns=Span._fields), sides, setting)


def losses(setting: Setting, models: Sequence[Model]) -> list[float]:
    """Return the loss of each model on the held-out data."""
    return [loss for _, loss in evaluate(setting.task, [{"model": model} for model in models])]


def batches(setting: Setting, per_round: int) -> list[dict[int, list[tuple[int, int]]]]:
    """Return the batches that each participant of each round trains on."""
    drawn, found = Counter[int](), []
    for round in range(1, ROUNDS + 1):
        chosen = setting.fleet.select(round, 3)
        found.append({c: [(c, drawn[c] + i) for i in range(per_round)] for c in chosen})
        drawn.update(dict.fromkeys(chosen, per_round))
    return found


@pytest.mark.parametrize(
    "variant",
    [
        {"algorithm": "splitfed-v1", "local_iterations": 3},
        {"algorithm": "mu-splitfed", "tau": 3, "perturbations": 2},
        {"algorithm": "ho-sfl", "perturbations": 2, "weighting": "samples"},
        {"algorithm": "fedavg", "local_iterations": 3},
    ],
    ids=lambda variant: str(variant["algorithm"]),
)
def test_timing_changes_nothing(variant: dict[str, Any]) -> None:
    """Three of four clients in each round: the same loss after each, up to the order of sums."""
    scenario = scenario_of(variant)
    real, simulated = in_threads(scenario).evaluations, sflsim.simulate(scenario).evaluations
    assert real["loss"].tolist() == pytest.approx(simulated["loss"].tolist(), rel=1e-6)
    assert real["accuracy"].tolist() == simulated["accuracy"].tolist()
    assert real["loss"].nunique() == ROUNDS + 1


def test_splitfed_v2_steps_in_the_order_of_arrival() -> None:
    """The simulation's steps, taken in the order in which activations came, lead to the same models."""
    real = in_threads(scenario_of({"algorithm": "splitfed-v2", "local_iterations": 2}))
    task, config, order = real.setting.task, real.setting.config, list(real.sides.order)
    model, models = task.initial_model(), []
    both = {
        "client_optimizer": config.client_optimizer.plain(),
        "server_optimizer": config.server_optimizer.plain(),
    }
    for own in batches(real.setting, 2):
        server, parts = model, dict[int, Model]()
        for batch in order[: 2 * len(own)]:
            client, fresh = batch[0], batch[0] not in parts
            args = {
                "client_model": parts.get(client, model),
                "server": server,
                "batch": batch,
                "fresh": fresh,
            }
            parts[client] = server = splitfed_v2.step(task, [args], **both)[0]
        assert sorted(order[: 2 * len(own)]) == sorted(name for names in own.values() for name in names)
        del order[: 2 * len(own)]
        args = {"models": [parts[client] for client in own], "clients": list(own), "server": server}
        model = splitfed_v2.merge(task, [args], weighting=config.weighting)[0]
        models.append(model)
    assert real.evaluations["loss"].tolist()[1:] == pytest.approx(losses(real.setting, models), rel=1e-6)


def test_an_adaptive_tau_is_the_number_of_steps_made() -> None:
    """Given each participant's tau, the simulation's exchange leads to the same models."""
    real = in_threads(scenario_of({"algorithm": "mu-splitfed", "tau": "adaptive", "tau_max": 5}))
    task, config = real.setting.task, real.setting.config
    names = ("eta_s", "eta_c", "lam", "direction", "perturbations", "client_feedback")
    settings = {name: getattr(config, name) for name in names}
    model, models = task.initial_model(), []
    for own, taus in zip(batches(real.setting, 1), real.sides.taus, strict=True):
        assert all(1 <= tau <= 5 for tau in taus.values())
        of = [
            {"start": model, "client": c, "cut": task.cut, "batch": batch, "tau": taus[c]}
            for c, (batch,) in own.items()
        ]
        most_steps = mu_splitfed.MuSplitFed.most_steps(config)
        trained = mu_splitfed.exchange(task, of, most_steps=most_steps, **settings)
        args = {"model": model, "models": trained, "clients": list(own)}
        model = average(task, [args], weighting=config.weighting, eta=config.eta_g)[0]
        models.append(model)
    assert real.evaluations["loss"].tolist()[1:] == pytest.approx(losses(real.setting, models), rel=1e-6)


def test_cse_fsl_counts_the_steps_that_are_done() -> None:
    """Given which activations the server has stepped on by each round's end, the same models."""
    real = in_threads(scenario_of({"algorithm": "cse-fsl", "local_iterations": 4, "q": 2}))
    task, config = real.setting.task, real.setting.config
    model, models, sent = task.initial_model(), [], dict[tuple[int, int], dict[str, Any]]()
    for own, counted in zip(batches(real.setting, 4), real.sides.counted, strict=True):
        of = [{"start": model, "batches": names} for names in own.values()]
        optimizer = config.client_optimizer.plain()
        trained = cse_fsl.train(task, of, q=2, client_optimizer=optimizer)
        for names, after in zip(own.values(), trained, strict=True):
            sent |= {names[e]: {"trained": after, "exchange": e, "batch": names[e]} for e in (1, 3)}
        args = {
            "model": model,
            "models": trained,
            "clients": list(own),
            "arrivals": [sent[n] for n in counted],
        }
        server = config.server_optimizer.plain()
        model = local_loss.merge(task, [args], weighting=config.weighting, server_optimizer=server)[0]
        models.append(model)
    assert 0 < sum(map(len, real.sides.counted)) <= len(sent)
    assert real.evaluations["loss"].tolist()[1:] == pytest.approx(losses(real.setting, models), rel=1e-6)


@pytest.mark.parametrize(
    "variant",
    [
        {"algorithm": "gas", "local_iterations": 4, "q_s": 5, "q_c": 1},
        {"algorithm": "fedbuff", "local_iterations": 2, "b": 2},
    ],
    ids=lambda variant: str(variant["algorithm"]),
)
def test_one_client_without_rounds(variant: dict[str, Any]) -> None:
    """Alone, a client's contributions can come in one order only: the same loss after each update.

    Every fifth arrival leads to a server step and every fourth to an update, so no step is under way then.
    """
    scenario = scenario_of(variant, {"clients": 1, "participants": 1})
    real, simulated = in_threads(scenario).evaluations, sflsim.simulate(scenario).evaluations
    assert real["loss"].tolist() == pytest.approx(simulated["loss"].tolist(), rel=1e-6)
    assert real["loss"].nunique() == ROUNDS + 1


@pytest.mark.parametrize(
    "variant",
    [
        {"algorithm": "gas", "local_iterations": 2, "q_s": 4, "q_c": 3},
        {"algorithm": "fedbuff", "local_iterations": 1, "b": 3},
    ],
    ids=lambda variant: str(variant["algorithm"]),
)
def test_nobody_waits_and_somebody_replaces(variant: dict[str, Any]) -> None:
    """As many updates as wanted, three contributions each, and never more than three of four at work."""
    real = in_threads(scenario_of(variant))
    assert real.evaluations["round"].tolist() == list(range(ROUNDS + 1))
    assert real.evaluations["loss"].iloc[-1] < real.evaluations["loss"].iloc[0]
    spans = real.spans[real.spans["client"] != ""]
    own = spans.groupby(["client", "round"]).agg(start=("start_s", "min"), end=("end_s", "max"))
    assert len(own) >= 3 * ROUNDS
    changes = sorted([(at, 1) for at in own["start"]] + [(at, -1) for at in own["end"]])
    assert max(accumulate(change for _, change in changes)) <= 3
