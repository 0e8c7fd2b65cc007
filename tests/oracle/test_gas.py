"""GAS and its zeroth-order form against literal loops in float64, through the real protocol.

The order of arrivals and parts, who is drawn, batches and normal draws are taken from the run's spans;
everything else is the oracle's, also which global part a client starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from oracle import harness
from oracle.references import common as ref
from oracle.references import gas, zo_gas
from torch import Tensor

from sflsim.learning.label_statistics import LabelStatistics, normals

Q_S, E = 2, 4
TWO_OF_THREE = {
    "clients": 3,
    "participants": 2,
    "groups": [
        {"name": f"speed-{n}", "count": 1, "device": {"compute": speed}, "link": harness.LINK}
        for n, speed in enumerate(harness.SPEEDS)
    ],
}
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


@dataclass
class Course:
    """The order of things in a run of the package, in the oracle's terms."""

    training: harness.Training
    batches: dict[int, list[tuple[int, int]]]
    arrivals: list[int]
    replacements: dict[int, list[tuple[int, int | None]]]
    active: list[int]

    def oracle(self) -> gas.Course:
        return gas.Course(self.data(), self.active, self.arrivals, self.replacements, self.frequency())

    def data(self) -> dict[int, list[ref.Batch]]:
        task = self.training.session.learner.task  # has not read those of exchanges that no model needs
        task.batch([name for names in self.batches.values() for name in names])
        return {k: [self.training.batch(name) for name in names] for k, names in self.batches.items()}

    def names(self) -> list[tuple[int, int]]:
        """Return the batch of every arrival."""
        left = {k: iter(names) for k, names in self.batches.items()}
        return [next(left[k]) for k in self.arrivals]

    def frequency(self) -> dict[int, list[float]]:
        task = self.training.session.learner.task
        counts = [task.data.train_y[shard].bincount(minlength=10).double() for shard in task.shards]
        return {k: (count / count.sum()).tolist() for k, count in enumerate(counts)}

    def labels(self, step: int) -> list[int]:
        """Return the labels in the activation buffer of server step n = 1, 2, ..."""
        names = self.names()[(step - 1) * Q_S : step * Q_S]
        return [int(label) for name in names for label in self.training.batch(name)[1]]

    def normal(self, step: int, label: int, i: int) -> Tensor:
        task = self.training.session.learner.task
        missing = task.batch_size(0) - self.labels(step).count(label)
        (size,) = {z.shape[1:].numel() for z in self.activations()}
        key = (self.training.outcome.seed, "gas", "activations", step, label)
        return normals(key, missing, size)[i].double()

    def activations(self) -> list[Tensor]:
        calls = [call for call in self.training.session.learner.calls if call.function == "exchange"]
        values = self.training.session.learner.executor.resolve([call.handles[0] for call in calls[:1]])
        return [value["z"] for value in values]

    def check(self, x_c_rounds: Sequence[ref.Params], x_s_rounds: Sequence[ref.Params]) -> None:
        """Compare every round's model: the client part of that fill, the server part of the last step."""
        rows = self.training.outcome.evaluations[1:]
        models = self.training.session.learner.models[1:]
        assert len(rows) == len(models) == len(x_c_rounds) == 3
        for number, (row, model) in enumerate(zip(rows, models, strict=True)):
            steps = row.step
            harness.close(model["client"], harness.flat(x_c_rounds[number]))
            harness.close(model["server"], harness.flat(x_s_rounds[steps - 1]))
        for part, start in ((x_c_rounds[-1], self.training.x_c), (x_s_rounds[steps - 1], self.training.x_s)):
            assert float((harness.flat(part) - harness.flat(start)).abs().max()) > 1e-2


