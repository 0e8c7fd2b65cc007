"""The compiler stays away where nothing asks for it, and is torch's own wherever something does."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import torch
from sflsim.learning.without_compiler import without_compiler

def rectified():
    return torch.relu(torch.empty(3, device="meta")).shape

with without_compiler():
    assert rectified() == (3,)
    optimizer = torch.optim.Adam([torch.ones(2)])
    optimizer.step()
assert "torch._dynamo" not in sys.modules

with without_compiler():
    assert rectified() == (3,)
    doubled = torch.compile(lambda x: 2 * x, backend="eager")  # a user's code may compile
    assert doubled(torch.ones(2)).tolist() == [2.0, 2.0]
compiler = sys.modules["torch._dynamo"]
assert compiler.__spec__.origin.endswith("__init__.py")

with without_compiler():
    assert sys.modules["torch._dynamo"] is compiler
    assert rectified() == (3,)
"""


@pytest.mark.slow
def test_torch_is_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
