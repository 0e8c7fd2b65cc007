"""Oracles of the algorithms without rounds: FedAsync, FedBuff, GAS. Loops only; the order of arrivals, who
starts when, and every normal draw are arguments.

Source: shared/ALGORITHMS.md only ("AL <line>").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from reference_losses import (
    Batch,
    Opt,
    OptState,
    Params,
    Part,
    Result,
    axpy,
    client_backward,
    client_forward,
    clone,
    opt_step,
    server_gradients,
    weighted_mean,
)
from reference_sync import local_steps
from torch import Tensor


def staleness_weight(
    t: int, s: str = "polynomial", exponent: float = 0.5, hinge_a: float = 10.0, hinge_b: float = 4.0
) -> float:
    """s(t) of FedAsync (AL 19): polynomial ``(t+1)^-exponent``, or hinge.

    Reading: the page names the hinge without its formula; the FedAsync paper's is used: 1 up to t = b, then
    ``1 / (a (t - b) + 1)``, with a = 10, b = 4 as defaults.
    """
    if s == "polynomial":
        return 1.0 / math.pow(t + 1.0, exponent)
    assert s == "hinge"
    if t <= hinge_b:
        return 1.0
    return 1.0 / (hinge_a * (t - hinge_b) + 1.0)


def fedasync(
    *,
    model: Part,
    x: Params,
    batches: Sequence[Sequence[Batch]],
    arrivals: Sequence[tuple[int, int]],
    E: int,
    opt: Opt,
    alpha: float,
    s: str | Callable[[int], float] = "polynomial",
) -> Result:
    """FedAsync (AL 19): on each arrival ``x <- (1-a) x + a x_k``, ``a = alpha s(staleness)``.

    ``arrivals[j] = (client id, version it started from)``; ``batches[j][iteration]`` are the batches of
    arrival j's E local steps (indexed by arrival, not by client). Version 0 is the starting x and each
    arrival makes the next version, so ``x_c_rounds[j]`` is version j + 1.
    Reading: staleness is the current version when the arrival is applied (before it counts) minus the
    version it started from: nobody in between means 0.
    Reading: no proximal term and a fresh optimizer at every start. ``extra["a"][j]``: the mixing weight.
    """
    versions = [clone(x)]
    result = Result(versions[0], [], extra={"a": [], "staleness": []})
    for j in range(len(arrivals)):
        _, start = arrivals[j]
        now = len(versions) - 1
        assert 0 <= start <= now
        x_k, losses = local_steps(model=model, x=versions[start], batches=batches[j], E=E, opt=opt)
        staleness = now - start
        a = alpha * (s(staleness) if callable(s) else staleness_weight(staleness, s))
        old = versions[now]
        new = [(1.0 - a) * old[i] + a * x_k[i] for i in range(len(old))]
        versions.append(new)
        result.losses.append(losses)
        result.extra["a"].append(a)
        result.extra["staleness"].append(staleness)
        result.x_c_rounds.append(new)
    result.x_c = versions[-1]
    return result


def fedbuff(
    *,
    model: Part,
    x: Params,
    batches: Sequence[Sequence[Batch]],
    arrivals: Sequence[tuple[int, int]],
    E: int,
    opt: Opt,
    b: int,
    eta_g: float = 1.0,
) -> Result:
    """FedBuff (AL 20): ``x <- x + eta_g * (1/b) sum_i (1 + staleness_i)^-0.5 delta_i`` at every b-th arrival.

    ``arrivals`` and ``batches`` as in :func:`fedasync`. ``delta_i = x_i - x_start``.
    Reading: "the mean of a buffer of b deltas, each weighted" is ``sum_i w_i delta_i / b``: divided by the
    count b, NOT by the sum of the weights, so stale deltas shrink the step.
    Reading: a version is an applied buffer (not an arrival); staleness is the number of buffers applied
    between the client's start and its arrival, which is the same at arrival and when the buffer is applied.
    Reading: sample counts do not enter. Reading: the server's rate eta_g is not on the page, hence 1.
    Reading: a buffer not full at the end is not applied. Reading: a fresh optimizer at every start.
    ``x_c_rounds[v]`` is version v + 1.
    """
    versions = [clone(x)]
    buffer: list[tuple[float, Params]] = []
    result = Result(versions[0], [], extra={"staleness": []})
    for j in range(len(arrivals)):
        _, start = arrivals[j]
        now = len(versions) - 1
        assert 0 <= start <= now
        x_k, losses = local_steps(model=model, x=versions[start], batches=batches[j], E=E, opt=opt)
        staleness = now - start
        buffer.append(((1.0 + staleness) ** -0.5, axpy(x_k, -1.0, versions[start])))
        result.losses.append(losses)
        result.extra["staleness"].append(staleness)
        if len(buffer) == b:
            total = [torch.zeros_like(t) for t in versions[now]]
            for w, delta in buffer:
                total = axpy(total, w, delta)
            new = axpy(versions[now], eta_g / b, total)
            versions.append(new)
            result.x_c_rounds.append(new)
            buffer = []
    result.x_c = versions[-1]
    result.extra["waiting"] = len(buffer)
    return result


@dataclass
class LabelStatistics:
    """The running Gaussian of one label's activations: weight S, mean, covariance (or its diagonal)."""

    S: float
    mu: Tensor
    Sig: Tensor


