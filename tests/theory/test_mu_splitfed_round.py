"""Rounds computed by hand from the papers' digest alone, equal to the spans to the last float.

Two clients (FAST and SLOW of tests/support.py) under COSTS; all figures are dyadic rationals, so
that floats are exact. Both have in common, in seconds:

    fast: x_c arrives 0 + 16/16 + 1/4 = 1.25; a forward pass takes 8/8 = 1. Its uplink is bound by
        its 8 byte/s up: z with labels takes 12/8 = 1.5, z+ and z- 8/8 = 1, x_c 16/8 = 2.
        z      computed 1.25 - 2.25   sent 2.25 - 3.75   arrives 4
        z+     computed 2.25 - 3.25   sent 3.75 - 4.75   arrives 5
        z-     computed 3.25 - 4.25   sent 4.75 - 5.75   arrives 6
    slow: x_c arrives 0 + 16/8 + 1/2 = 2.5; the straggler's delay ends 3.75; a forward pass takes
        8/4 = 2; z with labels takes 12/4 = 3, z+ and z- 8/4 = 2, x_c 16/4 = 4.
        z      computed 3.75 - 5.75   sent 5.75 - 8.75   arrives 9.25
        z+     computed 5.75 - 7.75   sent 8.75 - 10.75  arrives 11.25
        z-     computed 7.75 - 9.75   sent 10.75 - 12.75 arrives 13.25
    server, at 4 FLOP/s: one zeroth-order step takes 2 x 3/4 = 1.5, so do the two forward passes of
        the scalar; a first-order step takes (3 + 25)/4 = 7.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import COSTS, FAST, SLOW, UNLIMITED, data, read, whole

from sflsim.experiment.simulate import simulate

Row = tuple[str, str, float, float, str, float, float]  # actor, activity, start, end, client, bytes, flop


def rows(variant: dict[str, Any], slots: int) -> list[Row]:
    """Return the spans of one round, in order of start; the clients' links are all that limits a transfer."""
    server = {**data()["server"], "slots": slots, "link": UNLIMITED}
    fast = {**FAST, "link": {**FAST["link"], "up": "8 byte/s"}}
    fleet = {"clients": 2, "groups": [fast, SLOW]}
    spans = simulate(read(data(variants=[variant], server=server, fleet=fleet)), timing_only=True).spans
    columns = whole(spans)[["actor", "activity", "start_s", "end_s", "client", "bytes", "flop"]]
    return sorted(columns.itertuples(index=False, name=None), key=lambda row: (row[2], row))


def client(name: str, activity: str, start_s: float, end_s: float, amount: float = 0) -> Row:
    sent, flop = (0.0, float(amount)) if activity == "compute" else (float(amount), 0.0)
    return name, activity, start_s, end_s, name, sent, flop


def serve(slot: int, name: str, start_s: float, end_s: float, flop: float) -> Row:
    return f"server:{slot}", "serve", start_s, end_s, name, 0.0, float(flop)


def queue(name: str, start_s: float, end_s: float) -> Row:
    return "server", "queue", start_s, end_s, name, 0.0, 0.0


def expected(*parts: Row) -> list[Row]:
    return sorted(parts, key=lambda row: (row[2], row))


FIRST_HALF = (
    client("fast-0", "downlink", 0, 1.25, 16),
    client("fast-0", "compute", 1.25, 2.25, 8),
    client("fast-0", "uplink", 2.25, 4, 12),
    client("slow-0", "downlink", 0, 2.5, 16),
    client("slow-0", "slowdown", 2.5, 3.75),
    client("slow-0", "compute", 3.75, 5.75, 8),
    client("slow-0", "uplink", 5.75, 9.25, 12),
)
EMBEDDINGS = (
    *FIRST_HALF,
    client("fast-0", "compute", 2.25, 3.25, 8),
    client("fast-0", "uplink", 3.75, 5, 8),
    client("fast-0", "compute", 3.25, 4.25, 8),
    client("fast-0", "uplink", 4.75, 6, 8),
    client("slow-0", "compute", 5.75, 7.75, 8),
    client("slow-0", "uplink", 8.75, 11.25, 8),
    client("slow-0", "compute", 7.75, 9.75, 8),
    client("slow-0", "uplink", 10.75, 13.25, 8),
)


