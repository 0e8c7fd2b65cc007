"""What of a scenario says nothing about a variant: a cut to an algorithm that does not cut the model.

Scenarios that differ in nothing else are one point of a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any

from sflsim.registry import algorithm_called

Data = dict[str, Any]
PRICED = ("server.compute", "server.slots")
"""What a plan charges for by the TFLOP/s, whoever uses it."""


def unread(data: Mapping[str, Any], variant: Mapping[str, Any], priced: bool = False) -> set[str]:
    """Return the paths of a scenario's data that change nothing about one of its variants.

    A field of the variant itself is called `variants.<field>`. `priced`: the server's size costs money.
    """
    paths = set(algorithm_called(variant["algorithm"]).unread) - set(PRICED if priced else ())
    if variant.get("cut") is not None:
        paths.add("workload.cut")
    elif _adapters_on_one_part(data):  # then the cut says which layers are trained
        paths -= {"workload.cut", "variants.cut"}
    return paths


def _adapters_on_one_part(data: Mapping[str, Any]) -> bool:
    model = data["workload"].get("model")
    adapters = model.get("adapters") if isinstance(model, dict) else None
    return isinstance(adapters, dict) and adapters.get("on", "both") != "both"


def says_nothing(steps: Sequence[str], paths: Collection[str]) -> bool:
    """Tell whether the field at `steps` (`variants` and a name first for a variant's own) is among paths."""
    steps = [step for place, step in enumerate(steps) if place != 1 or steps[0] != "variants"]
    return any(".".join(steps[:end]) in paths for end in range(1, len(steps) + 1))


def what_is_read(data: Data, priced: bool = False) -> Data:
    """Return the data of a scenario with one variant without its name and all that says nothing about it."""
    kept = deepcopy(data)
    variant = kept["variants"][0]
    paths = unread(data, variant, priced)
    variant["name"] = ""
    for path in paths:
        *above, last = path.split(".")
        place: Any = kept
        for step in above:
            place = (variant if step == "variants" else place.get(step)) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return kept
