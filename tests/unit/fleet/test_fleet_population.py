"""The fleet: sizes and names of groups, lazily made devices, who takes part."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sflsim.fleet.devices import Power, PowerConfig, power
from sflsim.fleet.population import Fleet, FleetConfig, build_fleet

PI = {"share": "70%", "device": "raspberry-pi-4"}
NANO = {"share": "30%", "device": "jetson-nano"}
RANDOM_PI = {
    "device": {"compute": {"kind": "lognormal", "median": "16 GFLOP/s", "sigma": 0.3}},
    "link": {"up": {"kind": "exponential", "mean": "10 Mbit/s"}, "down": "unlimited"},
    "name": "pi",
}


def config(clients: int, *groups: dict[str, Any], **fields: Any) -> FleetConfig:
    return FleetConfig.model_validate({"clients": clients, "groups": groups, **fields})


def mistakes(clients: int, *groups: dict[str, Any], **fields: Any) -> list[tuple[str | int, ...]]:
    with pytest.raises(ValidationError) as caught:
        config(clients, *groups, **fields)
    return [error["loc"] for error in caught.value.errors()]


def draws(fleet: Fleet, index: int) -> tuple[str, float, float, float]:
    """Return everything random about one device."""
    device = fleet.device(index)
    return device.name, device.flop_per_s, device.link.up_bytes_per_s(0), device.slowdown.delay_s(5)


@pytest.mark.parametrize(
    ("clients", "shares", "counts"),
    [
        (10, ("70%", "30%"), [7, 3]),
        (3, ("50%", "50%"), [2, 1]),
        (100, (0.29, 0.71), [29, 71]),
        (5, ("33.3333%", "33.3333%", "33.3334%"), [2, 1, 2]),
        (2, ("60%", "40%"), [1, 1]),
    ],
)
def test_shares_are_rounded_by_largest_remainder(clients: int, shares: tuple[Any, ...], counts: Any) -> None:
    """The devices left over go to the largest remainders; in a tie to the earlier group."""
    groups = [{"device": "stm32h7", "share": share} for share in shares]

    assert config(clients, *groups).group_counts() == counts


@given(st.integers(1, 10**6), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_group_counts_always_sum_to_clients(clients: int, weights: list[int]) -> None:
    """And each lies within one device of its exact share; a group that would have none is refused."""
    shares = [weight / sum(weights) for weight in weights]
    groups = [{"device": "stm32h7", "share": share} for share in shares]
    try:
        counts = config(clients, *groups).group_counts()
    except ValidationError as error:
        empty = {details["loc"] for details in error.errors()}
        assert empty
        small = [place for place, share in enumerate(shares) if clients * share < 1]
        assert empty <= {("groups", place, "share") for place in small}
        return
    assert min(counts) >= 1

    assert sum(counts) == clients
    assert all(abs(count - clients * share) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_groups_may_be_given_by_count_or_alone() -> None:
    """Counts are taken as they are; a single group has all clients."""
    by_count = [{"device": "jetson-nano", "count": 3}, {"device": "stm32h7", "count": 2}]

    assert config(5, *by_count).group_counts() == [3, 2]
    assert config(5, {"device": "jetson-nano"}).group_counts() == [5]


def test_group_names_default_to_the_device_and_are_unique() -> None:
    """A name taken, even by a later group, gets a number."""
    names = config(
        4,
        {"device": "stm32h7", "count": 1},
        {"device": "stm32h7", "count": 1},
        {"device": {"compute": "1 GFLOP/s"}, "count": 1},
        {"device": "jetson-nano", "count": 1, "name": "stm32h7"},
    ).group_names()

    assert names == ["stm32h7-2", "stm32h7-3", "device", "stm32h7"]


@pytest.mark.parametrize(
    ("clients", "groups", "fields", "places"),
    [
        (0, [PI, NANO], {}, [("clients",)]),
        (True, [PI, NANO], {}, [("clients",)]),
        (10, [PI, NANO], {"participants": 11}, [("participants",)]),
        (10, [PI, NANO], {"participants": 0}, [("participants",)]),
        (10, [], {}, [("groups",)]),
        (10, [PI, PI], {}, [("groups",)]),
        (10, [PI], {}, [("groups",)]),
        (10, [PI | {"count": 3}, NANO], {}, [("groups", 0, "count")]),
        (10, [PI, {"device": "stm32h7"}], {}, [("groups", 1, "share")]),
        (10, [PI, {"device": "stm32h7", "count": 3}], {}, [("groups",)]),
        (10, [{"device": "stm32h7", "count": 3}], {}, [("groups",)]),
        (10, [PI | {"name": "a"}, NANO | {"name": "a"}], {}, [("groups", 1, "name")]),
        (10, [PI | {"name": "a/b"}, NANO], {}, [("groups", 0, "name")]),
        (10, [PI | {"device": "abacus"}, NANO | {"link": 3}], {},
         [("groups", 0, "device"), ("groups", 1, "link")]),
        (10, [PI, NANO], {"straggler": {"kind": "exponential", "mean": 2}}, [("straggler", "mean")]),
        (9, [PI | {"name": "a"}, PI | {"name": "a"}], {"participants": 10},
         [("participants",), ("groups",), ("groups", 1, "name")]),
    ],
)  # fmt: skip
def test_mistakes_in_a_fleet_are_reported_where_they_stand(
    clients: Any, groups: list[Any], fields: dict[str, Any], places: list[Any]
) -> None:
    """Every problem once, at the precise key, and all that add up wrongly together."""
    assert mistakes(clients, *groups, **fields) == places


def test_a_fleet_is_written_back_as_it_was() -> None:
    """Dump, read and pickle give an equal config; names of the catalog stay names."""
    straggler = {"kind": "shifted-exponential", "shift": "1 s", "mean": "2 s"}
    fleet = config(10, PI | {"straggler": straggler}, NANO | {"link": "5g-us"}, straggler=straggler)
    dumped = fleet.model_dump(mode="json")

    assert FleetConfig.model_validate(dumped) == fleet == pickle.loads(pickle.dumps(fleet))
    assert [(group["device"], group["link"]) for group in dumped["groups"]] == [
        ("raspberry-pi-4", "wifi"),
        ("jetson-nano", "5g-us"),
    ]
    assert FleetConfig.model_json_schema()["required"] == ["clients", "groups"]


def test_devices_are_indexed_group_after_group() -> None:
    """Index, name and group agree; beyond the fleet there is none."""
    fleet = build_fleet(config(10, PI, NANO), 0)

    assert len(fleet) == 10
    assert [fleet.device(i).name for i in (0, 6, 7, 9)] == [
        "raspberry-pi-4-0", "raspberry-pi-4-6", "jetson-nano-0", "jetson-nano-2",
    ]  # fmt: skip
    assert (fleet.device(7).index, fleet.device(7).group) == (7, "jetson-nano")
    for index in (-1, 10):
        with pytest.raises(IndexError):
            fleet.device(index)


def test_a_group_without_devices_is_refused() -> None:
    """A share that rounds to nobody, with the numbers and from how many clients on it would have somebody."""
    groups = [PI | {"share": "5%", "access_point": "hall"}, NANO | {"share": "95%"}]
    with pytest.raises(ValidationError) as caught:
        config(4, *groups, access_points={"hall": {"up": "10 Mbit/s"}})
    (error,) = caught.value.errors()

    assert error["loc"] == ("groups", 0, "share")
    assert "5% of 4 clients" in error["ctx"]["found"]
    assert "20 clients or more" in error["ctx"]["remedy"]
    assert config(20, *groups, access_points={"hall": {"up": "10 Mbit/s"}}).group_counts() == [1, 19]
    million = [PI | {"share": 1e-6}, NANO | {"share": 1 - 1e-6}]
    assert config(10**6, *million).group_counts() == [1, 999_999]


def test_a_misspelt_access_point_is_one_mistake() -> None:
    """At the group that names it; the one that it stands for is not called unused."""
    points = {"hall": {"up": "10 Mbit/s"}}

    assert mistakes(4, {"device": "stm32h7", "access_point": "hal"}, access_points=points) == [
        ("groups", 0, "access_point")
    ]
    assert mistakes(4, {"device": "stm32h7"}, access_points=points) == [("access_points", "hall")]


@pytest.mark.parametrize("state", ["compute", "send", "receive"])
def test_no_state_draws_less_than_idling(state: str) -> None:
    """Each figure is what the whole device draws; one that is left out counts as idling."""
    with pytest.raises(ValidationError) as caught:
        PowerConfig.model_validate({"idle": "5 W", state: "2 W"})
    (error,) = caught.value.errors()
    given = PowerConfig.model_validate({"idle": "5 W"})

    assert error["loc"] == (state,)
    assert "5 W" in error["ctx"]["allowed"]
    assert power(given) == Power(5.0, 5.0, 5.0, 5.0)
    assert PowerConfig.model_validate(given.model_dump(mode="json")) == given


def test_a_rate_is_set_once_at_a_time() -> None:
    """By one event of those for its group and for all groups; other rates, groups and times are free."""
    up = {"set": {"link.up": "1 Mbit/s"}}
    groups = [PI | {"name": "a"}, NANO | {"name": "b"}]
    free = [
        {"at": "1 min", "group": "a", **up},
        {"at": "1 min", "group": "b", **up},
        {"at": "2 min", **up},
        {"at": "1 min", "set": {"link.down": "1 Mbit/s"}},
    ]

    assert config(10, *groups, events=free)
    twice = [*free, {"at": "1 min", "group": "b", **up}]
    assert mistakes(10, *groups, events=twice) == [("events", 4, "set", "link.up")]
    both = [free[2], {"at": "120 s", "group": "a", **up}]
    assert mistakes(10, *groups, events=both) == [("events", 1, "set", "link.up")]


def test_a_groups_straggler_stands_in_place_of_the_fleets() -> None:
    """The other group keeps the fleet's."""
    own = {"kind": "constant", "value": "1 s"}
    fleet = build_fleet(
        config(10, PI | {"straggler": own}, NANO, straggler={"kind": "constant", "value": "5 s"}), 0
    )

    assert [fleet.device(index).slowdown.delay_s(0) for index in (0, 9)] == [1.0, 5.0]