def test_mu_splitfed_on_one_slot() -> None:
    """tau = 4: a job of 6 s; first come, first served, the scalars' jobs behind the steps'.

    fast's steps 4 - 10. slow's, in since 9.25, go before fast's scalar, asked for at 10: 10 - 16.
    Scalars 16 - 17.5 and 17.5 - 19. fast: scalar down 4/16 + 1/4, x_c up 2 + 1/4: 18, 20.25.
    slow: 4/8 + 1/2, 4 + 1/2: 20, 24.5; fast has waited since 20.25.
    """
    assert rows({"algorithm": "mu-splitfed", "tau": 4}, slots=1) == expected(
        *EMBEDDINGS,
        serve(0, "fast-0", 4, 10, 24),
        queue("slow-0", 9.25, 10),
        serve(0, "slow-0", 10, 16, 24),
        queue("fast-0", 10, 16),
        serve(0, "fast-0", 16, 17.5, 6),
        queue("slow-0", 16, 17.5),
        serve(0, "slow-0", 17.5, 19, 6),
        client("fast-0", "downlink", 17.5, 18, 4),
        client("fast-0", "uplink", 18, 20.25, 16),
        client("slow-0", "downlink", 19, 20, 4),
        client("slow-0", "uplink", 20, 24.5, 16),
        client("fast-0", "wait", 20.25, 24.5),
    )


def test_mu_splitfed_on_two_slots() -> None:
    """Nobody queues: fast 4 - 10 and 10 - 11.5, slow 9.25 - 15.25 and (on the free slot 0) to 16.75."""
    assert rows({"algorithm": "mu-splitfed", "tau": 4}, slots=2) == expected(
        *EMBEDDINGS,
        serve(0, "fast-0", 4, 10, 24),
        serve(1, "slow-0", 9.25, 15.25, 24),
        serve(0, "fast-0", 10, 11.5, 6),
        serve(0, "slow-0", 15.25, 16.75, 6),
        client("fast-0", "downlink", 11.5, 12, 4),
        client("fast-0", "uplink", 12, 14.25, 16),
        client("slow-0", "downlink", 16.75, 17.75, 4),
        client("slow-0", "uplink", 17.75, 22.25, 16),
        client("fast-0", "wait", 14.25, 22.25),
    )


def test_scalar_waits_for_the_embeddings() -> None:
    """tau = 1 on two slots: the steps are done long before z-, which the scalar then waits for."""
    spans = rows({"algorithm": "mu-splitfed", "tau": 1}, slots=2)
    assert [row for row in spans if row[1] in ("serve", "queue")] == [
        serve(0, "fast-0", 4, 5.5, 6),
        serve(0, "fast-0", 6, 7.5, 6),
        serve(0, "slow-0", 9.25, 10.75, 6),
        serve(0, "slow-0", 13.25, 14.75, 6),
    ]


def test_adaptive_tau_on_two_slots() -> None:
    """Both replicas step until slow's z- is in, at 13.25: fast seven times from 4, slow three from 9.25.

    The steps under way at 13.25 end at 14.5 and 13.75; then come the scalars.
    """
    assert rows({"algorithm": "mu-splitfed", "tau": "adaptive"}, slots=2) == expected(
        *EMBEDDINGS,
        *(serve(0, "fast-0", 4 + 1.5 * step, 5.5 + 1.5 * step, 6) for step in range(7)),
        *(serve(1, "slow-0", 9.25 + 1.5 * step, 10.75 + 1.5 * step, 6) for step in range(3)),
        serve(1, "slow-0", 13.75, 15.25, 6),
        serve(0, "fast-0", 14.5, 16, 6),
        client("slow-0", "downlink", 15.25, 16.25, 4),
        client("slow-0", "uplink", 16.25, 20.75, 16),
        client("fast-0", "downlink", 16, 16.5, 4),
        client("fast-0", "uplink", 16.5, 18.75, 16),
        client("fast-0", "wait", 18.75, 20.75),
    )