def updated_statistics(
    old: LabelStatistics | None, rows: Sequence[Tensor], w: float, covariance: str
) -> LabelStatistics:
    """One update of a label's Gaussian from the buffer's activations of that label (AL 62).

    ``d = S/(S+w)``, ``mu' = d mu + (1-d) m``,
    ``Sig' = d (Sig + (mu'-mu)(mu'-mu)^T) + (1-d) (C + (mu'-m)(mu'-m)^T) + 1e-5 I``.
    Reading: m and C are the mean and the covariance divided by the count n (not n - 1; 0 for one row): with
    it the formula is the exact pooling of two groups. Reading: w = s(n) does not depend on how many rows
    there are. Reading: S' = S + w. Reading: before the first update S = 0, so d = 0 and mu' = m,
    Sig' = C + 1e-5 I. "diagonal" takes the diagonal of the same formula.
    """
    n = len(rows)
    size = rows[0].numel()
    m = torch.zeros_like(rows[0])
    for row in rows:
        m = m + row / n
    full = covariance == "full"
    assert full or covariance == "diagonal"

    def square(v: Tensor) -> Tensor:
        return torch.outer(v, v) if full else v * v

    C = torch.zeros((size, size) if full else (size,), dtype=m.dtype)
    for row in rows:
        C = C + square(row - m) / n
    jitter = 1e-5 * (torch.eye(size, dtype=m.dtype) if full else torch.ones(size, dtype=m.dtype))
    if old is None:
        S, mu, Sig = 0.0, torch.zeros_like(m), torch.zeros_like(C)
    else:
        S, mu, Sig = old.S, old.mu, old.Sig
    d = S / (S + w)
    mu_new = d * mu + (1.0 - d) * m
    Sig_new = d * (Sig + square(mu_new - mu)) + (1.0 - d) * (C + square(mu_new - m)) + jitter
    return LabelStatistics(S=S + w, mu=mu_new, Sig=Sig_new)


def generated(statistics: LabelStatistics, normal: Tensor, covariance: str) -> Tensor:
    """One sampled activation: ``mu + L e`` (Cholesky, Sig = L L^T) or ``mu + sqrt(Sig) e`` (diagonal)."""
    if covariance == "full":
        L: Tensor = torch.linalg.cholesky(statistics.Sig)
        return statistics.mu + torch.mv(L, normal)
    return statistics.mu + torch.sqrt(statistics.Sig) * normal


@dataclass
class _GasClient:
    """An active client: its part, its optimizer's memory, iterations since it took the model."""

    x_c: Params
    state: OptState = field(default_factory=OptState)
    iterations: int = 0


