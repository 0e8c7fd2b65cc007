"""What each choice of how to compute brings: the same calls with it and without it.

Ratio: time with / time without, so below one it pays. Those that do not pay are not made; they are kept here,
so that they can be measured again on the next machine. Stacked participants, channels last and inference mode
are what sflsim does by its fixed rules (`Task.participants_at_once`, `learning/network/split.py`,
`learning/zeroth_order.py`).
Run: `python benchmarks/choices.py [--quick]`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from bench import Comparison, options, pair_ratios, report
from torch import Tensor
from training import EVERY_ROUNDS, GENTLE_V1, MU, SCENARIO, V1, by_hand, through_sflsim

import sflsim
from sflsim.learning.network.split import Part
from sflsim.learning.task import Task
from sflsim.registry import models
from sflsim.session import Options, Session

PAYS = 1.0
Side = Callable[[], object]


def session(dataset: str, model: str, clients: int, variant: str, rounds: int) -> Session:
    """Return a session on one of the scenarios of benchmarks/training.py."""
    text = SCENARIO.format(
        dataset=dataset, model=model, clients=clients, variant=variant, rounds=rounds, every=EVERY_ROUNDS
    )
    return Session(sflsim.parse_scenario(text), Options())


def stacked(of: Session) -> tuple[Side, Side]:
    """Return (all participants at once, one after the other)."""

    def participants(number: int) -> object:
        with mock.patch.object(Task, "participants_at_once", number):
            return through_sflsim(of)

    return partial(participants, 1 << 16), partial(participants, 1)


def channels_last(of: Session) -> tuple[Side, Side]:
    """Return the loop by hand (in that layout, in torch's own)."""
    return by_hand(of, True), by_hand(of, False)


def inference(of: Session) -> tuple[Side, Side]:
    """Return zeroth-order training (in inference mode, without gradients alone)."""

    def without() -> object:
        with mock.patch("torch.inference_mode", torch.no_grad):
            return through_sflsim(of)

    return partial(through_sflsim, of), without


def threads(of: Session, number: int) -> tuple[Side, Side]:
    """Return training on (`number` threads, one)."""
    sessions = {threads: Session(of.scenario, Options(threads=threads)) for threads in (number, 1)}

    def on(threads: int) -> object:
        return through_sflsim(sessions[threads])

    return partial(on, number), partial(on, 1)


def both_signs(model: str, shape: tuple[int, ...], participants: int) -> tuple[Side, Side]:
    """Return the two perturbed forward passes (at once as twice the participants, one after the other)."""
    part = Part(models()[model]().build(shape, 10))
    flat, x = part.initial()[None].repeat(participants, 1), torch.randn(participants, 32, *shape)
    u = torch.randn_like(flat)

    def passes(moved: Tensor, inputs: Tensor) -> None:
        with torch.inference_mode():
            part.forward(part.views(moved), inputs)

    def at_once() -> None:
        for _ in range(8):
            passes(torch.cat([flat + 1e-3 * u, flat - 1e-3 * u]), torch.cat([x, x]))

    def in_turn() -> None:
        for _ in range(8):
            passes(flat.add_(u, alpha=1e-3), x)
            passes(flat.add_(u, alpha=-2e-3), x)
            flat.add_(u, alpha=1e-3)

    return at_once, in_turn


def main() -> None:
    """Time every choice and print the table."""
    given = options("what each choice of how to compute brings")
    few = 5 if given.quick else 20
    choices: list[tuple[str, tuple[Side, Side]]] = [
        ("stacked, MLP, 10 clients", stacked(session("digits", "mlp", 10, V1, few))),
        ("stacked, MLP, 50 clients", stacked(session("digits", "mlp", 50, V1, few))),
        ("stacked, CNN 1x8x8, 10 clients", stacked(session("digits", "cnn", 10, V1, few))),
        ("stacked, CNN 3x32x32, 10 clients", stacked(session("colours", "cnn", 10, GENTLE_V1, 5))),
        ("channels last, CNN 3x32x32", channels_last(session("colours", "cnn", 10, GENTLE_V1, 5))),
        ("channels last, AlexNet", channels_last(session("colours", "alexnet", 2, GENTLE_V1, 5))),
        ("inference mode, MU-SplitFed, MLP, 1 client", inference(session("digits", "mlp", 1, MU, 4 * few))),
        ("inference mode, MU-SplitFed, MLP, 10 clients", inference(session("digits", "mlp", 10, MU, few))),
        ("inference mode, MU-SplitFed, CNN 1x8x8", inference(session("digits", "cnn", 4, MU, 5))),
        ("both signs at once, MLP, 1 participant", both_signs("mlp", (1, 8, 8), 1)),
        ("both signs at once, MLP, 50 participants", both_signs("mlp", (1, 8, 8), 50)),
        ("both signs at once, CNN 3x32x32, 1 participant", both_signs("cnn", (3, 32, 32), 1)),
        ("two threads, MLP, 10 clients", threads(session("digits", "mlp", 10, V1, few), 2)),
        ("two threads, AlexNet", threads(session("colours", "alexnet", 2, GENTLE_V1, 5), 2)),
    ]
    comparisons = []
    for name, (chosen, other) in choices:
        comparisons.append(Comparison(name, pair_ratios(chosen, other, given.pairs), PAYS))
    report("time with / time without; met: it pays", comparisons)


if __name__ == "__main__":
    main()
