"""The references of CSE-FSL and HERON-SFL: against FedAvg with the head, and each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from oracle.references import common as ref
from oracle.references import cse_fsl, fedavg, heron_sfl
from oracle.toy import (
    SGD,
    SPLIT,
    X_A,
    X_C,
    X_S,
    auxiliary,
    basis,
    client,
    close,
    everyone,
    normals,
    server,
)

ROUNDS = everyone(2, 2, 5)
ORDER = [[(0, 1), (1, 1), (1, 3), (0, 3)], [(1, 1), (0, 1), (0, 3), (1, 3)]]
HEAD = cse_fsl.Head(auxiliary, X_A)
SETTINGS = cse_fsl.Settings(E=5, q=2, opt_c=SGD, opt_s=SGD)


def test_cse_fsl_client_side_is_fedavg_with_the_head() -> None:
    got = cse_fsl.reference(SPLIT, HEAD, ROUNDS, SETTINGS, ORDER)
    avg = fedavg.reference(ref.whole(client, auxiliary, 2), X_C + X_A, ROUNDS, fedavg.Settings(5, SGD))
    assert close(got.x_c + got.extra["x_a"], avg.x_c)
    assert cse_fsl.sent_iterations(10, 5) == [4, 9]
    assert cse_fsl.sent_iterations(10, 5, 0) == [0, 5]


def test_cse_fsl_server_steps_on_what_arrives() -> None:
    got = cse_fsl.reference(SPLIT, HEAD, ROUNDS, replace(SETTINGS, opt_c=ref.Opt(lr=0.0)), ORDER)
    in_order = [ROUNDS.batches[r][m][i] for r in range(2) for m, i in ORDER[r]]
    alone, losses = ref.local_steps(lambda x, b: server(x, client(X_C, b)), X_S, in_order, 8, SGD)
    assert close(got.x_s, alone)
    assert got.extra["server_losses"][0] + got.extra["server_losses"][1] == pytest.approx(losses)


def test_heron_over_a_whole_basis_is_cse_fsl() -> None:
    def heron(u: heron_sfl.Direction, **settings: float) -> ref.Result:
        given = heron_sfl.Settings(SETTINGS, **settings)  # type: ignore[arg-type]
        return heron_sfl.reference(SPLIT, HEAD, ROUNDS, given, ORDER, u)

    a = cse_fsl.reference(SPLIT, HEAD, ROUNDS, SETTINGS, ORDER)
    b = heron(lambda r, m, i, p: basis(X_C + X_A, p), P=27, mu=1e-7)
    assert close(a.x_c + a.extra["x_a"] + a.x_s, b.x_c + b.extra["x_a"] + b.x_s, 1e-4)
    c = heron(lambda r, m, i, p: normals(X_C + X_A, 90, r, m, i, p), mu=1e-3)
    assert not close(a.x_c, c.x_c, 1e-3)