def gas(
    *,
    client: Part,
    server: Part,
    x_c: Params,
    x_s: Params,
    batches: Mapping[int, Sequence[Batch]],
    active: Sequence[int],
    arrivals: Sequence[int],
    replacements: Mapping[int, Sequence[tuple[int, int | None]]],
    label_frequency: Mapping[int, Sequence[float]],
    normal: Callable[[int, int, int], Tensor],
    E: int,
    Q_s: int,
    Q_c: int,
    B: int,
    n_labels: int,
    opt_c: Opt,
    opt_s: Opt,
    covariance: str = "full",
    s: Callable[[int], float] = float,
    model_weights: Mapping[int, float] | None = None,
    logit_adjust: bool = True,
    generate: bool = True,
) -> Result:
    """GAS (AL 61-64).

    ``active``: clients that start with x_c. ``arrivals``: client ids in the order in which their activations
    reach the server. ``batches[k]``: client k's batches over the whole run, used one after another.
    ``replacements[j]``: the client parts that are in between arrival j (0-based) and the next, in order, each
    with the client that takes its place (None: the run ends there). ``label_frequency[k][label]``.
    ``normal(n, label, i)``: the standard normal vector (size of one flattened activation) of the i-th
    activation generated for the label at server step n = 1, 2, ...

    At each arrival, in this order:
    1. AL 61: z = f_c of the client's own x_c; the cut gradient of the logit-adjusted cross entropy (logits +
       log label_frequency of that client) at the current x_s; the client's step; z into the buffer.
    2. AL 62: at Q_s arrivals: update the labels' Gaussians, top up, one server step with plain cross entropy,
       empty the buffer.
    3. AL 63: for each part that is in before the next arrival: it goes into the model buffer; at Q_c parts
       the global client part becomes their mean and the buffer is emptied; whatever the buffer holds, the
       replacement starts E iterations from the global client part as it is now.

    Reading: the arrival that fills the buffer gets its cut gradient before the server step.
    Reading: an arrival changes x_s only through step 2.
    Reading: the frequencies are proportions; their scale does not matter. A label the client does not have
    gets log 0 = -inf, that is probability 0, exactly.
    Reading: n in s(n) = n is the server step's number, from 1 (the times the buffer was full), the same for
    every label, and S of a label sums the w of the server steps at which the label was present.
    Reading: statistics first, then generation, so the samples come from the updated Gaussians; generated
    activations never enter the statistics.
    Reading: until every one of the ``n_labels`` labels has statistics, the server steps on the buffer alone.
    Reading: a label with c < B activations in the buffer gets B - c samples (c = 0 included), B the batch
    size. Reading: the server's batch is the buffer in arrival order, then samples by label; each activation
    counts the same in the mean. Reading: a label absent from the buffer keeps its statistics (S too).
    Reading: both model averages are uniform (AL 12) unless ``model_weights[client]``; the mean replaces the
    global client part; clients still at work go on with their own.
    Reading: the client's optimizer starts fresh whenever it takes the global part; the server's lives over
    the whole run. Reading: a client that has been replaced does nothing until it is a replacement itself.

    ``x_c``: the global client part. ``extra``: "statistics"[label], "clients"[id] (parts of those at work),
    "server_steps", "server_losses", "top_ups"[step][label], "waiting_activations", "waiting_models".
    ``losses[j]``: the adjusted loss of arrival j.
    """
    x_c, x_s = clone(x_c), clone(x_s)
    at_work: dict[int, _GasClient] = {k: _GasClient(clone(x_c)) for k in active}
    used: dict[int, int] = {}
    state_s = OptState()
    activations: list[tuple[Tensor, int]] = []  # one flattened activation and its label
    arrived = 0
    models: list[tuple[int, Params]] = []
    statistics: list[LabelStatistics | None] = [None] * n_labels
    server_steps = 0
    result = Result(x_c, x_s, extra={"server_losses": [], "top_ups": []})

    for j in range(len(arrivals)):
        k = arrivals[j]
        assert k in at_work, "only a client at work sends"
        me = at_work[k]
        assert me.iterations < E, "a client sends E activations, then its part"
        batch = batches[k][used.get(k, 0)]
        used[k] = used.get(k, 0) + 1

        # 1. the cut gradient and the client's step
        z = client_forward(client, me.x_c, batch)
        offset = None
        if logit_adjust:
            logs = [math.log(f) if f > 0.0 else -math.inf for f in label_frequency[k]]
            offset = torch.tensor(logs, dtype=z.dtype)
        loss, _, cut = server_gradients(server, x_s, z, batch[1], offset)
        result.losses.append(loss)
        g_c = client_backward(client, me.x_c, batch, cut)
        me.x_c, me.state = opt_step(opt_c, me.x_c, g_c, me.state)
        me.iterations = me.iterations + 1
        shape = z.shape[1:]
        for i in range(z.shape[0]):
            activations.append((z[i].flatten(), int(batch[1][i])))
        arrived = arrived + 1

        # 2. the activation buffer
        if arrived == Q_s:
            server_steps = server_steps + 1
            w = s(server_steps)
            for label in range(n_labels):
                rows = [a for a, y in activations if y == label]
                if len(rows) > 0:
                    statistics[label] = updated_statistics(statistics[label], rows, w, covariance)
            top_ups = [0] * n_labels
            whole_batch = list(activations)
            everyone = True
            for label in range(n_labels):
                everyone = everyone and statistics[label] is not None
            if generate and everyone:
                for label in range(n_labels):
                    count = 0
                    for _, y in activations:
                        count = count + (1 if y == label else 0)
                    known = statistics[label]
                    assert known is not None
                    for i in range(max(0, B - count)):
                        sample = generated(known, normal(server_steps, label, i), covariance)
                        whole_batch.append((sample, label))
                        top_ups[label] = top_ups[label] + 1
            zs = torch.stack([a.reshape(shape) for a, _ in whole_batch])
            ys = torch.tensor([y for _, y in whole_batch])
            server_loss, g_s, _ = server_gradients(server, x_s, zs, ys)
            x_s, state_s = opt_step(opt_s, x_s, g_s, state_s)
            activations = []
            arrived = 0
            result.extra["server_losses"].append(server_loss)
            result.extra["top_ups"].append(top_ups)
            result.x_s_rounds.append(x_s)

        # 3. the parts that are in now, and who follows
        for done, follows in replacements.get(j, ()):
            assert at_work[done].iterations == E, "a part comes after E iterations"
            models.append((done, at_work.pop(done).x_c))
            if len(models) == Q_c:
                weights = None if model_weights is None else [model_weights[i] for i, _ in models]
                x_c = weighted_mean([part for _, part in models], weights)
                models = []
                result.x_c_rounds.append(x_c)
            if follows is not None:
                assert follows not in at_work
                at_work[follows] = _GasClient(clone(x_c))

    result.x_c, result.x_s = x_c, x_s
    result.extra["statistics"] = statistics
    result.extra["clients"] = {k: at_work[k].x_c for k in at_work}
    result.extra["server_steps"] = server_steps
    result.extra["waiting_activations"] = arrived
    result.extra["waiting_models"] = [k for k, _ in models]
    return result
