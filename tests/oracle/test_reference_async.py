"""The references of FedAsync and FedBuff: without staleness they are FedAvg and sequential training."""

from __future__ import annotations

import math

import pytest
from oracle.references import common as ref
from oracle.references import fedasync, fedavg, fedbuff
from oracle.toy import MODEL, PLAIN, SGD, X_C, X_S, close, everyone, grid, torch_training


def test_fedbuff_of_everyone_at_once_is_fedavg() -> None:
    rounds = everyone(2, 3, 2)
    avg = fedavg.reference(MODEL, X_C + X_S, rounds, fedavg.Settings(2, SGD))
    arrivals = ref.Arrivals(
        [(m, r) for r in range(2) for m in range(3)],
        [rounds.batches[r][m] for r in range(2) for m in range(3)],
    )
    buff = fedbuff.reference(MODEL, X_C + X_S, arrivals, fedbuff.Settings(2, SGD, b=3))
    assert close(avg.x_c, buff.x_c)


def test_fedbuff_stale_deltas_shrink() -> None:
    data = grid(1, 2, 2)[0]
    arrivals = ref.Arrivals([(0, 0), (1, 0)], data)
    got = fedbuff.reference(MODEL, X_C + X_S, arrivals, fedbuff.Settings(2, PLAIN, b=1))
    second, _ = ref.local_steps(MODEL, X_C + X_S, data[1], 2, PLAIN)
    v1 = got.x_c_rounds[0]
    hand = [a + (s - x) / math.sqrt(2) for a, s, x in zip(v1, second, X_C + X_S, strict=True)]
    assert close(got.x_c, hand)
    assert got.extra["staleness"] == [0, 1]


def test_fedasync_with_alpha_one_and_no_staleness_is_sequential_training() -> None:
    data = grid(1, 4, 2)[0]
    arrivals = ref.Arrivals([(j, j) for j in range(4)], data)
    got = fedasync.reference(MODEL, X_C + X_S, arrivals, fedasync.Settings(2, PLAIN, alpha=1.0))
    assert close(got.x_c, torch_training(X_C + X_S, [b for m in data for b in m], PLAIN), 1e-10)
    arrivals = ref.Arrivals([(j, 0) for j in range(4)], data)
    stale = fedasync.reference(MODEL, X_C + X_S, arrivals, fedasync.Settings(2, PLAIN, alpha=0.6))
    assert stale.extra["a"] == pytest.approx([0.6, 0.6 / math.sqrt(2), 0.6 / math.sqrt(3), 0.3])
    hinge = [fedasync.staleness_weight(t, "hinge") for t in (0, 4, 5, 6)]
    assert hinge == pytest.approx([1.0, 1.0, 1 / 11, 1 / 21])