def test_adaptive_tau_on_one_slot() -> None:
    """The replicas take turns once both have their z; no step starts after 13.25.

    fast steps four times, 4 - 10; slow, in since 9.25, 10 - 11.5; fast 11.5 - 13; slow 13 - 14.5. fast's
    next step waits from 13 and is withdrawn at 13.25, when its scalar takes its place: 14.5 - 16.
    slow's scalar follows, 16 - 17.5. tau is 5 and 2.
    """
    assert rows({"algorithm": "mu-splitfed", "tau": "adaptive"}, slots=1) == expected(
        *EMBEDDINGS,
        *(serve(0, "fast-0", 4 + 1.5 * step, 5.5 + 1.5 * step, 6) for step in range(4)),
        queue("slow-0", 9.25, 10),
        serve(0, "slow-0", 10, 11.5, 6),
        queue("fast-0", 10, 11.5),
        serve(0, "fast-0", 11.5, 13, 6),
        queue("slow-0", 11.5, 13),
        serve(0, "slow-0", 13, 14.5, 6),
        queue("fast-0", 13, 13.25),
        queue("fast-0", 13.25, 14.5),
        serve(0, "fast-0", 14.5, 16, 6),
        queue("slow-0", 14.5, 16),
        serve(0, "slow-0", 16, 17.5, 6),
        client("fast-0", "downlink", 16, 16.5, 4),
        client("fast-0", "uplink", 16.5, 18.75, 16),
        client("slow-0", "downlink", 17.5, 18.5, 4),
        client("slow-0", "uplink", 18.5, 23, 16),
        client("fast-0", "wait", 18.75, 23),
    )


ONE_AFTER_THE_OTHER = (
    client("fast-0", "downlink", 11, 11.75, 8),
    client("fast-0", "compute", 11.75, 13.75, 16),
    client("fast-0", "uplink", 13.75, 16, 16),
    client("slow-0", "downlink", 18, 19.5, 8),
    client("slow-0", "compute", 19.5, 23.5, 16),
    client("slow-0", "uplink", 23.5, 28, 16),
    client("fast-0", "wait", 16, 28),
)


@pytest.mark.parametrize(("algorithm", "slots"), [("splitfed-v1", 1), ("splitfed-v2", 1), ("splitfed-v2", 2)])
def test_splitfed_steps_one_after_the_other(algorithm: str, slots: int) -> None:
    """One slot, or V2's one server model on two slots: slow's step waits for fast's, 4 - 11, to 18.

    fast: gradient down 8/16 + 1/4, backward 16/8, x_c up 2 + 1/4: 11.75, 13.75, 16. slow: 8/8 + 1/2,
    16/4, 4 + 1/2: 19.5, 23.5, 28.
    """
    assert rows({"algorithm": algorithm}, slots) == expected(
        *FIRST_HALF,
        *ONE_AFTER_THE_OTHER,
        serve(0, "fast-0", 4, 11, 28),
        queue("slow-0", 9.25, 11),
        serve(0, "slow-0", 11, 18, 28),
    )


def test_splitfed_v1_on_two_slots() -> None:
    """A replica for each client: the two steps overlap, slow's is done at 16.25."""
    assert rows({"algorithm": "splitfed-v1"}, slots=2) == expected(
        *FIRST_HALF,
        serve(0, "fast-0", 4, 11, 28),
        serve(1, "slow-0", 9.25, 16.25, 28),
        client("fast-0", "downlink", 11, 11.75, 8),
        client("fast-0", "compute", 11.75, 13.75, 16),
        client("fast-0", "uplink", 13.75, 16, 16),
        client("slow-0", "downlink", 16.25, 17.75, 8),
        client("slow-0", "compute", 17.75, 21.75, 16),
        client("slow-0", "uplink", 21.75, 26.25, 16),
        client("fast-0", "wait", 16, 26.25),
    )


