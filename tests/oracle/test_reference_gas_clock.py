"""The oracle of GAS's clock against cases worked out by hand, and its WRTT time per ten parts."""

import random
from typing import Any

import pytest
from oracle.references.gas_clock import (
    Contribution,
    Draw,
    GasClock,
    Settings,
    simulate_gas,
    wrtt_uplink_bit_s,
)


def lowest(number: int, idle: list[int]) -> int:
    return idle[0]


def run(rates: list[tuple[float, float]], draw: Draw = lowest, parts: int = 6, **changes: Any) -> GasClock:
    """Rates are (FLOP/s, bit/s) per client; the draw takes the lowest idle client."""
    settings: dict[str, Any] = {
        "compute_flop_s": [flop_s for flop_s, _ in rates],
        "uplink_bit_s": [bit_s for _, bit_s in rates],
        "first": [0, 1],
        "iterations": 2,
        "forward_flop": 2,
        "backward_flop": 4,
        "activation_bits": 6,
        "model_bits": 3,
        "q_c": 2,
        "q_s": 3,
    }
    return simulate_gas(Settings(**(settings | changes)), draw, parts)


# client  forward  upload  backward  part   activations at   part arrives after
#   0       1        1        2      0.5      +2, +6           4 +  4 + 0.5  =  8.5
#   1       2        2        4      1        +4, +12          8 +  8 + 1    = 17
#   2       0.5      0.5      1      0.25     +1, +3           2 +  2 + 0.25 =  4.25
THREE = [(2.0, 6.0), (1.0, 3.0), (4.0, 12.0)]


def test_three_clients_two_active_by_hand() -> None:
    draws: list[tuple[int, list[int]]] = []

    def draw(number: int, idle: list[int]) -> int:
        draws.append((number, idle))
        return idle[0]

    clock = run(THREE, draw=draw)
    assert clock.contributions == [
        Contribution(0, 0.0, 8.5, 0),  # then 2 starts
        Contribution(2, 8.5, 12.75, 0),  # second part: version 1; then 0 starts
        Contribution(1, 0.0, 17.0, 0),  # then 2 starts
        Contribution(0, 12.75, 21.25, 1),  # 12.75 + 8.5; fourth part: version 2; begun before the next
        Contribution(2, 17.0, 21.25, 1),  # 17 + 4.25, the same instant
        Contribution(0, 21.25, 29.75, 2),  # sixth part: version 3
    ]
    assert clock.publications_s == [12.75, 21.25, 29.75]
    assert clock.activations_s == [
        (2.0, 0), (4.0, 1), (6.0, 0), (9.5, 2), (11.5, 2), (12.0, 1), (14.75, 0), (18.0, 2), (18.75, 0),
        (20.0, 2), (23.25, 0), (25.25, 1), (27.25, 0),
    ]  # fmt: skip
    assert clock.server_steps_s == [6.0, 12.0, 18.75, 25.25]  # every third of these
    # At 21.25 client 0 gives way to 1; only then is 0 idle and takes the place of 2.
    assert draws == [(1, [2]), (2, [0]), (3, [2]), (4, [1]), (5, [0])]


def test_all_arrivals_of_an_instant_come_before_all_starts() -> None:
    # Four equal clients, a part takes 8.5 s: 0 and 1 arrive together, both make version 1, then 2 and 0
    # start, both from version 1 (by turns, 2 would start from version 0).
    draws: list[list[int]] = []
    clock = run([(2.0, 6.0)] * 4, parts=4, draw=lambda number, idle: draws.append(idle) or idle[0])
    assert draws == [[2, 3], [0, 3]]
    assert clock.contributions == [
        Contribution(0, 0.0, 8.5, 0),
        Contribution(1, 0.0, 8.5, 0),
        Contribution(2, 8.5, 17.0, 1),
        Contribution(0, 8.5, 17.0, 1),
    ]
    assert clock.publications_s == [8.5, 17.0]


