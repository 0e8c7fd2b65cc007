"""FLOP of whole networks and single operations against counts made by hand, layer by layer.

The formulas here are the textbook's: multiply-accumulates (MAC) of each product, twice; a backward pass
computes two gradients, each as dear as the forward pass, and the network's first layer only one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sflsim.learning.costs import Costs
from sflsim.learning.models.resnet import ResNet18
from sflsim.learning.network.split import cut_blocks
from sflsim.learning.profiling.calibration import measure
from sflsim.learning.profiling.flop import FlopCounter
from sflsim.learning.profiling.measure import Whole, derive_costs
from sflsim.learning.profiling.places import of_workload

B = 2
Blocks = list[tuple[str, nn.Module]]


def counted(work: Callable[[], Any], by: Sequence[Tensor]) -> tuple[int, int]:
    """Return the FLOP of a forward pass, and of all gradients by these tensors."""
    with FlopCounter() as forward:
        out = work()
    with FlopCounter() as backward:
        if by:
            torch.autograd.grad(out.sum(), by)
    return forward.get_total_flops(), backward.get_total_flops()


def layer(module: nn.Module, *shape: int, device: str = "meta") -> tuple[int, int]:
    """Return the FLOP of a layer whose input is no network's first."""
    module = module.to(device)
    x = torch.ones(shape, device=device, requires_grad=True)

    def out() -> Tensor:
        found = module(x)
        return found[0] if isinstance(found, tuple) else found

    return counted(out, [x, *module.parameters()])


def costs_of(blocks: Blocks, pixels: int, cut: int) -> Costs:
    whole = Whole(0, 0, 0)  # memory of the uncut network, which is no matter here
    return derive_costs(*cut_blocks(blocks, cut), torch.empty(3, pixels, pixels), B, whole)


def assert_counted(blocks: Blocks, pixels: int, macs: Sequence[int], *cuts: int) -> None:
    """The blocks cost these MAC; the first is one layer."""
    first = macs[0]
    for cut in cuts:
        costs = costs_of(blocks, pixels, cut)
        assert costs.client_forward_flop == 2 * B * sum(macs[:cut])
        assert costs.client_backward_flop == 2 * B * (2 * sum(macs[:cut]) - first)
        assert costs.server_forward_flop == 2 * B * sum(macs[cut:])
        assert costs.server_backward_flop == 2 * costs.server_forward_flop


# Whole networks.


@pytest.mark.parametrize(("pixels", "total"), [(224, 1_814_073_344), (32, None)])
def test_resnet_18(pixels: int, total: int | None) -> None:
    """Stem, four stages of two blocks, classifier; 1.81 GMAC for an image of ImageNet, as published."""
    with torch.device("meta"):
        blocks = ResNet18().build((3, pixels, pixels), 1000)
    stem, side = (49 * 3 * 64 * 112**2, 56) if pixels == 224 else (9 * 3 * 64 * 32**2, 32)
    macs, before = [stem], 64
    for stage, width in enumerate((64, 128, 256, 512)):
        side //= 2 if stage else 1
        shortcut = before * width * side**2 if stage else 0
        macs += [9 * before * width * side**2 + 9 * width**2 * side**2 + shortcut, 2 * 9 * width**2 * side**2]
        before = width
    macs.append(512 * 1000)

    assert total is None or sum(macs) == total
    assert_counted(blocks, pixels, macs, *((4,) if total else (1, 2, 9)))


STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2 (arXiv 1801.04381, table 2): expansion, channels, repetitions, stride of the first."""


class Bottleneck(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added where shapes agree."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.adds = stride == 1 and before == after
        self.layers = nn.Sequential(
            *(
                [nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
                if expansion > 1
                else []
            ),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        f: Tensor = self.layers(x)
        return x + f if self.adds else f


def mobilenet(pixels: int) -> tuple[Blocks, list[int]]:
    """Return MobileNetV2's blocks and the MAC of each for one image."""
    blocks: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))]
    side, before = pixels // 2, 32
    macs = [27 * 32 * side**2]
    for expansion, after, repetitions, first_stride in STAGES:
        for number in range(repetitions):
            stride = 1 if number else first_stride
            wide = before * expansion
            expanding = before * wide * side**2 if expansion > 1 else 0
            side //= stride
            blocks.append(Bottleneck(before, after, stride, expansion))
            macs.append(expanding + 9 * wide * side**2 + wide * after * side**2)
            before = after
    blocks.append(nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()))
    blocks.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000)))
    macs += [320 * 1280 * side**2, 1280 * 1000]
    return [(f"block-{number}", block) for number, block in enumerate(blocks)], macs


def test_mobilenet_v2() -> None:
    """0.3 GMAC for an image of ImageNet, as published; backward twice that, less the first input's."""
    with torch.device("meta"):
        blocks, macs = mobilenet(224)

    assert sum(macs) == 300_774_272
    assert_counted(blocks, 224, macs, 9)


