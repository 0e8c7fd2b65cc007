"""The state of torch that a process shares, as sflsim computes in it: set for a while, then as it was.

In somebody else's program gradients may be off, numbers double, the default device another. Threads take
turns: how many torch has, its generator and the default type are one for all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_one_at_a_time = threading.RLock()


@contextmanager
def own_torch(threads: int | None = None) -> Iterator[None]:
    """Compute on the CPU in float32 with gradients, on so many threads (None: as many as there are).

    Nothing that was set before, and no draw of the block's from torch's generator, is seen outside of it.
    """
    with _one_at_a_time, ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        if threads is not None:
            torch.set_num_threads(threads)
        yield
