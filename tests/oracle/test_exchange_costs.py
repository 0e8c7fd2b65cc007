"""Bytes and FLOP of one participation, for every algorithm, against the papers' costs.

Each row of the table says what one client computes, sends and receives in a round and what the server
computes for it, in the papers' symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from oracle.references.codecs import Codec, Wire, gradient_bytes, sent_bytes

import sflsim
from sflsim import registry
from sflsim.registry import algorithms
from sflsim.session import Options, Session

SCENARIO = """
name: costs
workload: {{model: {model}, cut: 2, batch_size: 8}}
fleet: {{clients: 3, groups: [{{device: raspberry-pi-4, link: wifi}}]}}
variants: [{{algorithm: {algorithm}, {settings}}}]
stop: {{rounds: 9}}
"""
E, P, TAU = 4, 3, 5


@dataclass(frozen=True)
class Row:
    """An algorithm, its settings, and (client FLOP, up, down, server FLOP) of one participation."""

    algorithm: str
    settings: str
    expected: Callable[[Any], tuple[float, float, float, float]]
    model: str = "{kind: cnn, channels: [4, 8]}"


def first_order(c: Any) -> tuple[float, float, float, float]:
    """E iterations of forward, |z| + |y| up, server step, |z| down, backward; |x_c| down and up."""
    return (
        E * (c.fwd_c + c.bwd_c),
        E * (c.z + c.y) + c.x_c,
        E * c.z + c.x_c,
        E * (c.fwd_s + c.bwd_s),
    )


def unsplit(c: Any) -> tuple[float, float, float, float]:
    """E iterations of the whole model at the client; the whole model down and up."""
    return E * (c.fwd_c + c.bwd_c + c.fwd_s + c.bwd_s), c.x_c + c.x_s, c.x_c + c.x_s, 0.0


def zeroth_order(tau: int, perturbations: int) -> Callable[[Any], tuple[float, float, float, float]]:
    """(1 + 2P) forwards and activations, one scalar per perturbation; 2 tau P and 2P server forwards."""
    both = 2 * perturbations
    return lambda c: (
        (1 + both) * c.fwd_c,
        (1 + both) * c.z + c.y + c.x_c,
        4 * perturbations + c.x_c,
        (tau * both + both) * c.fwd_s,
    )


TABLE = [
    Row("fedavg", f"local_iterations: {E}", unsplit),
    Row("fedlora", f"local_iterations: {E}", unsplit, "{kind: mlp, hidden: [16, 8], adapters: {rank: 2}}"),
    Row("fedasync", f"local_iterations: {E}", unsplit),
    Row("fedbuff", f"local_iterations: {E}, b: 3", unsplit),
    Row("sl", f"local_iterations: {E}", first_order),
    Row("splitfed-v1", f"local_iterations: {E}", first_order),
    Row("splitfed-v2", f"local_iterations: {E}", first_order),
    Row("psl", f"local_iterations: {E}", lambda c: (*first_order(c)[:3], 0.0)),  # one job for all, the last's
    Row("mu-splitfed", f"tau: {TAU}", zeroth_order(TAU, 1)),
    Row("mu-splitfed", f"tau: {TAU}, perturbations: {P}", zeroth_order(TAU, P)),
    Row("mu-splitfed", f"tau: {TAU}, client_feedback: joint", zeroth_order(TAU, 1)),
    Row("zo-splitfed", "", zeroth_order(1, 1)),
    Row("gas", f"local_iterations: {E}, q_c: 3, q_s: 3", first_order),
    Row(
        "zo-gas",
        f"local_iterations: {E}, q_c: 3, q_s: 3",
        lambda c: (E * 3 * c.fwd_c, E * (3 * c.z + c.y) + c.x_c, E * 4 + c.x_c, E * 2 * c.fwd_s),
    ),
    Row(
        "ho-sfl",
        f"perturbations: {P}",
        lambda c: ((1 + P) * c.fwd_c, c.z + c.y + 4 * P, c.z + 4 * P + 4 * P, c.fwd_s + c.bwd_s),
    ),
    Row(
        "cse-fsl",
        f"local_iterations: {E}, q: 2",
        lambda c: (
            E * (c.fwd_c + c.bwd_c + c.fwd_a + c.bwd_a),
            E // 2 * (c.z + c.y) + c.x_c + c.x_a,
            c.x_c + c.x_a,
            E // 2 * (c.fwd_s + c.bwd_s),
        ),
    ),
    Row(
        "fsl-sage",  # the fit on the 2 batches of the first round, 5 epochs of 3 passes; the head down
        f"local_iterations: {E}, q: 2, fit_every: 1",
        lambda c: (
            E * (c.fwd_c + c.bwd_c + c.fwd_a + c.bwd_a),
            E // 2 * (c.z + c.y) + c.x_c + c.x_a,
            c.x_c + 2 * c.x_a,
            E // 2 * (2 * (c.fwd_s + c.bwd_s) + 15 * (c.fwd_a + c.bwd_a)),
        ),
    ),
    Row(
        "heron-sfl",
        f"local_iterations: {E}, q: 2",
        lambda c: (
            E * 2 * (c.fwd_c + c.fwd_a),
            E // 2 * (c.z + c.y) + c.x_c + c.x_a,
            c.x_c + c.x_a,
            E // 2 * (c.fwd_s + c.bwd_s),
        ),
    ),
    Row(
        "frozen-client",
        f"local_iterations: {E}",
        lambda c: (E * c.fwd_c, E * (c.z + c.y), 0.0, E * (c.fwd_s + c.bwd_s)),
    ),
]


def test_every_algorithm_is_in_the_table() -> None:
    """A new algorithm needs a row."""
    assert set(algorithms()) == {row.algorithm for row in TABLE}


def participation(scenario: sflsim.Scenario) -> tuple[float, float, float, float]:
    """Return (client FLOP, up, down, server FLOP) of the spans of one client in its second round."""
    spans = sflsim.simulate(scenario, timing_only=True).spans
    client = "raspberry-pi-4-1"
    spans = spans[spans["client"] == client]
    contributions = spans[spans["activity"] == "contribution"]
    if len(contributions):
        second = contributions.iloc[1]
        spans = spans[(spans["start_s"] >= second["start_s"]) & (spans["end_s"] <= second["end_s"])]
    else:
        spans = spans[spans["round"] == 2]

    def total(activity: str, column: str) -> float:
        return float(spans.loc[spans["activity"] == activity, column].sum())

    return (
        total("compute", "flop"),
        total("uplink", "bytes"),
        total("downlink", "bytes"),
        total("serve", "flop"),
    )


def symbols_of(scenario: sflsim.Scenario, **sizes: float) -> SimpleNamespace:
    """Return the papers' symbols; `sizes` stand in place of the bytes held."""
    costs = Session(scenario, Options(timing_only=True)).requirements.costs(2)
    held = SimpleNamespace(
        fwd_c=costs.client_forward_flop,
        bwd_c=costs.client_backward_flop,
        fwd_s=costs.server_forward_flop,
        bwd_s=costs.server_backward_flop,
        fwd_a=costs.auxiliary_forward_flop,
        bwd_a=costs.auxiliary_backward_flop,
        z=costs.activation_bytes,
        y=costs.labels_bytes,
        x_c=costs.client_model_bytes,
        x_s=costs.server_model_bytes,
        x_a=costs.auxiliary_model_bytes,
    )
    return SimpleNamespace(**{**vars(held), **sizes})


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.algorithm} {row.settings}".strip())
def test_a_participation_costs_what_the_page_says(row: Row) -> None:
    """Without compression: the bytes held."""
    scenario = sflsim.parse_scenario(SCENARIO.format(**vars(row)))

    assert participation(scenario) == pytest.approx(row.expected(symbols_of(scenario)), rel=1e-12)


