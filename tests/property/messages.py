"""Which messages each algorithm sends, by their sizes: recognised in spans, counted, and in their order."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from property.capacities import Floats, Spans, slack_s
from support import whole

from sflsim.fleet.devices import Device

Message = tuple[str, float]
"""Direction ("uplink" or "downlink") and bytes."""
GRADIENT, BATCH, PART, WHOLE, AUXILIARY, SCALAR = 1009, 1009 + 13, 211, 211 + 499, 211 + 103, 3
MODELS = frozenset({PART, WHOLE, AUXILIARY})
"""What the Fed Server sends and gets; all else is the Split Server's."""
ROUNDLESS = ("gas", "zo-gas", "fedasync", "fedbuff")
UNANSWERED = ("cse-fsl", "fsl-sage", "heron-sfl")
"""Their activations may arrive when the round is over; where messages overtake others, when the run is."""


def numbered(spans: pd.DataFrame) -> pd.DataFrame:
    """Return whole messages and the rest; without shared rounds, `round` counts a client's contributions.

    A contribution is recorded when it is over, so what is recorded after it is of the next.
    """
    spans = whole(spans)
    over = spans["activity"] == "contribution"
    if over.any():
        before = over.groupby(spans["client"]).cumsum()
        spans = spans.assign(round=before + 1)
    return spans[~over]


