"""Whether nets compute as `Mapped` replicas what each computes alone, and whether that is faster: both are tried.

The trial is in double precision, on nets whose weights all differ, with three batches one after another, of which each
net has another than its neighbour at any time. Outputs, gradients and buffers must agree. What may differ is the order
of sums: with n terms in the longest sum and L layers one behind another, the relative error is about n L u, with u =
1.1e-16 the unit roundoff: below 1e-9 for n L up to 1e7. What is computed wrongly is off by about as much as the nets'
weights differ, a hundredth. The tolerance, 1e-6 of the largest number in a tensor, lies between. Gradients that are 0
but for rounding, such as those of a bias in front of a batch norm, have no scale of their own: theirs is 1e-12 of the
largest gradient of the net, n u for n up to 1e4.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from skipway.batch.trees import Tree, first, leaves, tensors, tree_map
from skipway.skip.copies import hooked_parameter
from skipway.skip.gate import Gate
from skipway.training.mapped import Mapped
from skipway.training.replicas import Replicas, Single

Losses = Callable[[Tree, Tree], Tensor]
"""Outputs and targets, (replicas, batch, ...), to a loss of each sample, (replicas, batch)."""
Batch = tuple[Tree, Tree]

_RELATIVE, _OF_LARGEST = 1e-6, 1e-12
_ROUNDS = 5


def why_not_mapped(net: nn.Module, batches: Sequence[Batch], losses: Losses) -> str | None:
    """The reason why replicas of a net must be trained one after another; None where they agree with nets alone.

    Args:
        net: with its initial weights; it stays as it is.
        batches: a few, of a few samples each: inputs and targets, (batch, ...).
        losses: of a task.
    """
    named = dict(net.named_parameters())
    if any(isinstance(module, Gate) and module.random for module in net.modules()):
        return "a gate of it draws random numbers"
    if len({p.dtype for p in named.values()}) != 1:
        return "its parameters are of several types"
    frozen = next((name for name, p in named.items() if not p.requires_grad), None)
    if frozen is not None:
        return f"{frozen} is not trained, and a stack's update moves all weights"
    hooked = hooked_parameter(net)
    if hooked is not None:
        return f"{hooked} has hooks, which replicas would not call"
    try:
        # What torch warns of is speed, which is measured.
        with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):
            return _why_they_differ(_two(net), [tree_map(_double, batch) for batch in batches], losses)
    except Exception as error:  # whatever torch.func, or somebody's net, makes of it
        if "randomness" in str(error):
            return "it draws random numbers, as dropout does, and among replicas it could not draw what it does alone"
        told = (str(error).strip() or "no reason").splitlines()[0][:200]
        return f"mapped over replicas it raises {type(error).__name__}: {told}"


def speed_up(nets: Sequence[nn.Module], batch: Batch, losses: Losses) -> float:
    """How many times as fast as one net after another the nets are together: forward and backward passes, on a clock.

    Args:
        nets: copies are measured.
        batch: as large as the training's.
        losses: of a task.
    """
    ways: list[Replicas] = [Single(copy.deepcopy(nets[0])), Mapped(copy.deepcopy(list(nets)))]
    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):
        # In turns, so that other work on the machine slows both; the first round counts for nothing.
        rounds = [[_seconds(way, batch, losses) for way in ways] for _ in range(1 + _ROUNDS)][1:]
    alone, together = (min(times) for times in zip(*rounds, strict=True))
    return float(alone * len(nets) / together)


def _double(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.is_floating_point() else leaf


def _two(net: nn.Module) -> list[nn.Module]:
    """Two nets in double precision, whose weights differ from each other's and from the net's, and have no zeros."""
    made = []
    for place in (1, 2):
        other = copy.deepcopy(net).double()
        generator = torch.Generator().manual_seed(place)
        with torch.no_grad():
            for p in other.parameters():
                noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
                p.add_(noise.to(p.device) * (p.std(correction=0) + 0.1) * 0.01)
        made.append(other)
    return made


def _why_they_differ(nets: Sequence[nn.Module], batches: Sequence[Batch], losses: Losses) -> str | None:
    together = Mapped(nets)
    alone = [Single(net) for net in nets]
    batches = _as_large(batches)
    for place in range(len(batches)):
        own_batches = [batches[(place + index) % len(batches)] for index in range(len(nets))]
        steps = [_step(single, _joined([own]), losses) for single, own in zip(alone, own_batches, strict=True)]
        found = _step(together, _joined(own_batches), losses)
        for index, single in enumerate(alone):
            if reason := _first_difference(steps[index], found, index):
                return reason
            wrong = _unequal(dict(single.net.named_buffers()), dict(together.net.named_buffers()), index)
            if wrong:
                return f"its buffer {wrong} changes otherwise than alone"
    for replicas in (together, *alone):
        replicas.eval()
    with torch.no_grad():
        outputs = [
            list(tensors(single(_joined([own])[0]))) for single, own in zip(alone, batches[: len(nets)], strict=True)
        ]
        found_outputs = list(tensors(together(_joined(batches[: len(nets)])[0])))
    for index, own in enumerate(outputs):
        if any(not _close(a[0], b[index]) for a, b in zip(own, found_outputs, strict=True)):
            return "its outputs in evaluation mode differ from those alone"
    return None


Step = tuple[list[Tensor], dict[str, Tensor | None]]


def _step(replicas: Replicas, batch: Batch, losses: Losses) -> Step:
    """Outputs, and gradients by name, each with a replica dimension, as the batch has one."""
    inputs, targets = batch
    replicas.zero_grad()
    outputs = replicas(inputs)
    torch.autograd.backward(losses(outputs, targets).mean(1).sum())
    single = isinstance(replicas, Single)
    gradients = {
        name: p.grad[None] if single and p.grad is not None else p.grad for name, p in replicas.net.named_parameters()
    }
    return [leaf.detach() for leaf in tensors(outputs)], gradients


def _first_difference(alone: Step, together: Step, index: int) -> str | None:
    if any(not _close(a[0], b[index]) for a, b in zip(alone[0], together[0], strict=True)):
        return "its outputs differ from those alone"
    largest = max((float(g.abs().max()) for g in alone[1].values() if g is not None), default=0.0)
    for name, own in alone[1].items():
        other = together[1][name]
        if own is None:
            return f"{name} gets no gradient, and a stack's update moves all weights"
        if other is None or not _close(own[0], other[index], largest * _OF_LARGEST):
            return f"the gradient of {name} differs from that alone"
    return None


def _unequal(alone: dict[str, Tensor], together: dict[str, Tensor], index: int) -> str | None:
    return next((name for name, own in alone.items() if not _close(own, together[name][index])), None)


def _close(expected: Tensor, found: Tensor, least: float = 0.0) -> bool:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return False
    if not expected.is_floating_point():
        return torch.equal(expected, found)
    allowed = max(least, _RELATIVE * float(expected.abs().max())) if expected.numel() else 0.0
    return bool(((expected - found).abs() <= allowed).all())  # what is not finite differs


def _as_large(batches: Sequence[Batch]) -> list[Batch]:
    """The batches, each as large as the smallest: replicas' batches are."""
    size = min(len(first(batch)) for batch in batches)
    return [tree_map(lambda leaf: leaf[:size], batch) for batch in batches]


def _joined(batches: Sequence[Batch]) -> Batch:
    """Batches as those of so many replicas, each of its own."""
    leads = [list(leaves(batch)) for batch in batches]
    together = iter([torch.stack(parts) for parts in zip(*leads, strict=True)])
    return cast(Batch, tree_map(lambda leaf: next(together), batches[0]))


def _seconds(replicas: Replicas, batch: Batch, losses: Losses) -> float:
    """Of one pass forward and back."""
    device = first(batch[0]).device
    began = time.perf_counter()
    _step(replicas, _joined([batch] * replicas.count), losses)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
