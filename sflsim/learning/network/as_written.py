"""Tries a user's network on a few samples, and refuses one that would not be trained as it is written.

Blocks are trained as functions of their parameters, several participants at once, and only torch's
dropout and batch norm have a mode. So a block must be a function: the same output for the same input,
sample by sample, in training as in use (but for those two), without random numbers, hooks or a
memory of its own. What a probe cannot show (a change after a thousand calls) is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from sflsim.learning.network.modes import knows_mode
from sflsim.learning.network.observation import (
    CLOSE,
    FUNCTION,
    SAMPLES,
    Step,
    are_close,
    described,
    generators_kept,
    gradients_by,
    observed,
    state_of,
    unfit,
)
from sflsim.learning.network.split import Part

Blocks = Sequence[tuple[str, nn.Module]]
ONE_TENSOR = "one tensor of numbers [samples, ...]"


def check_as_written(blocks: Blocks, x: Tensor) -> None:
    """Try the blocks on samples `x` [4, ...]; those that cannot be stacked are marked to run per participant.

    Raises:
        ScenarioError: a block is no such function; it says which, and where its class stands.
    """
    _check_shared(blocks)
    for name, block in blocks:
        _check_made(name, block)
    with torch.random.fork_rng(devices=[]), generators_kept():
        outputs = [x]
        for name, block in blocks:
            outputs.append(_tried(name, block, outputs[-1]))
        _check_read(blocks, outputs)


def _check_shared(blocks: Blocks) -> None:
    """Refuse tensors that two blocks have in common, or two parameters: each would be learned apart."""
    holders: dict[int, tuple[str, str, Tensor]] = {}
    for name, block in blocks:
        for path, tensor in (*block.named_parameters(), *block.named_buffers()):
            place = tensor.untyped_storage()._cdata
            other, own, known = holders.setdefault(place, (name, path, tensor))
            if other != name:
                found = f"{other}.{own} and {name}.{path}, which are one tensor in two blocks"
                remedy = "put the layers that share it into one block"
                raise unfit(found, "tensors of one block, which a cut does not part", remedy)
            if known is not tensor and tensor.numel() and known.numel():
                found = f"{name}.{own} and {name}.{path}, which share their memory"
                raise unfit(found, "one parameter, used in both places")


def _check_made(name: str, block: nn.Module) -> None:
    """Refuse what a function of the parameters leaves out: hooks, and parameters of other types."""
    for path, module in block.named_modules():
        hooks = (
            *(module._forward_hooks, module._forward_pre_hooks, module._backward_hooks),
            module._backward_pre_hooks,
        )
        if any(hooks):
            remedy = "for weight or spectral norm: torch.nn.utils.parametrizations"
            raise unfit(f"{described(name, path, module)} with a hook", "code in forward", remedy)
    for path, parameter in block.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise unfit(f"the parameter {name}.{path} with a hook", "code in forward")
        if parameter.requires_grad and parameter.dtype != torch.get_default_dtype():
            found = f"the parameter {name}.{path} of {parameter.dtype}"
            raise unfit(found, f"{torch.get_default_dtype()}, or requires_grad=False")


def _tried(name: str, block: nn.Module, x: Tensor) -> Tensor:
    """Return a block's output in use, after a comparison with others of its passes."""
    block.eval()
    before, given = state_of(block), x.clone()
    steps = observed(block, x)
    out = steps[-1].out
    if not isinstance(out, Tensor) or not out.is_floating_point() or out.shape[:1] != x.shape[:1]:
        found = f"{described(name, '', block)}, which returns {_shown(out)}"
        raise unfit(found, ONE_TENSOR)
    _check_draws(name, steps, "in use")
    if not torch.equal(x, given):
        raise unfit(f"{described(name, '', block)}, which changes its input in place", FUNCTION)
    observed(block, x.flip(0) * 1.5 if x.is_floating_point() else x.flip(0))
    _check_same(name, steps, observed(block, x), "gives another output when it is called again")
    _check_memory(name, block, before)
    _check_training(name, block, x, steps, before)
    few = observed(block, x[:2])[-1].out
    if few.shape != out[:2].shape or not torch.allclose(few, out[:2], **CLOSE):
        found = f"{described(name, '', block)}, whose output for a sample depends on the others of its batch"
        raise unfit(found, "each sample by itself in use")
    return out.detach()


