"""Reading, refusing and writing back distributions and stragglers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sflsim.errors import ScenarioError
from sflsim.fleet.distributions.bounded import Distribution, DistributionConfig, Exponential
from sflsim.fleet.stragglers import MAX_EXCHANGES, Straggler, StragglerConfig, slowdowns
from sflsim.streams import generator

READ = TypeAdapter[DistributionConfig](Distribution)
STRAGGLER = TypeAdapter[StragglerConfig](Straggler)


def problems(adapter: TypeAdapter[Any], fields: Any, **context: Any) -> list[tuple[str, str, str]]:
    """Return (path, reason, found) of every mistake in `fields`."""
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(fields, context=context or None)
    return [
        (".".join(map(str, error["loc"])), error["msg"], error.get("ctx", {}).get("found", ""))
        for error in caught.value.errors()
    ]


amounts = st.floats(min_value=1e-6, max_value=1e6)
shapes = st.floats(min_value=0.1, max_value=1000)
units = st.sampled_from([" s", " ms", " Mbit/s", " GFLOP/s", ""])


@st.composite
def fields_of_any_kind(draw: st.DrawFn) -> dict[str, Any]:
    unit = draw(units)
    low, high = sorted((draw(amounts), draw(amounts)))
    small, large = (f"{value!r}{unit}" if unit else value for value in (low, high))
    cap = draw(st.sampled_from([{}, {"cap": large}]))
    return draw(
        st.sampled_from(
            [
                {"kind": "constant", "value": small},
                {"kind": "uniform", "low": small, "high": large},
                {"kind": "exponential", "mean": small} | cap,
                {"kind": "shifted-exponential", "shift": small, "mean": large} | cap,
                {"kind": "lognormal", "median": small, "sigma": draw(st.floats(0, 10))} | cap,
                {"kind": "pareto", "scale": small, "shape": draw(shapes), "cap": large},
                {"kind": "weibull", "scale": small, "shape": draw(shapes)} | cap,
                {"kind": "gamma", "mean": small, "shape": draw(shapes)} | cap,
                {"kind": "quantiles", "p90": large, "p1": small, "p30": small},
            ]
        )
    )


@given(fields_of_any_kind())
def test_any_distribution_is_written_back_as_it_was(fields: dict[str, Any]) -> None:
    """Dump, read and pickle give an equal config; draws are finite, and none is negative."""
    config = READ.validate_python(fields)
    draws = config.sample(generator("test"), 64)

    assert READ.validate_python(config.model_dump(mode="json")) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert np.isfinite(draws).all()
    assert (draws >= 0).all()
    assert draws.shape == (64,)
    assert config.mean >= 0
    assert config.variance >= 0
    if fields.get("cap") is not None:
        cap = config.amounts()["cap"]
        assert (draws <= cap).all()
        assert config.mean <= cap * (1 + 1e-9)


def test_units_are_held_in_base_units() -> None:
    """Milliseconds become seconds, bits become bytes, a bare number a factor."""
    configs = [READ.validate_python({"kind": "exponential", "mean": m}) for m in ("20 ms", "8 Mbit/s", 3)]

    assert [(config.mean, config.unit) for config in configs] == [(0.02, "s"), (1e6, "byte/s"), (3.0, "")]


def test_amounts_of_a_distribution_share_one_unit() -> None:
    """The amount that differs from the first is the one reported."""
    fields = {"kind": "uniform", "low": "1 s", "high": "3 Mbit/s"}

    assert problems(READ, fields) == [("high", "differs in unit from the others", "'3 Mbit/s'")]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"kind": "exponential", "mean": float("nan")}, "mean"),
        ({"kind": "exponential", "mean": float("inf")}, "mean"),
        ({"kind": "exponential", "mean": 10**400}, "mean"),
        ({"kind": "exponential", "mean": -1}, "mean"),
        ({"kind": "exponential", "mean": True}, "mean"),
        ({"kind": "exponential", "mean": [1]}, "mean"),
        ({"kind": "exponential", "mean": "fast"}, "mean"),
        ({"kind": "exponential", "mean": "2 W"}, "mean"),
        ({"kind": "exponential", "mean": "2 parsnips"}, "mean"),
        ({"kind": "exponential"}, "mean"),
        ({"kind": "exponential", "mean": 1, "median": 1}, "median"),
        ({"kind": "uniform", "low": 3, "high": 2}, "high"),
        ({"kind": "pareto", "scale": 0, "shape": 1}, "scale"),
        ({"kind": "pareto", "scale": 3, "shape": 1, "cap": 2}, "cap"),
        ({"kind": "pareto", "scale": 3, "shape": 0}, "shape"),
        ({"kind": "shifted-exponential", "shift": 3, "mean": 1, "cap": 2}, "cap"),
        ({"kind": "lognormal", "median": 3, "sigma": 1, "cap": 0}, "cap"),
        ({"kind": "weibull", "scale": "3 s", "shape": 1, "cap": "5 Mbit/s"}, "cap"),
        ({"kind": "uniform", "low": 1, "high": 2, "cap": 2}, "cap"),
        ({"kind": "gamma", "mean": 3, "shape": True}, "shape"),
        ({"kind": "lognormal", "median": 1, "sigma": float("nan")}, "sigma"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "3 s", "p25": "0.5 s"}, "p25"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "3 Mbit/s"}, "p50"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "3 s", "p101": "4 s"}, "p101"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "3 s", "p05": "1 s"}, "p05"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "3 s", "redaw": "client"}, "redaw"),
        ({"kind": "quantiles", "p5": "1 s", "p50": None}, "p50"),
        ({"kind": "quantiles", "p5": "1 s", "p50": "1,000 s"}, "p50"),
        ({"kind": "quantiles", "p5": -1, "p50": 1}, "p5"),
        ({"kind": "quantiles", "p50": "1 s"}, "kind"),
        ({"kind": "quantiles"}, "kind"),
        ({"kind": "lognorml", "median": 1, "sigma": 1}, "kind"),
        ({"median": 1, "sigma": 1}, "kind"),
    ],
)
def test_a_mistake_is_reported_at_its_key(fields: dict[str, Any], path: str) -> None:
    """Each wrong value is one problem, at the key where it stands."""
    assert [place for place, _, _ in problems(READ, fields)] == [path]


def test_a_straggler_needs_the_unit_of_its_effect() -> None:
    """Seconds where it is added, a bare factor above zero where it multiplies."""
    multiplied = {"kind": "exponential", "effect": "multiplicative"}

    assert problems(STRAGGLER, {"kind": "exponential", "mean": 2})[0][::2] == ("mean", "2")
    assert problems(STRAGGLER, {**multiplied, "mean": "2 s"})[0][::2] == ("mean", "'2 s'")
    assert problems(STRAGGLER, {**multiplied, "mean": 0})[0][:2] == ("mean", "must be above zero")


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"p1": 0, "p50": 2}, False),  # one draw in a hundred
        ({"p0": 0, "p1": 0, "p50": 2}, False),
        ({"p0": 0, "p50": 2}, True),
        ({"p1": 0.5, "p50": 2}, True),
    ],
)
def test_quantiles_of_a_factor_are_never_zero(fields: dict[str, Any], accepted: bool) -> None:
    """Refused where a share of the draws would be zero, at the keys that are."""
    straggler = {"kind": "quantiles", "effect": "multiplicative", **fields}
    if accepted:
        assert STRAGGLER.validate_python(straggler).effect == "multiplicative"
    else:
        wrong = {key for key, amount in fields.items() if not amount}
        assert {place for place, _, _ in problems(STRAGGLER, straggler)} == wrong


def test_a_straggler_may_be_built_from_a_distribution() -> None:
    """In Python a distribution stands for the straggler with the defaults."""
    straggler = STRAGGLER.validate_python(Exponential(mean="2 s"))  # type: ignore[arg-type]

    assert (straggler.mean, straggler.effect, straggler.redraw) == (2.0, "additive", "round")
    assert pickle.loads(pickle.dumps(straggler)) == straggler
    assert STRAGGLER.validate_python(straggler.model_dump(mode="json")) == straggler


def test_a_straggler_keeps_below_its_cap() -> None:
    """Additive or a factor, through the device's own stream; the cap needs the unit of the effect."""
    capped = {"kind": "lognormal", "median": "1 s", "sigma": 2, "cap": "3 s"}
    slowdown = slowdowns(STRAGGLER.validate_python(capped), 0, "pi-0")
    delays = [slowdown.delay_s(round) for round in range(300)]
    factor = {"kind": "gamma", "mean": 2, "shape": 1, "cap": 4, "effect": "multiplicative"}
    multiplied = slowdowns(STRAGGLER.validate_python(factor), 0, "pi-0")

    assert max(delays) == 3.0
    assert sum(delay == 3.0 for delay in delays) < 150
    assert max(multiplied.factor(round) for round in range(300)) == 4.0
    assert problems(STRAGGLER, capped | {"cap": 3})[0][::2] == ("cap", "3")


