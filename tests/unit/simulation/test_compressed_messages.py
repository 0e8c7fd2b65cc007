"""Compression as a variant says it: bytes and times by hand, wrong values, sweeps, plans, what-ifs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support import COSTS, FAST, UNLIMITED, data, read, whole

import sflsim
from sflsim.errors import ScenarioError
from sflsim.explainer.what_if import what_if

TOP_K = {"kind": "top-k", "keep": "50%"}


def scenario(*variants: Any, **parts: Any) -> sflsim.Scenario:
    """Return one fast device: 8 FLOP/s, 16 byte/s each way, 0.25 s; 4 samples, 4 numbers of each sent."""
    workload = {
        "model": {"kind": "mlp", "hidden": [4]},
        "batch_size": 4,
        "costs": {**COSTS, "activation": "64 byte", "labels": "4 byte", "client_model": "16 byte"},
    }
    server = {"compute": "4 FLOP/s", "link": UNLIMITED}
    fleet = {"clients": 1, "groups": [FAST]}
    given = {"fleet": fleet, "workload": workload, "server": server, **parts}
    return read(data(variants=list(variants), **given))


@pytest.mark.parametrize(
    ("compression", "expected"),
    [
        # 16 numbers of 4 bits and a range of 8 byte, with labels of 4; 16 numbers of 2 byte;
        # a model of 4 numbers of a byte, its two tensors with a range each
        (
            {"activation": "int4", "gradient": "fp16", "model": "int8"},
            {"pull": 20, "up": 16 + 4, "down": 32, "push": 20},
        ),
        # 2 of 4 numbers for each of 4 samples, with 4 bits that say which; a gradient at these places;
        # 1 of a model's 4 numbers, with 2 bits that say which
        (
            {"activation": TOP_K, "model": {"kind": "top-k", "keep": "25%"}},
            {"pull": 5, "up": 32 + 2 + 4, "down": 32, "push": 5},
        ),
        ({}, {"pull": 16, "up": 64 + 4, "down": 64, "push": 16}),
    ],
    ids=["bits", "top-k", "none"],
)
def test_one_exchange_by_hand(compression: dict[str, Any], expected: dict[str, float]) -> None:
    """Model down, forward 1 s, activation up, server 7 s, gradient down, backward 2 s, model up."""
    variant = {"algorithm": "splitfed-v1", "compression": compression}
    run = sflsim.simulate(scenario(variant), timing_only=True)
    spans = whole(run.spans)
    sent = spans[spans["activity"].isin(["uplink", "downlink"])].sort_values("start_s")
    times_s = {name: size / 16 + 0.25 for name, size in expected.items()}

    assert sent["bytes"].tolist() == [expected[name] for name in ("pull", "up", "down", "push")]
    assert run.runs["time_s"].tolist() == [sum(times_s.values()) + 1 + 7 + 2]
    assert float(sent["start_s"].iloc[1]) == times_s["pull"] + 1
    assert float(sent["start_s"].iloc[2]) == times_s["pull"] + 1 + times_s["up"] + 7


WRONG = [
    ("int9", "activation"),
    ("int1", "activation"),
    ("fp8", "activation"),
    ("float16", "gradient"),
    ("topk", "activation"),
    (8, "activation"),
    (True, "model"),
    ([], "activation"),
    ({}, "activation.kind"),
    ({"bits": 4}, "activation.kind"),
    ({"kind": "quantise"}, "activation.kind"),
    ({"kind": "quantize", "bits": 1}, "activation.bits"),
    ({"kind": "quantize", "bits": 16}, "activation.bits"),
    ({"kind": "quantize", "bits": 2.5}, "activation.bits"),
    ({"kind": "quantize", "bits": "8"}, "activation.bits"),
    ({"kind": "quantize", "per": "row"}, "activation.per"),
    ({"kind": "quantize", "rounding": "up"}, "activation.rounding"),
    ({"kind": "quantize", "level": 3}, "activation.level"),
    ({"kind": "fp16", "bits": 16}, "activation.bits"),
    ({"kind": "top-k"}, "activation.keep"),
    ({"kind": "top-k", "keep": 10}, "activation.keep"),
    ({"kind": "top-k", "keep": "0%"}, "activation.keep"),
    ({"kind": "top-k", "keep": "10%", "random": 2}, "activation.random"),
    ({"kind": "top-k", "keep": "100%", "random": 0.1}, "activation.random"),
    ({"kind": "top-k", "keep": "10%", "values": TOP_K}, "activation.values.kind"),
    ({"kind": "top-k", "keep": "10%", "values": {"kind": "quantize", "per": "channel"}}, "activation.values"),
]


@pytest.mark.parametrize(("value", "path"), WRONG, ids=str)
def test_a_wrong_codec_is_one_mistake_at_its_place(value: Any, path: str) -> None:
    """Line, path, and what is allowed."""
    kind = path.partition(".")[0]
    content = data(variants=[{"algorithm": "splitfed-v1", "compression": {kind: value}}])
    text = yaml.safe_dump(content, sort_keys=False)
    with pytest.raises(ScenarioError) as caught:
        sflsim.parse_scenario(text, "test.yaml")
    (problem,) = caught.value.problems

    assert problem.path == f"variants[0].compression.{path}"
    assert problem.allowed
    assert problem.line


@pytest.mark.parametrize(
    ("compression", "path"),
    [
        ("int8", ""),
        ({"activations": "int8"}, ".activations"),
        ({"uplink": "int8"}, ".uplink"),
        ({"activation": TOP_K, "gradient": TOP_K}, ".gradient"),
        ({"activation": TOP_K, "gradient": {"kind": "quantize", "per": "channel"}}, ".gradient"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(compression: Any, path: str) -> None:
    """A gradient at the places of its activation has no places, and no channels, of its own."""
    with pytest.raises(ScenarioError) as caught:
        read(data(variants=[{"algorithm": "splitfed-v1", "compression": compression}]))
    (problem,) = caught.value.problems

    assert problem.path == f"variants[0].compression{path}"


def test_saved_and_read_again() -> None:
    """The resolved scenario loads to an equal one."""
    given = {"activation": {**TOP_K, "values": "int8"}, "gradient": "bf16", "model": "none"}
    one = scenario({"algorithm": "splitfed-v1", "compression": given})

    assert sflsim.parse_scenario(one.to_yaml()).variants == one.variants


def test_lists_make_variants_with_telling_names() -> None:
    """A list of compressions is a variant each."""
    one = scenario({"algorithm": "splitfed-v1", "compression": [{"activation": "int8"}, {"model": "fp16"}]})

    assert [variant.name for variant in one.variants] == [
        "splitfed-v1 compression={activation: int8}",
        "splitfed-v1 compression={model: fp16}",
    ]


def test_a_sweep_over_words_and_bits() -> None:
    """Fewer bits, fewer bytes; a codec for what is not sent is a broken point."""
    variants = ({"algorithm": "splitfed-v1"}, {"algorithm": "mu-splitfed"})
    path = "variants[splitfed-v1].compression.activation"
    sweep = sflsim.sweep(
        scenario(*variants), {path: ["none", "int8", {"kind": "quantize", "bits": 4}]}, timing_only=True
    )
    table = sweep.table[sweep.table["variant"] == "splitfed-v1"]
    broken = sflsim.sweep(
        scenario(*variants),
        {"variants[mu-splitfed].compression.gradient": ["none", "int8"]},
        timing_only=True,
    )

    assert table["uplink_bytes"].tolist() == [64 + 4 + 16, 16 + 8 + 4 + 16, 8 + 8 + 4 + 16]
    assert broken.table.groupby("point")["error"].max().map(bool).tolist() == [False, True]


def test_a_plan_decides_on_bits() -> None:
    """What reaches the target with the fewest bytes is recommended."""
    plan = {
        "decisions": {"variants[splitfed-v1].compression.activation": ["none", "int8", "int4"]},
        "objectives": ["bytes"],
    }
    optimizers = {name: {"lr": 0.1} for name in ("client_optimizer", "server_optimizer")}
    variant = {"algorithm": "splitfed-v1", "local_iterations": 40, **optimizers}
    workload = {"model": {"kind": "mlp", "hidden": [16]}, "batch_size": 16}
    one = scenario(variant, plan=plan, stop={"rounds": 3}, target_accuracy="30%", workload=workload)
    found = sflsim.plan(one)

    assert len(found.points) == 3
    assert found.recommended is not None
    assert found.recommended["variants[splitfed-v1].compression.activation"] == "int4"


def test_what_if_half_the_bits() -> None:
    """Each message of a variant that says `compression`, with half its bits; learning is another then."""
    given = scenario(
        {"algorithm": "splitfed-v1", "name": "without"},
        {"algorithm": "splitfed-v1", "name": "asked", "compression": {"gradient": "int2"}},
        {"algorithm": "mu-splitfed", "name": "top", "compression": {"activation": TOP_K, "model": "int8"}},
    )
    rows = {}
    for index, variant in enumerate(given.variants):
        table = what_if(given, {index: {0: 1}}, {index: {}})
        rows[variant.name] = table[table["change"].str.startswith("half the bits")].set_index("change")

    assert rows["without"].empty
    assert set(rows["asked"].index) == {"half the bits of each activation", "half the bits of each model"}
    assert set(rows["top"].index) == {"half the bits of each activation", "half the bits of each model"}
    assert not rows["asked"]["same_learning"].any()
    saved_s = rows["asked"]["time_s"] - rows["asked"]["changed_s"]
    assert saved_s["half the bits of each activation"] == 32 / 16  # of 64 byte
    assert saved_s["half the bits of each model"] == 2 * 8 / 16  # of 16 byte, both ways
