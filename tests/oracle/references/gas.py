"""GAS (AL 61-64): split learning without rounds, with a buffer of activations and one of client parts.

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
Reading: until every label has statistics, the server steps on the buffer alone.
Reading: a label with c < B activations in the buffer gets B - c samples (c = 0 included), B the batch
size. Reading: the server's batch is the buffer in arrival order, then samples by label; each activation
counts the same in the mean. Reading: a label absent from the buffer keeps its statistics (S too).
Reading: both model averages are uniform (AL 12) unless ``model_weights[client]``; the mean replaces the
global client part; clients still at work go on with their own.
Reading: the client's optimizer starts fresh whenever it takes the global part; the server's lives over
the whole run. Reading: a client that has been replaced does nothing until it is a replacement itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from oracle.references.common import (
    Batch,
    Opt,
    OptState,
    Params,
    Result,
    Split,
    client_backward,
    client_forward,
    clone,
    opt_step,
    server_gradients,
    weighted_mean,
)
from torch import Tensor

Normal = Callable[[int, int, int], Tensor]  # (server step from 1, label, i) -> a flat vector
ClientGradient = Callable[[int, Params, Params, Batch, Tensor | None], tuple[float, Params]]
ServerGradient = Callable[[int, Params, Tensor, Tensor], tuple[float, Params]]


@dataclass(frozen=True)
class Course:
    """The order of things in a run.

    ``active``: clients that start with x_c. ``arrivals``: client ids in the order in which their activations
    reach the server. ``batches[k]``: client k's batches over the whole run, used one after another.
    ``replacements[j]``: the client parts that are in between arrival j (0-based) and the next, in order, each
    with the client that takes its place (None: the run ends there). ``label_frequency[k][label]``.
    """

    batches: Mapping[int, Sequence[Batch]]
    active: Sequence[int]
    arrivals: Sequence[int]
    replacements: Mapping[int, Sequence[tuple[int, int | None]]]
    label_frequency: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Settings:
    """Iterations per client, sizes of both buffers, batch size, optimizers, and what may be switched off."""

    E: int
    Q_s: int
    Q_c: int
    B: int
    n_labels: int
    opt_c: Opt
    opt_s: Opt
    covariance: str = "full"
    s: Callable[[int], float] = float
    model_weights: Mapping[int, float] | None = None
    logit_adjust: bool = True
    generate: bool = True


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
class _Client:
    """A client at work: its part, its optimizer's memory, iterations since it took the model."""

    x_c: Params
    state: OptState = field(default_factory=OptState)
    iterations: int = 0


def reference(split: Split, course: Course, settings: Settings, normal: Normal) -> Result:
    """Return what is learned by first-order steps on both sides; see `buffered`."""

    def client_gradient(
        j: int, x_c: Params, x_s: Params, batch: Batch, offset: Tensor | None
    ) -> tuple[float, Params]:
        z = client_forward(split.client, x_c, batch)
        loss, _, cut = server_gradients(split.server, x_s, z, batch[1], offset)
        return loss, client_backward(split.client, x_c, batch, cut)

    def server_gradient(n: int, x_s: Params, zs: Tensor, ys: Tensor) -> tuple[float, Params]:
        loss, g_s, _ = server_gradients(split.server, x_s, zs, ys)
        return loss, g_s

    return buffered(split, course, settings, normal, client_gradient, server_gradient)