def course_of(training: harness.Training, messages: int = 1) -> Course:
    """Read the course of a run from its spans: `messages` up are one arrival, the last is the client part.

    The n-th part that is in and the n-th client to start after the first belong together: it starts
    at that time.
    """
    spans = sorted(training.outcome.spans, key=lambda span: span.start_s)  # a message before its latency
    whole = [span for span in spans if span.activity == "contribution"]
    sent_s: dict[tuple[str, int], list[float]] = {}
    started_s: dict[tuple[str, int], float] = {}
    for span in spans:
        activity, start_s, end_s, client = span.activity, span.start_s, span.end_s, span.client
        if span.actor == client:
            turn = client, sum(one.client == client and one.end_s <= start_s for one in whole)
            if activity == "latency":  # of the message before
                sent_s[turn] = [end_s if time_s == start_s else time_s for time_s in sent_s.get(turn, [])]
                continue
            started_s[turn] = min(start_s, started_s.get(turn, start_s))
            if activity == "uplink":
                sent_s.setdefault(turn, []).append(end_s)
    index = {f"speed-{k}-0": k for k in range(3)}
    arrivals: list[tuple[float, int]] = []
    parts: list[tuple[float, int]] = []
    for (client, _), times_s in sent_s.items():
        ended_s = sorted(times_s)
        arrivals += [(time_s, index[client]) for time_s in ended_s[: E * messages][messages - 1 :: messages]]
        parts += [(time_s, index[client]) for time_s in ended_s[E * messages :]]
    arrivals.sort()
    starts = sorted((time_s, index[client]) for (client, _), time_s in started_s.items())
    active = [k for time_s, k in starts if time_s == 0.0]
    replacements: dict[int, list[tuple[int, int | None]]] = {}
    for n, (part_s, done) in enumerate(sorted(parts)):
        start_s, follows = starts[len(active) + n] if len(active) + n < len(starts) else (part_s, None)
        assert start_s == part_s, "replaced at once"
        last = sum(time_s <= part_s for time_s, _ in arrivals) - 1
        replacements.setdefault(last, []).append((done, follows))
    arguments = [call.arguments[0] for call in training.session.learner.calls if call.function == "exchange"]
    batches: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for args in arguments:
        batches[args["batch"][0]].append(args["batch"])
    assert [args["batch"][0] for args in arguments] == [k for _, k in arrivals]
    return Course(training, batches, [k for _, k in arrivals], replacements, active)


def both(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"client_optimizer": optimizer, "server_optimizer": optimizer}


def variant(**fields: Any) -> dict[str, Any]:
    return {
        "algorithm": "gas",
        "q_s": Q_S,
        "q_c": 2,
        "local_iterations": E,
        **both(SGD),
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"covariance": "full", **both({**SGD, "clip": 0.5})}, {}),
        ({"covariance": "diagonal", **both({**SGD, "clip": None})}, {"fleet": TWO_OF_THREE}),
        ({"covariance": "auto"}, {"fleet": TWO_OF_THREE, "workload": harness.CNN}),
        ({"covariance": "diagonal"}, {"fleet": TWO_OF_THREE, "workload": harness.CNN}),
        ({"generate": False}, {}),
        ({"logit_adjustment": False, "weighting": "samples"}, {}),
        ({"q_c": 3}, {"fleet": TWO_OF_THREE}),
    ],
)
def test_gas_is_the_oracles(fields: dict[str, Any], parts: dict[str, Any]) -> None:
    """Three rounds of three clients: every round's model, with generation after the first few steps."""
    config = variant(**fields)
    training = harness.train(config, **parts)
    course, task = course_of(training), training.session.learner.task
    opt = harness.oracle_optimizer({"clip": 10.0, **config["client_optimizer"]})
    settings = gas.Settings(
        E=E,
        Q_s=Q_S,
        Q_c=config["q_c"],
        B=task.batch_size(0),
        n_labels=10,
        opt_c=opt,
        opt_s=opt,
        covariance="diagonal" if fields.get("covariance") == "diagonal" else "full",
        model_weights=dict(enumerate(map(len, task.shards))) if "weighting" in fields else None,
        logit_adjust=fields.get("logit_adjustment", True),
        generate=fields.get("generate", True),
    )
    result = gas.reference(training.split, course.oracle(), settings, course.normal)

    course.check(result.x_c_rounds, result.x_s_rounds)
    assert any(any(step) for step in result.extra["top_ups"]) == fields.get("generate", True)


