"""One client as a real process would train it, in plain PyTorch: prints the bytes it peaked at.

Usage: memory_client.py WORKLOAD_JSON first-order|zeroth-order. The model's parts are built as sflsim
builds them and trained without it. Counted is resident memory above what the process held before
the model was there, once every library that the work needs was loaded by a step of a tiny network.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from sflsim.learning.config import Workload


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def first_order(part: nn.Module, x: Tensor, momentum: float) -> None:
    optimizer = torch.optim.SGD(part.parameters(), lr=0.01, momentum=momentum)
    for _ in range(3):
        z = part(x)
        z.backward(torch.zeros_like(z))  # what the server sends back
        optimizer.step()
        optimizer.zero_grad()
        del z


def zeroth_order(part: nn.Module, x: Tensor) -> None:
    with torch.inference_mode():
        for step in range(2):
            part(x)
            for scale in (1e-3, -2e-3, 1e-3):
                generator = torch.Generator().manual_seed(step)
                for parameter in part.parameters():
                    numbers = parameter.view(-1)
                    for start in range(0, len(numbers), 1 << 20):
                        piece = numbers[start : start + (1 << 20)]
                        piece.add_(torch.randn(len(piece), generator=generator), alpha=scale)
                if scale != 1e-3 or step:
                    part(x)


def work(part: nn.Module, x: Tensor, order: str, momentum: float) -> None:
    if order == "first-order":
        first_order(part.train(), x, momentum)
    else:
        zeroth_order(part.eval(), x)


def main() -> None:
    torch.set_num_threads(1)
    workload, order = Workload.model_validate(json.loads(sys.argv[1])), sys.argv[2]
    tiny = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    for name in ("first-order", "zeroth-order"):
        work(tiny, torch.zeros(2, 1, 8, 8), name, 0.9)
    del tiny
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident_bytes()
    shape, classes = workload.dataset.sample_shape, workload.dataset.classes
    x = workload.batch_size, *shape
    blocks = workload.model.build(shape, classes)
    part = nn.Sequential(*(block for _, block in blocks[: int(workload.cut)]))
    del blocks
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    forget_peak()
    work(part, torch.zeros(x), order, 0.9)
    print(peak_bytes() - before)


if __name__ == "__main__":
    main()