class Encoder(nn.Module):
    """One layer of a vision transformer: attention of `heads` heads, then two linear layers."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            one.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for one in self.qkv(self.norm_1(x)).chunk(3, dim=2)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        result: Tensor = x + self.mlp(self.norm_2(x))
        return result


class Patches(nn.Module):
    """The image as a sequence of patches [B, L, width]."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Mean(nn.Module):
    """The classifier, on the mean over the sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean(dim=1))  # type: ignore[no-any-return]


def small_vit() -> tuple[Blocks, list[int]]:
    """Return a ViT of two layers for 32 x 32 images, and the MAC of each block for one image."""
    width, heads, hidden, length = 48, 3, 96, 16
    blocks = [Patches(width, 8), *(Encoder(width, heads, hidden) for _ in range(2)), Mean(width)]
    attention = 2 * length**2 * width  # query with key, probabilities with values, over all heads
    encoder = length * (4 * width**2 + 2 * width * hidden) + attention
    macs = [length * 3 * 64 * width, encoder, encoder, width * 10]
    return [(f"block-{number}", block) for number, block in enumerate(blocks)], macs


def test_a_small_vision_transformer() -> None:
    """Linear layers for each position, attention for each pair of them."""
    blocks, macs = small_vit()

    assert_counted(blocks, 32, macs, 1, 2, 3)


def test_a_transformer_costs_what_it_costs_whichever_kernel_computes_it() -> None:
    """The CPU's fused attention and the products that it stands for: the same FLOP, forward and backward."""
    blocks, macs = small_vit()
    network = nn.Sequential(*(block for _, block in blocks))
    found = {}
    for kernel in (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH):
        with sdpa_kernel(kernel):
            found[kernel] = counted(lambda: network(torch.ones(B, 3, 32, 32)), list(network.parameters()))

    assert set(found.values()) == {(2 * B * sum(macs), 2 * B * (2 * sum(macs) - macs[0]))}


def small_depthwise() -> tuple[Blocks, list[int]]:
    """Return a convolution of 32 x 32 images, a depthwise one and a classifier, and the MAC of each."""
    blocks = [
        nn.Conv2d(3, 8, 3, 4, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Sequential(nn.Flatten(), nn.Linear(512, 10)),
    ]
    return [(f"block-{number}", block) for number, block in enumerate(blocks)], [64 * 216, 64 * 72, 5120]


@pytest.mark.parametrize("network", [small_depthwise, small_vit])
def test_calibrate_divides_by_the_flop_that_the_clock_charges(
    network: Callable[[], tuple[Blocks, list[int]]],
) -> None:
    """On the CPU, where kernels are others than those that costs are derived from."""
    dataset = SimpleNamespace(sample_shape=(3, 32, 32), classes=10)
    model = SimpleNamespace(build=lambda shape, classes: network()[0])
    workload: Any = SimpleNamespace(model=model, dataset=dataset, batch_size=B, cut=2)
    measured = measure(of_workload(workload, B, [2], blocks=False), repeat=1, rest_s=0)
    found = {(one.part, one.work): one.flop for one in measured}
    macs = network()[1]
    client, server = 2 * B * sum(macs[:2]), 2 * B * sum(macs[2:])

    assert found["client 2", "forward"] == client
    assert found["client 2", "backward"] == 2 * client - 2 * B * macs[0]
    assert found["client 2", "zeroth-order step"] == 2 * client
    assert found["server 2", "backward"] == 2 * server


# Single operations, none of them the first of its network: backward is twice forward.


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"groups": 2},
        {"groups": 4, "padding": 1},
        {"stride": 2, "padding": 2, "groups": 4},
        {"dilation": 2, "groups": 2, "stride": 2, "bias": False},
    ],
    ids=str,
)
def test_convolutions(dims: int, settings: dict[str, Any], device: str) -> None:
    """MAC: numbers of the output x kernel x input channels of a group; transposed the other way around."""
    kinds = {
        1: (nn.Conv1d, nn.ConvTranspose1d),
        2: (nn.Conv2d, nn.ConvTranspose2d),
        3: (nn.Conv3d, nn.ConvTranspose3d),
    }
    plain, transposed = (kind(4, 8, 3, **settings) for kind in kinds[dims])
    shape, groups = (B, 4, *(9, 8, 7)[:dims]), settings.get("groups", 1)
    out = plain(torch.ones(shape)).shape

    forward = 2 * prod(out) * 3**dims * 4 // groups
    assert layer(plain, *shape, device=device) == (forward, 2 * forward)
    forward = 2 * prod(shape) * 3**dims * 8 // groups
    assert layer(transposed, *shape, device=device) == (forward, 2 * forward)