@pytest.mark.parametrize(
    ("perturbations", "workload"), [(1, harness.MLP), (2, harness.MLP), (1, harness.CNN)]
)
def test_zo_gas_is_a_literal_loop(perturbations: int, workload: dict[str, Any]) -> None:
    """The client steps along the two-sided difference of the adjusted loss, the server of the plain one."""
    settings = {"eta_s": 0.02, "eta_c": 0.02, "lam": 0.05, "perturbations": perturbations}
    buffers = {"q_s": Q_S, "q_c": 2, "local_iterations": E}
    training = harness.train({"algorithm": "zo-gas", **buffers, **settings}, workload=workload)
    course = course_of(training, messages=1 + 2 * perturbations)
    names = course.names()
    result = zo_gas.reference(
        training.split,
        course.oracle(),
        zo_gas.Settings(
            gas.Settings(
                E, Q_S, 2, training.session.learner.task.batch_size(0), 10, ref.Opt(lr=0.02), ref.Opt(lr=0.02)
            ),
            lam=0.05,
            P=perturbations,
        ),
        course.normal,
        u_c=lambda j, p: training.normals(training.x_c, "zo-gas", "client", *names[j], p),
        u_s=lambda n, p: training.normals(training.x_s, "zo-gas", "server", n, p),
    )

    course.check(result.x_c_rounds, result.x_s_rounds)
    assert {key[:2] for key in training.session.drawn} == {("zo-gas", "client"), ("zo-gas", "server")}
    assert training.asked == set(training.session.drawn)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_moments_weighted_by_count_are_the_pooled_moments(covariance: Any) -> None:
    """Where each buffer weighs what it holds, the formulas pool exactly, but for the ridge of each update."""
    source = torch.Generator().manual_seed(0)
    groups = [torch.randn(n, 5, generator=source, dtype=torch.float64) * n for n in (3, 1, 7)]
    statistics = LabelStatistics({}, covariance)
    for rows in groups:
        statistics.update(rows, torch.zeros(len(rows), dtype=torch.long), float(len(rows)))
    rows = torch.cat(groups)
    ridge = 0.0
    for before, n in ((0, 3), (3, 1), (4, 7)):
        ridge = before / (before + n) * ridge + 1e-5
    wanted = torch.cov(rows.T, correction=0) + ridge * torch.eye(5, dtype=torch.float64)

    torch.testing.assert_close(statistics.of[0].mean, rows.mean(dim=0))
    found = statistics.of[0].covariance
    torch.testing.assert_close(found, wanted if covariance == "full" else wanted.diagonal())


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_statistics_survive_as_tensors_and_keep_a_factor_that_holds(covariance: Any) -> None:
    """An unchanged covariance is not factored again; a label that is absent keeps what it has."""
    source = torch.Generator().manual_seed(0)
    z, y = torch.randn(40, 6, generator=source), torch.arange(40) % 2
    first = LabelStatistics({}, covariance)
    first.update(z, y, 1.0)
    first.sample({0: 2, 1: 3}, (0, "a"))
    second = LabelStatistics(first.state(), covariance)
    second.update(z[y == 0], y[y == 0], 2.0)
    drawn, labels = second.sample({0: 2, 1: 3}, (0, "a"))

    assert labels.tolist() == [0, 0, 1, 1, 1]
    assert second.of[1].factor is first.of[1].factor
    assert second.of[0].factor is not first.of[0].factor
    for label, rows in ((0, drawn[:2]), (1, drawn[2:])):
        old = second.of[label]
        like = gas.LabelStatistics(float(old.weight), old.mean, old.covariance)
        draws = normals((0, "a", label), len(rows), 6).double()
        wanted = torch.stack([gas.generated(like, row, covariance) for row in draws])
        torch.testing.assert_close(rows, wanted)


def test_samples_have_the_moments() -> None:
    """40,000 draws: mean and covariance to 5 standard errors."""
    source = torch.Generator().manual_seed(1)
    z = torch.randn(500, 4, generator=source, dtype=torch.float64) @ torch.randn(
        4, 4, generator=source, dtype=torch.float64
    )
    statistics = LabelStatistics({}, "auto")
    statistics.update(z, torch.zeros(500, dtype=torch.long), 1.0)
    n = 40_000
    drawn, _ = statistics.sample({0: n}, (0, "moments"))
    held = statistics.of[0]
    deviations = held.covariance.diagonal()
    found = torch.cov(drawn.T, correction=0)

    assert ((drawn.mean(dim=0) - held.mean).abs() < 5 * (deviations / n).sqrt()).all()
    bound = 5 * ((held.covariance.square() + torch.outer(deviations, deviations)) / n).sqrt()
    assert ((found - held.covariance).abs() < bound).all()


def test_a_covariance_that_cannot_be_factored_gives_nan() -> None:
    """So that the run is seen to diverge; it never draws from another distribution unseen."""
    statistics = LabelStatistics({}, "full")
    statistics.update(torch.full((3, 4), torch.inf), torch.zeros(3, dtype=torch.long), 1.0)

    assert statistics.sample({0: 2}, (0,))[0].isnan().all()
