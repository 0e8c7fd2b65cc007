"""Work by kind of operation against counts made by hand: FLOP of each kind, bytes moved, operations.

The hand's rules: an operation moves what it reads and what it writes, 4 bytes a number; views move nothing.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from networks.vision import V3_SMALL, inverted_residual
from torch import Tensor, nn

from sflsim.learning.models.resnet import ResNet18
from sflsim.learning.network.split import Part, cut_blocks
from sflsim.learning.profiling.flop import FlopCounter
from sflsim.learning.profiling.measure import Whole, derive_costs, work_flop
from sflsim.learning.profiling.operations import WorkCounter
from sflsim.work import Kinds, WorkByKind


def counted(run: Callable[[], Tensor], by: list[Tensor]) -> tuple[Kinds, Kinds]:
    """Return the work of a forward pass, and of the gradients by some tensors."""
    with WorkCounter() as forward:
        out = run()
    above = torch.ones_like(out)
    with WorkCounter() as backward:
        torch.autograd.grad(out, by, above)
    return forward.work.kinds, backward.work.kinds


def on_meta(module: nn.Module, *shape: int) -> tuple[Kinds, Kinds]:
    module = module.to("meta")
    x = torch.empty(shape, device="meta", requires_grad=True)
    return counted(lambda: module(x), [x, *module.parameters()])


def test_a_linear_layer() -> None:
    """One product forward; backward one by the input, one by the weight."""
    b, n, m = 8, 30, 20
    forward, backward = on_meta(nn.Linear(n, m, bias=False), b, n)

    assert forward == Kinds(matmul=2 * b * n * m, memory=4 * (b * n + n * m + b * m), operations=1)
    products = 4 * (b * m + n * m + b * n) + 4 * (b * m + b * n + n * m)
    assert backward == Kinds(matmul=2 * 2 * b * n * m, memory=products, operations=2)


@pytest.mark.parametrize(("groups", "kind"), [(1, "convolution"), (2, "convolution"), (6, "depthwise")])
def test_a_convolution_by_its_groups(groups: int, kind: str) -> None:
    """Depthwise is what has one input channel in each group; FLOP follow the groups."""
    b, channels, side = 4, 6, 10
    forward, backward = on_meta(
        nn.Conv2d(channels, channels, 3, groups=groups, bias=False), b, channels, 12, 12
    )

    flop = 2 * 9 * b * channels * (channels // groups) * side**2
    weight, x, out = 9 * channels * channels // groups, b * channels * 12**2, b * channels * side**2
    assert forward == Kinds(**{kind: float(flop)}, memory=4 * (x + weight + out), operations=1)
    both = 4 * (out + x + weight) + 4 * (x + weight)  # reads all three, writes two gradients
    assert backward == Kinds(**{kind: float(2 * flop)}, memory=both, operations=1)


def test_a_grey_image_has_no_depthwise_convolution() -> None:
    """With one channel, one group is all there is."""
    forward, _ = on_meta(nn.Conv2d(1, 1, 3, bias=False), 2, 1, 8, 8)
    assert forward.depthwise == 0
    assert forward.convolution == 2 * 9 * 2 * 6**2


def test_operations_in_place_and_views() -> None:
    """In place: read and written. A reshape moves nothing; a sum of a spread number reads it once."""
    x = torch.ones(5, 4)
    with WorkCounter() as counter:
        x.relu_()
    assert counter.work.kinds == Kinds(memory=2 * 4 * 20, operations=1)

    with WorkCounter() as counter:
        x.view(20).reshape(2, 10).transpose(0, 1).unsqueeze(0)
        torch.empty(7)
    assert counter.work.kinds == Kinds()

    spread = torch.ones(1, 4).expand(5, 4)
    with WorkCounter() as counter:
        _ = x + spread
    assert counter.work.kinds == Kinds(memory=4 * (20 + 4 + 20), operations=1)


def test_the_sum_is_the_flop() -> None:
    """The FLOP of all kinds are those of the FLOP counter, on both parts of a cut network."""
    with torch.device("meta"):
        blocks = ResNet18().build((3, 32, 32), 10)
    parts, sample, whole = cut_blocks(blocks, 2), torch.empty(3, 32, 32), Whole(0, 0, 0)
    plain, by_kind = (derive_costs(*parts, sample, 4, whole, kind) for kind in (False, True))
    assert asdict(by_kind) == asdict(plain)
    assert type(plain.client_forward_flop) is float
    assert isinstance(by_kind.server_backward_flop, WorkByKind)


def test_work_is_affine_in_the_batch_and_adds_up_over_blocks() -> None:
    """What a batch of 7 asks follows from batches of 2 and 4; blocks apart ask what they ask together."""
    layers = [inverted_residual(*V3_BLOCK), inverted_residual(*V3_BLOCK)]
    blocks = [(f"block {number}", layer.to("meta")) for number, layer in enumerate(layers)]

    def work(batch: int, first: int = 0, end: int = 2) -> WorkByKind:
        x = torch.empty(batch, 16, 14, 14)
        forward, backward = work_flop(Part(blocks[first:end]), x, inner=True)
        total = forward + backward
        assert isinstance(total, WorkByKind)
        return total

    two, four, seven = (work(batch).kinds for batch in (2, 4, 7))
    assert seven == tuple(a + (b - a) / 2 * 5 for a, b in zip(two, four, strict=True))
    apart = work(4, 0, 1) + work(4, 1, 2)
    assert apart.kinds == four._replace(passes=4.0)


def test_sums_and_multiples_keep_kinds() -> None:
    """`2 P w`, sums from 0, copies for other processes; FLOP alone say nothing about kinds."""
    work = WorkByKind(Kinds(1.0, 2.0, 3.0, 40.0, 5.0))
    assert work == 6.0
    assert (2 * work * 1.5).kinds == Kinds(3.0, 6.0, 9.0, 120.0, 15.0)
    assert sum([work, work]).kinds == (2 * work).kinds  # type: ignore[union-attr]
    assert (work + 0.0).kinds == (0 * work + work).kinds == work.kinds
    for copied in (pickle.loads(pickle.dumps(work)), copy.deepcopy(work)):
        assert copied.kinds == work.kinds
        assert copied == 6.0
    assert repr(work) != repr(WorkByKind(Kinds(2.0, 1.0, 3.0, 40.0, 5.0)))
    assert work / 2.0 == 3.0


def test_flop_of_the_counter_are_untouched() -> None:
    """The counter by kind is the FLOP counter."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    x = torch.ones(3, 5, 16)
    with FlopCounter() as plain:
        layer(x).sum().backward()
    with WorkCounter() as by_kind:
        layer(x).sum().backward()
    assert by_kind.work == plain.work
    assert by_kind.work.kinds.matmul == plain.work


V3_BLOCK = (16, 16, 3, 1, 6.0, V3_SMALL[0][4], nn.ReLU)
