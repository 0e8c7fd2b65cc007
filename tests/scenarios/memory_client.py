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
from sflsim.learning.task import built


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def first_order(part: nn.Module, x: Tensor, momentum: float) -> None:
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=momentum)
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


def load_transformers() -> None:
    """Train a tiny transformer, so that its libraries are there."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 8}
    words = {"vocab_size": 9, "word_embed_proj_dim": 8, "max_position_embeddings": 8}
    config = {"model_type": "opt", **sizes, **words}
    model = {"kind": "transformer", "config": config, "adapters": {"rank": 1}}
    workload = Workload.model_validate({"dataset": {"kind": "sst-2", "max_length": 4}, "model": model})
    part = nn.Sequential(*(block for _, block in built(workload.model, (2, 4), 2, 1)[:1]))
    for name in ("first-order", "zeroth-order"):
        work(part, torch.ones(2, 2, 4, dtype=torch.int64), name, 0.9)


def main() -> None:
    torch.set_num_threads(1)
    workload, order = Workload.model_validate(json.loads(sys.argv[1])), sys.argv[2]
    tiny = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    for name in ("first-order", "zeroth-order"):
        work(tiny, torch.zeros(2, 1, 8, 8), name, 0.9)
    del tiny
    if workload.model.kind == "transformer":
        load_transformers()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident_bytes()
    shape, classes = workload.dataset.sample_shape, workload.dataset.classes
    blocks = built(workload.model, shape, classes, int(workload.cut))
    part = nn.Sequential(*(block for _, block in blocks[: int(workload.cut)]))
    del blocks
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    forget_peak()
    dtype = getattr(torch, getattr(workload.dataset, "sample_dtype", "float32"))
    work(part, torch.ones(workload.batch_size, *shape, dtype=dtype), order, 0.9)
    print(peak_bytes() - before)


if __name__ == "__main__":
    main()
