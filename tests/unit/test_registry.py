"""Components are found by name: built in, installed by an entry point, or registered."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sflsim import registry
from sflsim.component_fields import OneOf
from sflsim.errors import SflsimError
from sflsim.trust import trusting


class Linear(BaseModel):
    """A model as a third party would add it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["linear"] = "linear"
    bias: bool = True


class Old(BaseModel):
    """A partition as it was written for an older version."""

    kind: Literal["old"] = "old"

    def deal(self, labels: Any, clients: int, seed: int) -> list[Any]:
        return []


MODEL: TypeAdapter[Any] = TypeAdapter(Annotated[Any, OneOf(registry.models)])


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Leave the registry as it was."""
    with registry.forgetting():
        yield


def offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point for point in points if point.group == group]
    )


def test_built_in() -> None:
    """The built-in components are there under the names of the scenario."""
    assert {"splitfed-v1", "splitfed-v2", "mu-splitfed"} <= set(registry.algorithms())
    assert {"mlp", "cnn"} <= set(registry.models())
    assert {"digits"} <= set(registry.datasets())
    assert {"iid", "dirichlet"} <= set(registry.partitions())
    assert {"constant", "shifted-exponential", "lognormal", "empirical"} <= set(registry.distributions())


def test_registered_later_is_read() -> None:
    """What is registered after the schema was made is read, by name and as a mapping."""
    with pytest.raises(ValidationError):
        MODEL.validate_python("linear")
    assert Linear is registry.register_model(Linear)
    assert Linear() == MODEL.validate_python("linear")
    assert Linear(bias=False) == MODEL.validate_python({"kind": "linear", "bias": False})
    assert Linear() == MODEL.validate_python(Linear())


def test_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package offers a component by an entry point; it is loaded where it is trusted."""
    offer(monkeypatch, EntryPoint("linear", f"{__name__}:Linear", "sflsim.models"))
    assert "linear" not in registry.models()
    with pytest.raises(ValidationError) as caught:
        MODEL.validate_python("linear")
    assert f"{__name__} offers it: its code is run only with --trust" in str(caught.value.errors()[0]["ctx"])
    with trusting():
        assert "linear" in registry.models()
        assert "linear" not in registry.datasets()
        assert MODEL.validate_python("linear") == Linear()
    assert "linear" not in registry.models()


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (EntryPoint("linear", "no.such.module:X", "sflsim.models"), "no.such.module:X"),
        (EntryPoint("line", f"{__name__}:Linear", "sflsim.models"), "'line'"),
        (EntryPoint("linear", f"{__name__}:MODEL", "sflsim.models"), "cannot be loaded"),
    ],
)
def test_broken_package(monkeypatch: pytest.MonkeyPatch, point: EntryPoint, reason: str) -> None:
    """A package that offers something unusable is named."""
    offer(monkeypatch, point)
    with trusting(), pytest.raises(SflsimError, match=reason):
        registry.models()


def test_name_taken() -> None:
    """A second component of a name is refused, not silently preferred; a cell run again takes over."""

    class MLP(Linear):
        kind: Literal["mlp"] = "mlp"  # type: ignore[assignment]

    registry.register_model(Linear)
    registry.register_model(Linear)
    assert Linear is registry.models()["linear"]
    registry.register_model(MLP)
    with pytest.raises(SflsimError, match="two models are called 'mlp'"):
        registry.models()


def test_no_name() -> None:
    """A component must say what it is called."""
    with pytest.raises(SflsimError, match="kind: Literal"):
        registry.register_model(BaseModel)
    with pytest.raises(SflsimError, match="no nested Config"):
        registry.register_algorithm(int)


def test_partition_of_an_older_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition with a method deal is refused with the new name, registered or installed."""

    with pytest.raises(SflsimError, match=r"Old has a method deal\(.*rename it partition\("):
        registry.register_partition(Old)
    offer(monkeypatch, EntryPoint("old", f"{__name__}:Old", "sflsim.partitions"))
    with trusting(), pytest.raises(SflsimError, match=r"rename it partition\("):
        registry.partitions()