def whole_part(
    variant: Any, share: float = 1.0, missed: int = 0, pulled: bool = True, pushed: bool = True
) -> Counter[Message]:
    """Return the messages of one client's whole part of a round; in HO-SFL of one that has missed some.

    `share` is that of its batches in the mean batch; the client part may stay where it is between averages.
    """
    name, batch, gradient = variant.algorithm, BATCH * share, GRADIENT * share
    sent: dict[Message, int]
    if name in ("splitfed-v1", "splitfed-v2", "psl", "sl", "gas"):
        times = variant.local_iterations
        sent = {("uplink", batch): times, ("downlink", gradient): times} | both(PART)
    elif name in ("mu-splitfed", "zo-splitfed", "zo-gas"):
        times, scalars = getattr(variant, "local_iterations", 1), variant.perturbations * SCALAR
        sent = {("uplink", batch): times, ("uplink", gradient): 2 * variant.perturbations * times}
        sent |= {("downlink", scalars): times} | both(PART)
    elif name == "ho-sfl":
        scalars = variant.perturbations * SCALAR
        down = Counter([("downlink", scalars * (1 + 2 * missed)), ("downlink", scalars)])
        sent = {("uplink", batch): 1, ("downlink", gradient): 1, ("uplink", scalars): 1, **down}
    elif name in UNANSWERED:
        sent = {("uplink", batch): variant.local_iterations // variant.q} | both(AUXILIARY)
    elif name == "frozen-client":
        sent = {("uplink", batch): variant.local_iterations}
    else:
        assert name in ("fedavg", "fedlora", "fedasync", "fedbuff"), f"no law for {name} yet"
        sent = both(WHOLE)
    moved = {"downlink": pulled, "uplink": pushed}
    return Counter({(way, size): n for (way, size), n in sent.items() if size not in MODELS or moved[way]})


def both(model_bytes: float) -> dict[Message, int]:
    """Return a model that is sent down and up once each."""
    return {("downlink", model_bytes): 1, ("uplink", model_bytes): 1}


def packets_bytes(groups: dict[str, Any], devices: dict[str, Device]) -> dict[str, float]:
    """Return the size of a packet of each client whose link loses some."""
    links = {name: groups[device.group]["link"] for name, device in devices.items()}
    return {
        name: float(link.get("packet", "1500 byte").split()[0])
        for name, link in links.items()
        if "loss" in link
    }


def recognised(
    variant: Any, rounds: int, shares: dict[str, float], packets: dict[str, float], sent: Spans
) -> Floats:
    """Return the size of the message of each transfer, 0 where it was cut; its algorithm sends such a one.

    `shares` are those of each client's batches in the mean batch. With loss some packets went over the air
    more than once.
    """
    sizes: dict[tuple[str, str], set[float]] = {}
    for client, share in shares.items():
        for missed in range(rounds if variant.algorithm == "ho-sfl" else 1):
            for way, size in whole_part(variant, share, missed):
                sizes.setdefault((client, way), set()).add(size)
    found = np.zeros(len(sent))
    for place, (client, way, air_bytes) in enumerate(
        zip(sent.client, sent.activity, sent.bytes, strict=True)
    ):
        if sent.outcome[place] != "lost":
            possible = {
                size
                for size in sizes[client, way]
                if air_bytes == size or (client in packets and is_resent(air_bytes, size, packets[client]))
            }
            assert possible, (client, way, air_bytes)
            found[place] = max(possible)
    return found


def is_resent(air_bytes: float, size_bytes: float, packet_bytes: float) -> bool:
    """Tell whether this is a message of so many bytes, some of whose packets were sent more than once."""
    packets = math.ceil(size_bytes / packet_bytes)
    sent = air_bytes * packets / size_bytes
    return sent >= packets - 1e-6 and math.isclose(sent, round(sent), abs_tol=1e-6)


def check_causes(variant: Any, shares: dict[str, float], sent: Spans, sizes: Floats) -> None:
    """A client gets its n-th answer not before its n-th batch has arrived: no more of them than batches."""
    share = np.array([shares[client] for client in sent.client])
    down = {size for way, size in whole_part(variant) if way == "downlink"} - MODELS - {GRADIENT}
    if variant.algorithm == "ho-sfl":
        down = set()
    answers = (np.isin(sizes, list(down)) | (sizes == GRADIENT * share)) & (sent.activity == "downlink")
    batches = sizes == BATCH * share
    arrived_s = {client: np.sort(own.end_s) for (client,), own in sent.where(batches).by("client")}
    for (client,), own in sent.where(answers).by("client"):
        starts_s = np.sort(own.start_s)
        assert len(starts_s) <= len(arrived_s[client])
        assert (starts_s >= arrived_s[client][: len(starts_s)] - slack_s(starts_s)).all()


def check_parts(
    variant: Any,
    shares: dict[str, float],
    lossy: set[str],
    overtaking: set[str],
    rounds: int,
    spans: Spans,
    sent: Spans,
    sizes: Floats,
) -> None:
    """Where all are always there: a part that counts has sent exactly its messages, any other no more."""
    wasted = {key for key, own in spans.by("client", "round") if (own.outcome == "wasted").any()}
    found: dict[tuple[str, int], Counter[Message]] = {}
    for client, round, *message in zip(sent.client, sent.round, sent.activity, sizes, strict=True):
        found.setdefault((client, round), Counter())[message[0], message[1]] += 1
    last = dict(sorted(found))  # of each client
    known: dict[str, int] = {}  # the round up to which a client of HO-SFL has heard of the means
    own: dict[str, int] = {}  # the average since which a client has a part of its own
    every = getattr(variant, "aggregate_clients_every", 1)
    for (client, round), messages in sorted(found.items()):
        counts, average = (client, round) not in wasted, (round - 1) // every
        pulled, pushed = own.get(client) != average, round % every == 0
        expected = whole_part(variant, shares[client], round - 1 - known.get(client, 0), pulled, pushed)
        own |= {client: average} if counts and not pushed else {}
        known[client] = round if counts else round - 1
        if variant.algorithm in ROUNDLESS:
            counts = round < last[client]
        elif variant.algorithm in UNANSWERED:
            counts = counts and round < rounds and (average + 1) * every <= rounds
        if client in lossy and variant.algorithm == "ho-sfl":
            messages, expected = ways(messages), ways(expected)  # 3 scalars, or one that was sent thrice
        assert messages <= expected, (client, round)
        if client in overtaking and variant.algorithm in UNANSWERED:
            messages, expected = models(messages), models(expected)
        assert not counts or round > rounds or messages == expected, (client, round)


def models(messages: Counter[Message]) -> Counter[Message]:
    """Return those messages that are a model."""
    return Counter({message: n for message, n in messages.items() if message[1] in MODELS})


def ways(messages: Counter[Message]) -> Counter[Message]:
    """Return how many messages there are each way."""
    return Counter((way, 0.0) for way, _ in messages.elements())