def delays_s(redraw: str, name: str = "pi-0") -> list[float]:
    config = STRAGGLER.validate_python({"kind": "exponential", "mean": "2 s", "redraw": redraw})
    slowdown = slowdowns(config, 0, name)
    return [slowdown.delay_s(number, exchange) for number in (0, 1) for exchange in (0, 1)]


def test_redraw_says_how_long_a_draw_holds() -> None:
    """Per client one delay for all rounds, per round one each, per exchange one each."""
    per_client, per_round, per_exchange = delays_s("client"), delays_s("round"), delays_s("exchange")

    assert per_client[0] == per_client[2] > 0
    assert per_round[0] != per_round[2]
    assert per_client[1] == per_round[1] == 0
    assert len(set(per_exchange)) == 4
    assert min(per_exchange) > 0


def test_a_slowdown_depends_on_nothing_but_its_name_and_place() -> None:
    """Asked again, or in another order, a draw is the same; another device draws others."""
    config = STRAGGLER.validate_python({"kind": "gamma", "mean": 2, "shape": 1, "effect": "multiplicative"})
    one, other = slowdowns(config, 0, "pi-0"), slowdowns(config, 0, "pi-0")
    forwards = [one.factor(number) for number in range(200)]

    assert [other.factor(number) for number in reversed(range(200))] == forwards[::-1]
    assert slowdowns(config, 0, "pi-1").factor(0) != forwards[0] != slowdowns(config, 1, "pi-0").factor(0)
    assert one.delay_s(0) == 0
    assert one.factor(0, 7) == one.factor(0)


