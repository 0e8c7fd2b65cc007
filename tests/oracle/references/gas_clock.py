"""Oracle for the clock of GAS (AAAI 2025, arXiv 2409.01251) on its WRTT time model.

Written from the papers' digest alone, without sight of the simulator. It knows seconds, FLOP and bits, no
tensors. Only the standard library may be imported here.

The model: a few clients are active at any time. One contribution (a part) of a client is E iterations of
forward pass, upload of the activation, backward pass; then the upload of the client part. Downlink,
server and latency take no time. Whoever is done is replaced at once by an idle client; nobody waits.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Draw = Callable[[int, list[int]], int]
"""(number of the replacement, counted from 1; sorted idle clients) -> the client that starts."""


@dataclass(frozen=True)
class Contribution:
    """One client part, from the start of its work to its arrival at the server."""

    client: int
    started_s: float
    arrived_s: float
    version_at_start: int  # how often the global client part had changed when the client took it


@dataclass(frozen=True)
class GasClock:
    """All that happened up to and including the instant at which the last part arrived."""

    contributions: list[Contribution]  # in order of arrival
    activations_s: list[tuple[float, int]]  # (time, client), in order of arrival
    publications_s: list[float]  # when the global client part changed
    server_steps_s: list[float]  # when the activation buffer was full


@dataclass(frozen=True)
class Settings:
    """Rates of every client, who is active at 0 (in this order), the work of an iteration, both buffers."""

    compute_flop_s: Sequence[float]
    uplink_bit_s: Sequence[float]
    first: Sequence[int]
    iterations: int
    forward_flop: float
    backward_flop: float
    activation_bits: float
    model_bits: float
    q_c: int
    q_s: int


def simulate_gas(settings: Settings, draw: Draw, parts: int) -> GasClock:
    """Run the clock until `parts` parts have arrived.

    Flop and activation bits are per iteration. At one instant, first everything that arrives is used, in
    the order in which the contributions were begun; only then is each part's client replaced, in the same
    order. A client that is done at this instant but not yet replaced does not count as idle. Where all
    clients are active, `draw` is not called and the client itself goes on.
    """
    first = settings.first
    clients = len(settings.compute_flop_s)
    if (
        len(settings.uplink_bit_s) != clients
        or len(set(first)) != len(first)
        or not set(first) <= set(range(clients))
    ):
        raise ValueError("one rate of each kind per client, and the first clients once each, please")
    if not first or min(settings.iterations, settings.q_c, settings.q_s, parts) < 1:
        raise ValueError("needs an active client and at least one iteration, part and place in each buffer")

    # An event is (time, contribution, activations sent before). The contribution's number is the tie-break.
    # With all activations sent, the event is the arrival of the part; else that of the next activation.
    events: list[tuple[float, int, int]] = []
    begun: list[tuple[int, float, int]] = []  # per contribution: client, start, version at start
    active = set(first)
    version = replacements = 0
    buffered_parts = buffered_activations = 0
    contributions: list[Contribution] = []
    activations: list[tuple[float, int]] = []
    publications: list[float] = []
    server_steps: list[float] = []

    def send_activation(at: float, contribution: int, sent: int) -> None:
        """Forward pass and upload, begun at `at`."""
        client = begun[contribution][0]
        at += settings.forward_flop / settings.compute_flop_s[client]
        at += settings.activation_bits / settings.uplink_bit_s[client]
        heapq.heappush(events, (at, contribution, sent))

    def begin(at: float, client: int) -> None:
        begun.append((client, at, version))
        send_activation(at, len(begun) - 1, 0)

    for client in first:
        begin(0.0, client)

    while True:
        now = events[0][0]
        arrived: list[int] = []  # contributions whose part arrives now
        while events and events[0][0] == now:
            _, contribution, sent = heapq.heappop(events)
            if sent == settings.iterations:
                arrived.append(contribution)
                continue
            client = begun[contribution][0]
            activations.append((now, client))
            buffered_activations += 1
            if buffered_activations == settings.q_s:
                buffered_activations = 0
                server_steps.append(now)
            ready = now + settings.backward_flop / settings.compute_flop_s[client]
            if sent + 1 < settings.iterations:
                send_activation(ready, contribution, sent + 1)
            else:
                at = ready + settings.model_bits / settings.uplink_bit_s[client]
                heapq.heappush(events, (at, contribution, settings.iterations))

        arrived.sort()
        for contribution in arrived[: parts - len(contributions)]:
            client, started, version_at_start = begun[contribution]
            contributions.append(Contribution(client, started, now, version_at_start))
            buffered_parts += 1
            if buffered_parts == settings.q_c:
                buffered_parts = 0
                version += 1
                publications.append(now)
        if len(contributions) == parts:
            return GasClock(contributions, activations, publications, server_steps)

        for contribution in arrived:
            done = begun[contribution][0]
            idle = sorted(set(range(clients)) - active)  # `done` is still active, so never among them
            if not idle:
                begin(now, done)
                continue
            replacements += 1
            chosen = draw(replacements, list(idle))
            if chosen not in idle:
                raise ValueError(f"the draw gave client {chosen}, which is not among the idle {idle}")
            active.remove(done)
            active.add(chosen)
            begin(now, chosen)


def wrtt_uplink_bit_s(
    distance_km: float, bandwidth_hz: float = 10e6, power_w: float = 0.2, noise_w_hz: float = 3.981e-21
) -> float:
    """Shannon rate at this distance with path loss 128.1 + 37.6 log10(km) dB; no fading."""
    gain = 10 ** (-(128.1 + 37.6 * math.log10(distance_km)) / 10)
    return bandwidth_hz * math.log2(1 + power_w * gain / (bandwidth_hz * noise_w_hz))
