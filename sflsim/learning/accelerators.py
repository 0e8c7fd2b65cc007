"""The devices that torch computes on: which ones a user can name, and which of them are here."""

from __future__ import annotations

import re

from sflsim.errors import SflsimError

ALLOWED = "cpu, cuda, cuda:N (the N-th GPU, from 0), mps, auto (a GPU if there is one, else the CPU)"


def device_named(name: str, is_used: bool = True) -> str:
    """Return torch's name of a device; of "auto", that of the first GPU, else "cpu".

    "cpu", and one that is not used, load no torch.

    Raises:
        SflsimError: there is no such device, or it is not here.
    """
    if name == "cpu":
        return name
    number = re.fullmatch(r"cuda(?::([0-9]{1,4}))?", name)
    if number is None and name not in ("mps", "auto"):
        raise SflsimError(f"--device: found {name!r}; allowed: {ALLOWED}")
    if not is_used:
        return "cpu"
    import torch

    gpus, has_mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if gpus else "mps" if has_mps else "cpu"
    if name == "mps" and not has_mps:
        raise SflsimError("--device mps: torch finds no Apple GPU here; use --device cpu")
    if number is not None and not gpus:
        raise SflsimError(f"--device {name}: torch finds no CUDA device here; use --device cpu")
    if number is not None and int(number[1] or 0) >= gpus:
        raise SflsimError(f"--device {name}: torch finds {gpus} here; allowed: cuda:0 to cuda:{gpus - 1}")
    return name
