"""The latency of a server's link by hand: each message that goes over that link is later by it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from support import FAST, data, read, whole

from sflsim.errors import ScenarioError
from sflsim.experiment.run import Run
from sflsim.experiment.simulate import simulate

RATES = {
    "unlimited": {"up": "unlimited", "down": "unlimited"},
    "limited": {"up": "4 byte/s", "down": "8 byte/s"},
}
DRAWN = {"kind": "uniform", "low": "1 s", "high": "3 s"}


def run_of(link: Any, fed: Any = None, **fields: Any) -> Run:
    """Run SplitFed with one client, whose own latency is 0.25 s."""
    server = {"compute": "4 FLOP/s", "slots": 1, "link": link, **({"fed": {"link": fed}} if fed else {})}
    fleet = {"clients": 1, "groups": [FAST]}
    return simulate(read(data(server=server, fleet=fleet, **fields)), timing_only=True)


def messages(run: Run) -> pd.DataFrame:
    """Return model down, activations up, gradient down and model up, with their lengths."""
    spans = whole(run.spans)
    spans = spans[spans["activity"].isin(["uplink", "downlink"])].sort_values("start_s")
    return spans.assign(seconds=spans["end_s"] - spans["start_s"])


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("fed", [None, *RATES])
def test_every_message_over_a_servers_link_is_later_by_its_latency(rates: str, fed: str | None) -> None:
    """Split Server 5 s, Fed Server 2 s: the model goes to and from the latter, activations do not."""
    plain = [RATES[rates], RATES[fed] if fed else None]
    slow = [{**plain[0], "latency": "5 s"}, {**plain[1], "latency": "2 s"} if plain[1] else None]  # type: ignore[dict-item]
    before, after = messages(run_of(*plain)), messages(run_of(*slow))
    model_s = 2.0 if fed else 5.0
    later_s = after["seconds"].to_numpy() - before["seconds"].to_numpy()
    assert later_s.tolist() == [model_s, 5.0, 5.0, model_s]
    assert after["end_s"].iloc[-1] - before["end_s"].iloc[-1] == 10.0 + 2 * model_s
    assert after["bytes"].tolist() == before["bytes"].tolist()


def test_the_next_message_is_sent_while_one_travels() -> None:
    """The latency occupies nothing: two clients' activations share the link as without it."""
    fleet = {"clients": 2, "groups": [{**FAST, "count": 2}]}
    starts = []
    for latency in ({}, {"latency": "5 s"}):
        server = {"compute": "4 FLOP/s", "slots": 2, "link": {**RATES["limited"], **latency}}
        run = simulate(read(data(server=server, fleet=fleet)), timing_only=True)
        downs = messages(run).query("activity == 'downlink'").groupby("client").first()
        starts.append(downs["seconds"].tolist())
    assert starts[1] == [second + 5.0 for second in starts[0]]


def test_a_drawn_latency_holds_for_the_run() -> None:
    """One draw per seed and server, the same again for the same seed."""
    base_s = messages(run_of(RATES["unlimited"]))["seconds"].to_numpy()
    found = []
    for seed in (0, 0, 1):
        run = run_of({**RATES["unlimited"], "latency": DRAWN}, seeds=[seed])
        later_s = messages(run)["seconds"].to_numpy() - base_s
        assert later_s == pytest.approx([later_s[0]] * 4)
        assert 1.0 <= later_s[0] <= 3.0
        found.append(later_s[0])
    assert found[0] == found[1] != found[2]


def test_a_link_of_the_catalog_brings_its_latency() -> None:
    """Wi-Fi: 3 ms for each message beside its rates."""
    plain = messages(run_of({"up": "150 Mbit/s", "down": "150 Mbit/s"}))["seconds"].to_numpy()
    assert messages(run_of("wifi"))["seconds"].to_numpy() - plain == pytest.approx([0.003] * 4)


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"in_order": True}, "in_order", "rates and a latency"),
        ({"packet": "500 byte"}, "packet", "rates and a latency"),
        ({"latency": {**DRAWN, "redraw": "message"}}, "latency", "'client': drawn once"),
        ({"down": {"kind": "uniform", "low": "1 byte/s", "high": "2 byte/s", "redraw": "message"}}, "down",
         "'client': drawn once"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["link", "fed.link"])
def test_what_a_servers_link_cannot_have_is_refused(
    given: dict[str, Any], path: str, words: str, place: str
) -> None:
    """At its place, with what is allowed instead; for the Fed Server as for the Split Server."""
    link = {**RATES["limited"], **given}
    with pytest.raises(ScenarioError) as caught:
        run_of(*([link] if place == "link" else [RATES["limited"], link]))
    assert f"server.{place}.{path}" in str(caught.value)
    assert words in str(caught.value)