def test_only_the_gradients_that_are_taken_count() -> None:
    """A depthwise convolution: by its weights alone, or by its input alone."""
    conv = nn.Conv2d(6, 6, 3, groups=6, device="meta")
    x = torch.empty(B, 6, 5, 5, device="meta", requires_grad=True)
    forward = 2 * B * 6 * 9 * 9

    assert counted(lambda: conv(x), [conv.weight]) == counted(lambda: conv(x), [x]) == (forward, forward)


HEADS, LENGTH, WIDTH = 4, 6, 8
ATTENTION = 2 * B * HEADS * 2 * LENGTH * LENGTH * WIDTH


def heads(count: int = HEADS, device: str = "meta") -> Tensor:
    return torch.ones(B, count, LENGTH, WIDTH, device=device, requires_grad=True)


KERNELS = {
    "flash": lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0],
    "efficient": lambda q, k, v: torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[
        0
    ],
    "flash of the cpu": lambda q, k, v: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[
        0
    ],
    "chosen by torch": F.scaled_dot_product_attention,
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_attention_kernels(kernel: str) -> None:
    """Two products forward, four backward; a mask spares none, what a kernel computes again adds none."""
    q, k, v = heads(), heads(), heads()

    assert counted(lambda: KERNELS[kernel](q, k, v), [q, k, v]) == (ATTENTION, 2 * ATTENTION)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_attention_of_grouped_queries(device: str) -> None:
    """Two query heads for each head of keys and values: each makes its own products."""
    q, k, v = heads(device=device), heads(2, device), heads(2, device)

    forward = counted(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), [])[0]
    assert forward == ATTENTION


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, device="meta", requires_grad=True)


PRODUCTS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], int, int]] = {
    # name: operation, shapes, MAC forward, MAC backward
    "bmm": (torch.bmm, [(3, 4, 5), (3, 5, 6)], 360, 720),
    "baddbmm": (torch.baddbmm, [(3, 4, 6), (3, 4, 5), (3, 5, 6)], 360, 720),
    "addbmm": (torch.addbmm, [(4, 6), (3, 4, 5), (3, 5, 6)], 360, 720),
    "addmm in place": (lambda c, a, b: (c * 1).addmm_(a, b), [(4, 6), (4, 5), (5, 6)], 120, 240),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(3, 4, 5), (3, 6, 5)], 360, 720),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 2), [(4, 5, 6), (5, 6, 7)], 840, 1680),
    "matrix by vector": (torch.mv, [(4, 5), (5,)], 20, 20),  # by the matrix: an outer product
    "matmul of a vector": (torch.matmul, [(3, 4, 5), (5,)], 60, 60),
    "addmv": (torch.addmv, [(4,), (4, 5), (5,)], 20, 20),
    "dot": (torch.dot, [(5,), (5,)], 5, 0),
    "bilinear": (F.bilinear, [(7, 3), (7, 4), (5, 3, 4)], 7 * 5 * 3 * 4, 3 * 7 * 5 * 3 * 4),
    "outer": (torch.outer, [(4,), (5,)], 0, 0),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    """What torch's counter counts as nothing is counted, once."""
    operation, shapes, forward, backward = PRODUCTS[name]
    tensors = [ones(*shape) for shape in shapes]

    assert counted(lambda: operation(*tensors), tensors) == (2 * forward, 2 * backward)


def test_layers_made_of_products() -> None:
    """Embeddings look up and pooling adds: nothing; multi-head attention, and recurrent layers per step."""
    places = torch.zeros(4, 5, dtype=torch.int64, device="meta")
    table = nn.Embedding(10, 4, device="meta")
    assert counted(lambda: table(places), [table.weight]) == (0, 0)
    assert layer(nn.AvgPool2d(2), B, 3, 8, 8) == (0, 0)

    class SelfAttention(nn.MultiheadAttention):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x, x, x, need_weights=False)[0]

    forward = 2 * B * LENGTH * 4 * 16**2 + 2 * B * 2 * LENGTH**2 * 16
    assert layer(SelfAttention(16, HEADS, batch_first=True), B, LENGTH, 16) == (forward, 2 * forward)
    with torch.no_grad():  # where torch may take a fused layer
        fast = SelfAttention(16, HEADS, batch_first=True, device="meta").eval()
        assert counted(lambda: fast(torch.empty(B, LENGTH, 16, device="meta")), [])[0] == forward

    for kind, gates in ((nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)):
        step = 2 * B * gates * 12 * (8 + 12)
        nothing = 2 * B * gates * 12 * 12  # the state before the first step needs no gradient
        assert layer(kind(8, 12, batch_first=True), B, LENGTH, 8) == (
            LENGTH * step,
            2 * LENGTH * step - nothing,
        )