B = 8  # samples of a batch
NUMBERS = {"cnn": 8 * 2 * 2, "mlp": 8}  # of a sample's activation: 8 channels of 2x2 pixels, or 8 units


TOP = "{kind: top-k, keep: 10%}"
CODECS: list[dict[str, tuple[str, Codec]]] = [
    {
        "activation": ("fp16", Codec("fp16")),
        "gradient": ("bf16", Codec("bf16")),
        "model": ("fp16", Codec("fp16")),
    },
    {
        "activation": ("{kind: quantize, bits: 4, per: channel}", Codec("quantize", 4, "channel")),
        "gradient": ("int8", Codec("quantize", 8)),
        "model": ("int8", Codec("quantize", 8)),
    },
    {
        "activation": (TOP, Codec("top-k", keep=Fraction(1, 10))),
        "gradient": ("int8", Codec("quantize", 8)),
        "model": (TOP, Codec("top-k", keep=Fraction(1, 10))),
    },
]


@pytest.mark.parametrize("codecs", CODECS, ids=["16 bits", "8 and 4 bits", "top-k"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.algorithm} {row.settings}".strip())
def test_a_participation_costs_what_its_codecs_send(row: Row, codecs: dict[str, tuple[str, Codec]]) -> None:
    """Every algorithm with every codec: the same symbols, of what is sent in place of what is held."""
    algorithm = registry.algorithm_called(row.algorithm)
    given = ", ".join(f"{kind}: {codecs[kind][0]}" for kind in algorithm.sends)
    settings = f"{row.settings}, compression: {{{given}}}".removeprefix(", ")
    scenario = sflsim.parse_scenario(SCENARIO.format(**{**vars(row), "settings": settings}))
    held = symbols_of(scenario)
    wire = Wire(**{kind: codec for kind, (_, codec) in codecs.items()})
    n = NUMBERS["mlp" if "mlp" in row.model else "cnn"]  # in 8 channels
    tensors = {"client": 4, "server": 4, "auxiliary": 2}  # a weight and a bias of each layer
    if row.algorithm == "fedlora":
        tensors["server"] = 2  # of 3 layers 2 are before the cut; of an adapter A and B
    parts = {"client": held.x_c, "server": held.x_s, "auxiliary": held.x_a}
    numbers = round(sum(parts[part] for part in algorithm.model_parts) / 4)
    whole = sent_bytes(wire.model, 1, numbers, sum(tensors[part] for part in algorithm.model_parts))
    head = sent_bytes(wire.model, 1, round(held.x_a / 4), 2) if "auxiliary" in algorithm.model_parts else 0.0
    sizes = {"x_c": whole - head, "x_s": 0.0, "x_a": head}  # one message; of fsl-sage also a head alone
    ranges = 8 if codecs["activation"][1].per == "channel" else 1
    flop, up, _, served = row.expected(
        symbols_of(scenario, z=sent_bytes(wire.activation, B, n, ranges), **sizes)
    )
    _, _, down, _ = row.expected(symbols_of(scenario, z=gradient_bytes(wire, B, n), **sizes))

    assert participation(scenario) == pytest.approx((flop, up, down, served), rel=1e-12)