def test_removing_devices_changes_nobody_elses_draws() -> None:
    """Rates, links, slowdowns and the priority to take part are keyed by name."""
    straggler = {"kind": "exponential", "mean": "2 s"}
    other = {"device": "jetson-nano"}
    large = build_fleet(config(9, other | {"count": 3}, RANDOM_PI | {"count": 6}, straggler=straggler), 0)
    small = build_fleet(config(4, RANDOM_PI | {"count": 4}, straggler=straggler), 0)
    still_there = range(3, 7)

    assert [draws(small, i) for i in range(4)] == [draws(large, i) for i in still_there]
    for number in range(20):
        among_them = [index - 3 for index in large.select(number, 2, available=still_there)]
        assert small.select(number, 2) == among_them


def test_another_seed_gives_other_draws() -> None:
    """Rates and participants follow the scenario's seed."""
    one, other = (build_fleet(config(50, RANDOM_PI), seed) for seed in (0, 1))

    assert draws(one, 3)[1:] != draws(other, 3)[1:]
    assert one.select(0, 10) != other.select(0, 10)


@given(st.integers(1, 300), st.integers(0, 320), st.integers(0, 5))
def test_select_takes_the_k_smallest_priorities(clients: int, k: int, round: int) -> None:
    """Sorted, distinct, and the same as by sorting all priorities."""
    groups = [PI, NANO] if clients > 1 else [PI | {"share": "100%"}]
    fleet = build_fleet(config(clients, *groups), 0)
    smallest = np.argsort(fleet.priorities(round))[:k]

    assert fleet.select(round, k) == sorted(smallest.tolist())