def buffered(
    split: Split,
    course: Course,
    settings: Settings,
    normal: Normal,
    client_gradient: ClientGradient,
    server_gradient: ServerGradient,
) -> Result:
    """Return what is learned with these gradients, at arrival j and at server step n.

    ``normal(n, label, i)``: the standard normal vector (size of one flattened activation) of the i-th
    activation generated for the label at server step n = 1, 2, ...

    ``x_c``: the global client part. ``extra``: "statistics"[label], "clients"[id] (parts of those at work),
    "server_steps", "server_losses", "top_ups"[step][label], "waiting_activations", "waiting_models".
    ``losses[j]``: the adjusted loss of arrival j.
    """
    x_c, x_s = clone(split.x_c), clone(split.x_s)
    at_work: dict[int, _Client] = {k: _Client(clone(x_c)) for k in course.active}
    used: dict[int, int] = {}
    state_s = OptState()
    activations: list[tuple[Tensor, int]] = []  # one flattened activation and its label
    arrived = 0
    models: list[tuple[int, Params]] = []
    statistics: list[LabelStatistics | None] = [None] * settings.n_labels
    server_steps = 0
    result = Result(x_c, x_s, extra={"server_losses": [], "top_ups": []})

    for j in range(len(course.arrivals)):
        k = course.arrivals[j]
        assert k in at_work, "only a client at work sends"
        me = at_work[k]
        assert me.iterations < settings.E, "a client sends E activations, then its part"
        batch = course.batches[k][used.get(k, 0)]
        used[k] = used.get(k, 0) + 1

        # 1. the cut gradient and the client's step
        z = client_forward(split.client, me.x_c, batch)
        offset = None
        if settings.logit_adjust:
            logs = [math.log(f) if f > 0.0 else -math.inf for f in course.label_frequency[k]]
            offset = torch.tensor(logs, dtype=z.dtype)
        loss, g_c = client_gradient(j, me.x_c, x_s, batch, offset)
        result.losses.append(loss)
        me.x_c, me.state = opt_step(settings.opt_c, me.x_c, g_c, me.state)
        me.iterations = me.iterations + 1
        shape = z.shape[1:]
        for i in range(z.shape[0]):
            activations.append((z[i].flatten(), int(batch[1][i])))
        arrived = arrived + 1

        # 2. the activation buffer
        if arrived == settings.Q_s:
            server_steps = server_steps + 1
            update(statistics, activations, settings.s(server_steps), settings.covariance)
            samples = top_up(statistics, activations, server_steps, settings, normal)
            batch_s = activations + samples
            zs = torch.stack([a.reshape(shape) for a, _ in batch_s])
            ys = torch.tensor([y for _, y in batch_s])
            server_loss, g_s = server_gradient(server_steps, x_s, zs, ys)
            x_s, state_s = opt_step(settings.opt_s, x_s, g_s, state_s)
            activations = []
            arrived = 0
            result.extra["server_losses"].append(server_loss)
            counts = [len([y for _, y in samples if y == label]) for label in range(settings.n_labels)]
            result.extra["top_ups"].append(counts)
            result.x_s_rounds.append(x_s)

        # 3. the parts that are in now, and who follows
        for done, follows in course.replacements.get(j, ()):
            assert at_work[done].iterations == settings.E, "a part comes after E iterations"
            models.append((done, at_work.pop(done).x_c))
            if len(models) == settings.Q_c:
                given = settings.model_weights
                weights = None if given is None else [given[i] for i, _ in models]
                x_c = weighted_mean([part for _, part in models], weights)
                models = []
                result.x_c_rounds.append(x_c)
            if follows is not None:
                assert follows not in at_work
                at_work[follows] = _Client(clone(x_c))

    result.x_c, result.x_s = x_c, x_s
    result.extra["statistics"] = statistics
    result.extra["clients"] = {k: at_work[k].x_c for k in at_work}
    result.extra["server_steps"] = server_steps
    result.extra["waiting_activations"] = arrived
    result.extra["waiting_models"] = [k for k, _ in models]
    return result


def update(
    statistics: list[LabelStatistics | None],
    activations: Sequence[tuple[Tensor, int]],
    w: float,
    covariance: str,
) -> None:
    """Update each label's Gaussian from the buffer's activations of that label, if there are any."""
    for label in range(len(statistics)):
        rows = [a for a, y in activations if y == label]
        if len(rows) > 0:
            statistics[label] = updated_statistics(statistics[label], rows, w, covariance)


def top_up(
    statistics: Sequence[LabelStatistics | None],
    activations: Sequence[tuple[Tensor, int]],
    n: int,
    settings: Settings,
    normal: Normal,
) -> list[tuple[Tensor, int]]:
    """Return the generated activations, by label: up to B of each, once every label has statistics."""
    if not settings.generate or None in statistics:
        return []
    samples: list[tuple[Tensor, int]] = []
    for label in range(settings.n_labels):
        known = statistics[label]
        assert known is not None
        count = len([y for _, y in activations if y == label])
        for i in range(settings.B - count):
            samples.append((generated(known, normal(n, label, i), settings.covariance), label))
    return samples