def test_where_all_are_active_each_goes_on_without_a_draw() -> None:
    def draw(number: int, idle: list[int]) -> int:
        raise AssertionError("nobody to draw from")

    # 0 arrives every 8.5 s, 1 every 17 s. At 17 client 1 (begun at 0) comes before 0 (begun at 8.5); three
    # parts by then make version 1, from which both start. At 34 client 1 (begun at 17) comes before 0 again.
    expected = [
        Contribution(0, 0.0, 8.5, 0),
        Contribution(1, 0.0, 17.0, 0),
        Contribution(0, 8.5, 17.0, 0),
        Contribution(0, 17.0, 25.5, 1),
        Contribution(1, 17.0, 34.0, 1),
        Contribution(0, 25.5, 34.0, 1),
    ]
    clock = run(THREE[:2], draw=draw, q_c=3, parts=6)
    assert clock.contributions == expected
    assert clock.publications_s == [17.0, 34.0]
    clock = run(THREE[:2], draw=draw, q_c=3, parts=5)  # ends between two parts of one instant
    assert clock.contributions == expected[:5]
    assert clock.publications_s == [17.0]


def test_a_buffer_larger_than_the_active_set_stops_nobody() -> None:
    clock = run(THREE, q_c=5)
    assert [c.arrived_s for c in clock.contributions] == [8.5, 12.75, 17.0, 21.25, 21.25, 29.75]
    assert clock.publications_s == [21.25]
    assert [c.version_at_start for c in clock.contributions] == [0, 0, 0, 0, 0, 1]


def test_a_draw_outside_the_idle_clients_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the idle"):
        run(THREE, draw=lambda number, idle: 0)


def test_uplink_at_one_kilometre_and_at_a_hundred_metres() -> None:
    # 1 km: h = 10^-12.81 = 1.5488e-13, SNR = 3.0976e-14 / 3.981e-14 = 0.77810, log2(1.77810) = 0.83034
    # 0.1 km: 37.6 dB more, SNR = 0.77810 x 5754.40 = 4477.5, log2(4478.5) = 12.1288
    assert wrtt_uplink_bit_s(1.0) == pytest.approx(8.3034e6, rel=1e-4)
    assert wrtt_uplink_bit_s(0.1) == pytest.approx(121.288e6, rel=1e-4)


def wrtt(seed: int, parts: int) -> tuple[GasClock, list[float]]:
    """GAS's own setting, 20 clients of which 10 active, on draws of this test's own; seconds per part."""
    rng = random.Random(seed)
    compute = [rng.uniform(1e9, 1e10) for _ in range(20)]
    uplink = [wrtt_uplink_bit_s(rng.uniform(0.1, 1.0)) for _ in range(20)]
    settings = Settings(
        compute_flop_s=compute,
        uplink_bit_s=uplink,
        first=rng.sample(range(20), 10),
        iterations=20,
        forward_flop=5_603_328,
        backward_flop=5_603_328,
        activation_bits=131_072 * 32,
        model_bits=620_544,
        q_c=10,
        q_s=10,
    )
    clock = simulate_gas(settings, lambda number, idle: rng.choice(idle), parts)
    bits = 20 * 131_072 * 32 + 620_544
    return clock, [20 * 2 * 5_603_328 / c + bits / u for c, u in zip(compute, uplink, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_wrtt_long_run_rate_is_that_of_renewal_theory(seed: int) -> None:
    # All idle clients are equally likely to be drawn, so each is idle for about the same mean time I, and
    # client i is active for a share T_i / (T_i + I) of the time. The shares add up to 10, which gives I;
    # the clients together then bring sum 1 / (T_i + I) parts per second.
    clock, part_s = wrtt(seed, 4000)
    for c in clock.contributions:
        assert c.arrived_s - c.started_s == pytest.approx(part_s[c.client])
    low, high = 0.0, 1000.0
    for _ in range(100):
        idle_s = (low + high) / 2
        too_busy = sum(t / (t + idle_s) for t in part_s) > 10
        low, high = (idle_s, high) if too_busy else (low, idle_s)
    ten_parts_s = 10 / sum(1 / (t + idle_s) for t in part_s)
    assert clock.publications_s[-1] / len(clock.publications_s) == pytest.approx(ten_parts_s, rel=0.05)