def test_select_among_the_available() -> None:
    """Only they take part; all of them where there are no more than k."""
    fleet = build_fleet(config(10, PI, NANO), 0)

    assert fleet.select(0, 5, available=[8, 2]) == [2, 8]
    assert fleet.select(0, 5, available=[]) == []
    assert set(fleet.select(0, 2, available=[1, 5, 9])) < {1, 5, 9}


def test_a_fleet_of_a_million_makes_only_its_participants() -> None:
    """The others take no memory: a million objects would take 50 MB at the very least."""
    tracemalloc.start()
    fleet = build_fleet(config(10**6, PI, NANO, participants=100), 0)
    chosen = fleet.select(0, 100)
    for index in chosen:
        fleet.device(index)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(chosen) == 100
    assert kept_bytes < 1e6
    assert fleet.device(999_999).name == "jetson-nano-299999"


def test_devices_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first, and made again with the same draws."""
    monkeypatch.setattr("sflsim.fleet.population.DEVICE_CACHE_SIZE", 2)
    fleet = build_fleet(config(5, RANDOM_PI), 0)
    before = draws(fleet, 0)
    first, *_, fourth, fifth = [fleet.device(index) for index in range(5)]

    assert fleet.device(4) is fifth
    assert fleet.device(3) is fourth
    assert fleet.device(0) is not first
    assert draws(fleet, 0) == before