def random_fleet(rng: np.random.Generator, algorithm: dict[str, Any], slots: int, seed: int) -> pd.DataFrame:
    """Return the spans of four rounds of one random fleet of six, of which four take part."""
    up, down = (f"{rng.uniform(2, 40):.3f} byte/s" for _ in range(2))
    group = {
        "name": "any",
        "device": {"compute": {"kind": "uniform", "low": "2 FLOP/s", "high": f"{rng.uniform(3, 40)} FLOP/s"}},
        "link": {"up": up, "down": down, "latency": {"kind": "exponential", "mean": "0.3 s"}},
        "straggler": {"kind": "exponential", "mean": f"{rng.uniform(0.1, 20):.3f} s"},
    }
    content = data(
        seeds=[seed],
        fleet={"clients": 6, "participants": 4, "groups": [group]},
        server={"compute": f"{rng.uniform(2, 30):.3f} FLOP/s", "slots": slots, "link": UNLIMITED},
        variants=[algorithm],
        stop={"rounds": 4},
    )
    return whole(simulate(read(content), timing_only=True).spans)


@pytest.mark.parametrize("seed", range(10))
def test_adaptive_tau_leaves_no_slot_idle(seed: int) -> None:
    """Between the first z and the last embeddings, a slot is idle only if no replica could have stepped.

    A replica could: its z is in, it is below tau_max, and it is not being served. It steps at
    least once, at most tau_max times, and starts no step but its first when all embeddings are in.
    """
    rng = np.random.default_rng(seed)
    slots, tau_max = int(rng.integers(1, 4)), int(rng.choice([2, 5, 64]))
    spans = random_fleet(
        rng, {"algorithm": "mu-splitfed", "tau": "adaptive", "tau_max": tau_max}, slots, seed
    )
    for _, own in spans.groupby("round"):
        uplinks = own[own["activity"] == "uplink"]
        embeddings = uplinks[uplinks["bytes"] != 16]  # 16 bytes are x_c at the round's end
        z_in = embeddings[embeddings["bytes"] == 12].set_index("client")["end_s"]
        all_in = embeddings["end_s"].max()
        served = own[own["activity"] == "serve"].sort_values(["client", "start_s"])
        steps = served[served.duplicated("client", keep="last")]  # the last job of each is the scalar's
        taus = steps.groupby("client").size()
        assert set(taus.index) == set(z_in.index)
        assert taus.between(1, tau_max).all()
        assert (steps[steps.duplicated("client")]["start_s"] <= all_in).all()
        assert (steps.groupby("client")["start_s"].min() >= z_in.sort_index()).all()

        changes = sorted({z_in.min(), all_in, *z_in, *served["start_s"], *served["end_s"]})
        inside = [time for time in changes if z_in.min() <= time <= all_in]
        for instant in [(before + after) / 2 for before, after in pairwise(inside)]:
            working = served[(served["start_s"] < instant) & (instant < served["end_s"])]
            if len(working) == slots:
                continue
            done = steps[steps["end_s"] < instant].groupby("client").size().reindex(z_in.index).fillna(0)
            ready = (z_in < instant) & (done < tau_max) & ~z_in.index.isin(working["client"])
            assert not ready.any(), (instant, len(working), slots)


def test_adaptive_tau_is_idle_only_at_tau_max() -> None:
    """The check above is no tautology: with tau fixed at 1, a slot is idle while a replica could step."""
    spans = random_fleet(np.random.default_rng(0), {"algorithm": "mu-splitfed", "tau": 1}, 3, 0)
    served = spans[spans["activity"] == "serve"]
    busy_s = (served["end_s"] - served["start_s"]).sum()
    assert busy_s < spans["end_s"].max() / 2


def test_costs_are_those_of_the_page() -> None:
    """Per exchange, client 3 forwards, up 3|z| + |y| + |x_c|, down |x_c| + a scalar, server 2 tau + 2."""
    spans = simulate(read(data(variants=[{"algorithm": "mu-splitfed", "tau": 4}])), timing_only=True).spans
    fast = spans[spans["client"] == "fast-0"].groupby("activity")[["bytes", "flop"]].sum()
    assert fast.loc["compute", "flop"] == 3 * 8
    assert fast.loc["uplink", "bytes"] == 3 * 8 + 4 + 16
    assert fast.loc["downlink", "bytes"] == 16 + 4
    assert fast.loc["serve", "flop"] == (2 * 4 + 2) * 3
    assert COSTS["server_forward"] == "3 FLOP"