def _check_training(
    name: str, block: nn.Module, x: Tensor, in_use: Sequence[Step], before: dict[str, Any]
) -> None:
    """Refuse a block that computes otherwise in training, but for torch's dropout and batch norm."""
    block.train()
    known = [(path, module) for path, module in block.named_modules() if knows_mode(module)]
    for path, module in known:
        if not module.training:
            found = f"{described(name, path, module)}, which is kept out of training by train()"
            raise unfit(found, "dropout and batch norm that train with the rest; freeze: for parameters")
        module.eval()
    steps = observed(block, x)
    remedy = "use the layers nn.Dropout and nn.BatchNorm, not functions of torch.nn.functional"
    _check_draws(name, steps, "in training", remedy)
    _check_same(name, in_use, steps, "computes otherwise in training than in use", remedy)
    _check_memory(name, block, before)
    for path, module in known:
        if module.training:
            raise unfit(f"{described(name, path, module)}, which changes its mode in forward", FUNCTION)
    block.eval()


def _check_read(blocks: Blocks, outputs: Sequence[Tensor]) -> None:
    """Compare layers with the blocks they stand for: outputs, gradients, single and stacked participants."""
    x = outputs[0]
    out = x
    own = {id(parameter) for _, block in blocks for parameter in block.parameters()}
    for name, block in blocks:
        out = block(out)
        for leaf in _leaves(out):
            if id(leaf) not in own:
                shape = tuple(leaf.shape)
                found = f"{described(name, '', block)}, which uses a parameter {shape} of none of the blocks"
                remedy = "build each layer inside the function, and keep it as self.name"
                raise unfit(found, FUNCTION, remedy)
    owned = {
        f"{name}.{path}": parameter
        for name, block in blocks
        for path, parameter in block.named_parameters()
        if parameter.requires_grad
    }
    wanted = gradients_by(out, owned)
    part = Part(blocks)
    leaves = part.leaves(part.initial()[None].clone())
    read = part.apply(leaves, x)
    names = [one for one, own in zip(part.names, part.is_parameter, strict=True) if own]
    gradients = gradients_by(read, dict(zip(names, part.parameters(leaves), strict=True)))
    wrong = [
        one
        for one in wanted
        if one not in gradients or not torch.allclose(gradients[one], wanted[one], **CLOSE)
    ]
    if not torch.allclose(read, out, **CLOSE) or wrong:
        which = wrong[0] if wrong else "parameters"
        text = f"blocks that use {which} otherwise than by the module's name for it"
        raise unfit(text, FUNCTION, "use self.name, not a copy kept in a list or elsewhere")
    part.mark_unstackable(x)


def _leaves(out: Tensor) -> Iterator[Tensor]:
    """Yield every tensor that a gradient of `out` would reach."""
    seen, nodes = set(), [out.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
            if hasattr(node, "variable"):
                yield node.variable


def _check_draws(name: str, steps: Sequence[Step], when: str, remedy: str = "") -> None:
    for step in steps:
        if step.drew:
            found = f"{described(name, step.path, step.module)}, which draws random numbers {when}"
            raise unfit(found, "nn.Dropout, whose draws are repeatable here", remedy)


def _check_same(
    name: str, steps: Sequence[Step], others: Sequence[Step], what: str, remedy: str = ""
) -> None:
    """Refuse the innermost module whose outputs differ in two passes, if those of the whole block do."""
    if are_close(steps[-1].out, others[-1].out):
        return
    differing = (one for one, other in zip(steps, others, strict=False) if not are_close(one.out, other.out))
    step = next(differing, steps[-1])
    raise unfit(f"{described(name, step.path, step.module)}, which {what}", FUNCTION, remedy)


def _check_memory(name: str, block: nn.Module, before: dict[str, Any]) -> None:
    after = state_of(block)
    for path in dict.fromkeys([*before, *after]):
        one, other = before.get(path), after.get(path)
        both = isinstance(one, Tensor) and isinstance(other, Tensor)
        same = torch.equal(cast(Tensor, one), cast(Tensor, other)) if both else one == other
        if not (path in before and path in after and same):
            place, _, key = path.rpartition(".")
            found = f"{described(name, place, block.get_submodule(place))}, which changes its {key!r}"
            remedy = "keep no count or average between calls"
            raise unfit(f"{found} when it is called", FUNCTION, remedy)


def _shown(out: Any) -> str:
    if isinstance(out, Tensor):
        return f"{out.dtype} of shape {tuple(out.shape)} for {SAMPLES} samples"
    return f"a {type(out).__name__}"