def test_without_a_straggler_nothing_slows_down() -> None:
    """Delay 0 s and factor 1."""
    assert (slowdowns(None, 0, "pi-0").delay_s(1, 1), slowdowns(None, 0, "pi-0").factor(1, 1)) == (0.0, 1.0)


def test_too_many_exchanges_in_a_round_are_refused() -> None:
    """Beyond the numbers kept free per round the draws of two rounds would meet."""
    config = STRAGGLER.validate_python({"kind": "exponential", "mean": "2 s", "redraw": "exchange"})

    with pytest.raises(ScenarioError, match="redraw: round"):
        slowdowns(config, 0, "pi-0").delay_s(0, MAX_EXCHANGES)


def empirical(folder: Path, text: str, **fields: Any) -> dict[str, Any]:
    (folder / "delays.csv").write_text(text, encoding="utf-8")
    return {"kind": "empirical", "file": "delays.csv", **fields}


@pytest.mark.parametrize(
    ("text", "fields", "values"),
    [
        ("1 s\n3 s\n", {}, [1.0, 3.0]),
        ("delay\n1000 ms\n3 s\n\n", {}, [1.0, 3.0]),
        ("who,delay\na,1000\nb,3e3\n", {"column": "delay", "values_in": "ms"}, [1.0, 3.0]),
    ],
)
def test_measurements_are_read_and_drawn(
    tmp_path: Path, text: str, fields: dict[str, Any], values: list[float]
) -> None:
    """Cells with units, a header, a column of bare numbers: moments and draws are those of the file."""
    config = READ.validate_python(empirical(tmp_path, text, **fields), context={"base_dir": tmp_path})

    assert (config.mean, config.variance, config.unit) == (2.0, 1.0, "s")
    assert set(config.sample(generator("test"), 100).tolist()) == set(values)
    assert (
        READ.validate_python(config.model_dump(mode="json")) == config == pickle.loads(pickle.dumps(config))
    )


@pytest.mark.parametrize(
    ("text", "fields", "path"),
    [
        ("", {}, "file"),
        ("delay\n", {}, "file"),
        ("nan\n", {}, "file"),
        ("1\n-2\n", {}, "file"),
        ("1\ninf\n", {}, "file"),
        ("1\nfast\n", {}, "file"),
        ("1 s\n2\n", {}, "file"),
        ("a,b\n1,2\n", {}, "column"),
        ("a,b\n1,2\n", {"column": "c"}, "column"),
        ("a,b\n1\n", {"column": "b"}, "file"),
        ("1\n", {"values_in": "parsnips"}, "values_in"),
        ("1\n", {"file": "elsewhere.csv"}, "file"),
        ("1\n", {"file": "."}, "file"),
        ("1\n", {"file": "a\0b"}, "file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, fields: dict[str, Any], path: str) -> None:
    """Missing, empty, with a bad cell or column: one problem at the key to change."""
    found = problems(READ, empirical(tmp_path, text) | fields, base_dir=tmp_path)

    assert [place for place, _, _ in found] == [path]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are a problem of the file."""
    (tmp_path / "delays.csv").write_bytes(b"\xff\xfe\x00")

    assert problems(READ, {"kind": "empirical", "file": "delays.csv"}, base_dir=tmp_path)[0][0] == "file"


def test_a_bad_cell_is_named_with_its_line(tmp_path: Path) -> None:
    """The line of the file is in what was found."""
    found = problems(READ, empirical(tmp_path, "delay\n1\nnan\n"), base_dir=tmp_path)

    assert found == [("file", "has a cell that is no number with a unit", "'nan' in line 3 of delays.csv")]


def test_measured_rates_must_be_above_zero(tmp_path: Path) -> None:
    """A factor of zero among the measurements is refused, a delay of zero is fine."""
    context = {"base_dir": tmp_path}
    fields = empirical(tmp_path, "0\n1\n")

    assert problems(STRAGGLER, fields | {"effect": "multiplicative"}, **context)[0][:2] == (
        "file",
        "must be above zero",
    )
    assert STRAGGLER.validate_python(fields | {"values_in": "s"}, context=context).mean == 0.5
