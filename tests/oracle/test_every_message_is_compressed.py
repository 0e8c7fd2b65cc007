"""Every message of every algorithm passes through its codec, in learning and in bytes; none passes another's.

A codec whose numbers arrive as NaN must make the model not finite, wherever it stands; one that changes
nothing must leave a run byte for byte as it is without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import pytest
from pydantic import TypeAdapter
from support import data, read

import sflsim
from sflsim import registry
from sflsim.errors import ScenarioError
from sflsim.learning.codecs.base import Codec, Draws, Message
from sflsim.learning.compression import Kind
from sflsim.session import Options, Session

KINDS = get_args(Kind)
GAS = {"q_s": 2, "q_c": 2, "local_iterations": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "gas": GAS,
    "zo-gas": GAS,
    "fedbuff": {"b": 2},
    "cse-fsl": {"local_iterations": 2, "q": 2},
    "heron-sfl": {"local_iterations": 2, "q": 2},
    "fsl-sage": {"local_iterations": 2, "q": 2, "fit_every": 1},
}
ALGORITHMS = sorted(registry.algorithms())
ROUNDS = 2


class Poison(Codec):
    """A codec of which nothing arrives."""

    kind: Literal["poison"] = "poison"

    def coded(self, x: Any, draws: Draws) -> Any:
        return x * float("nan")

    def coded_bytes(self, message: Message) -> float:
        return 4.0 * message.numbers


class Same(Codec):
    """A codec that changes nothing, through the same doors as all."""

    kind: Literal["same"] = "same"

    def coded(self, x: Any, draws: Draws) -> Any:
        return x

    def coded_bytes(self, message: Message) -> float:
        return 4.0 * message.numbers


class Heavy(Same):
    """A codec that takes a megabyte for any message."""

    kind: Literal["heavy"] = "heavy"  # type: ignore[assignment]

    def coded_bytes(self, message: Message) -> float:
        return 1e6


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registry.forgetting():
        for codec in (Poison, Same, Heavy):
            registry.register_codec(codec)
        yield


def run(algorithm: str, compression: dict[str, str], **options: Any) -> sflsim.Run:
    model: dict[str, Any] = {"kind": "mlp", "hidden": [5, 4]}
    if algorithm == "fedlora":
        model["adapters"] = {"rank": 1}
    content = data(
        variants=[{"algorithm": algorithm, **SETTINGS.get(algorithm, {}), "compression": compression}],
        workload={"model": model, "cut": 1, "batch_size": 4},
        stop={"rounds": ROUNDS},
        evaluate={"every": f"{ROUNDS} rounds"},
    )
    return sflsim.simulate(read(content), **options)


def sends(algorithm: str) -> tuple[str, ...]:
    return tuple(registry.algorithm_called(algorithm).sends)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_poison_reaches_the_model(algorithm: str) -> None:
    """Each kind that it sends, alone; a kind that it does not send is refused, with its place."""
    assert sends(algorithm)
    for kind in KINDS:
        if kind in sends(algorithm):
            end = run(algorithm, {kind: "poison"}).runs.iloc[0]
            assert (kind, end["status"]) == (kind, "diverged")
            continue
        with pytest.raises(ScenarioError) as caught:
            run(algorithm, {kind: "fp16"})
        (problem,) = caught.value.problems
        assert problem.path == f"variants[0].compression.{kind}"


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(name, marks=() if name in ("splitfed-v1", "zo-gas", "ho-sfl") else pytest.mark.slow)
        for name in ALGORITHMS
    ],
)
def test_a_codec_that_changes_nothing_changes_nothing(algorithm: str) -> None:
    """Every span and every evaluation, to the byte, with all that it sends through the codec."""
    plain, through = run(algorithm, {}), run(algorithm, dict.fromkeys(sends(algorithm), "same"))

    assert through.spans.equals(plain.spans)
    assert through.evaluations.equals(plain.evaluations)
    assert through.manifest["computed_calls"].keys() >= plain.manifest["computed_calls"].keys()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_codec_is_asked_for_its_bytes(algorithm: str) -> None:
    """A megabyte for one kind: activations go up, gradients down, models both ways, and nothing else."""
    for kind in sends(algorithm):
        spans = run(algorithm, {kind: "heavy"}, timing_only=True).spans
        heavy = set(spans.loc[spans["bytes"] >= 1e6, "activity"])
        assert heavy == {"activation": {"uplink"}, "gradient": {"downlink"}}.get(kind, {"uplink", "downlink"})


def keys(compression: Any, *, seed: int = 0) -> str:
    scenario = read(data(variants=[{"algorithm": "splitfed-v1", "compression": compression}]))
    session = Session(scenario, Options())
    return session.materials.task(1, seed, scenario.variants[0].compression).key


def test_learning_is_keyed_by_the_codecs() -> None:
    """One key for two spellings, and for none however it is said; another for whatever learns otherwise."""
    plain = keys(None)
    spellings = [{"activation": "int8"}, {"activation": {"kind": "quantize", "bits": 8}, "model": "none"}]
    different = [
        {"activation": "int4"},
        {"gradient": "int8"},
        {"model": "int8"},
        {"activation": {"kind": "quantize", "rounding": "stochastic"}},
        {"activation": {"kind": "quantize", "per": "channel"}},
        {"activation": {"kind": "top-k", "keep": "10%"}},
        {"activation": {"kind": "top-k", "keep": "10%", "random": 0.1}},
    ]
    nothing = [{}, {"activation": "none"}, {"activation": {"kind": "quantize", "bits": 32}}]
    nothing += [{"activation": {"kind": "top-k", "keep": "100%"}}]

    assert len({keys(one) for one in spellings}) == 1
    assert {keys(one) for one in nothing} == {plain}
    assert len({plain, *map(keys, [*different, spellings[0]])}) == len(different) + 2


def test_what_was_learned_is_found_again(tmp_path: Any) -> None:
    """Another link, another spelling: nothing is trained; 32 bits is what is learned without compression."""

    def computed(compression: Any, *overrides: str) -> int:
        variant = {"algorithm": "splitfed-v1", "compression": compression}
        scenario = read(data(variants=[variant], stop={"rounds": 2}), overrides)
        found: int = sflsim.simulate(scenario, cache=tmp_path).manifest["computed_calls"].get("train", 0)
        return found

    assert computed({"activation": "int8"}) == 2
    assert computed({"activation": {"kind": "quantize", "bits": 8}}, "fleet.groups[0].link=wifi") == 0
    assert computed(None) == 2
    assert computed({"activation": {"kind": "quantize", "bits": 32}}) == 0
    assert computed({"activation": "int4"}) == 2


def test_the_schema_knows_the_words() -> None:
    """For editors: words and mappings of every codec."""
    schema = TypeAdapter(sflsim.Scenario).json_schema()
    field = schema["$defs"]["Compression"]["properties"]["activation"]
    words, mappings = field["anyOf"]

    assert {"none", "int2", "int8", "fp16", "bf16", "top-k"} <= set(words["enum"])
    assert len(mappings["oneOf"]) == len(registry.codecs())
