"""Replicas: copies of one net, with seeds and learning rates of their own, trained at once as one batched computation.

Every linear layer becomes one batched product over a leading replica dimension, every other parameter a stack that
broadcasts. The arithmetic of a replica is that of the single net but for the order of sums inside a product: their
results agree to float32's rounding, which training amplifies step by step (LOG.md has measured figures).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from skipway.batch.trees import Tree, call, tree_map
from skipway.nets.stack import SkipNet
from skipway.skip.block import Skip
from skipway.skip.copies import hooked_parameter
from skipway.skip.gate import Gate
from skipway.skip.shortcuts import Shortcut

# More replicas in one stack save overhead until what the blocks hold for the backward pass no longer fits the
# processor's caches: measured on two cores, LOG.md, "How many replicas a stack".
_CPU_BLOCK_OUTPUTS = 6 * 2**20  # bytes
_CPU_LEAST = 4

# What acts on each feature alone, or on the last dimension as a linear layer does; and what only joins such parts.
# Of torch's: a subclass counts if its forward is theirs.
_OF_TORCH = (
    *(nn.Linear, nn.Identity, nn.Flatten, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU),
    nn.Sequential,
)
_FORWARDS = {kind.forward for kind in _OF_TORCH}
_STACKABLE = (SkipNet, Skip, Gate, Shortcut)


class Replicas(nn.Module):
    """What the training loop trains: one or more copies of a net, with a leading replica dimension outside."""

    count: int
    net: nn.Module  # what runs: a net, or one module that stands for all of them

    @property
    def template(self) -> nn.Module:
        """An ordinary net of the replicas' kind, for what its modules and names tell; its weights mean nothing."""
        raise AssertionError("a subclass gives the rule")

    def forward(self, x: Tree) -> Tree:
        """Inputs, (replicas, batch, ...), to outputs, (replicas, batch, ...)."""
        raise AssertionError("a subclass gives the rule")

    def member(self, index: int) -> nn.Module:
        """One replica as an ordinary module, with a copy of its present weights."""
        raise AssertionError("a subclass gives the rule")

    def fill(self, index: int, net: nn.Module) -> None:
        """Copy one replica's present weights into a net of its architecture, such as the one it was made of."""
        raise AssertionError("a subclass gives the rule")


class Single(Replicas):
    """One net of any kind, seen as a stack of one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.count = net, 1

    @property
    def template(self) -> nn.Module:
        return self.net

    def forward(self, x: Tree) -> Tree:
        return tree_map(lambda leaf: leaf[None], call(self.net, tree_map(lambda leaf: leaf[0], x)))

    def member(self, index: int) -> nn.Module:
        if index != 0:
            raise IndexError(f"a single net has only member 0; {index} was asked for.")
        return copy.deepcopy(self.net)

    def fill(self, index: int, net: nn.Module) -> None:
        if net is not self.net:
            net.load_state_dict(self.net.state_dict())


class Joined(Replicas):
    """Nets of one architecture whose parameters lead with a replica dimension.

    Args:
        nets: with their weights; the first is the template.
        net: one module that stands for all of them.

    Attributes:
        rows: all weights, (replicas, weights of one net); the parameters are views of it.

    Raises:
        ValueError: if the nets' parameters differ in name or shape.
    """

    def __init__(self, nets: Sequence[nn.Module], net: Callable[[Sequence[nn.Module]], nn.Module]) -> None:
        super().__init__()
        shapes = [{name: p.shape for name, p in net.named_parameters()} for net in nets]
        if any(other != shapes[0] for other in shapes):
            raise ValueError("nets can be stacked only if all their parameters have the same names and shapes.")
        self.count = len(nets)
        self._template = [nets[0]]  # in a list: not a submodule
        self.net = net(nets)
        self.rows = self._join()

    def _join(self) -> Tensor:
        """Lay all weights into one matrix, (replicas, weights of one net), of which the parameters are views."""
        rows = torch.cat([p.detach().flatten(1) for p in self.parameters()], dim=1)
        start = 0
        for p in self.parameters():
            size = p[0].numel()
            p.data = rows[:, start : start + size].view(p.shape)
            start += size
        return rows

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.rows = self._join()
        return self

    @property
    def template(self) -> nn.Module:
        return self._template[0]

    def member(self, index: int) -> nn.Module:
        # The template stays where it was built, and as precise; the weights may have moved on.
        net = copy.deepcopy(self._template[0]).to(self.rows)
        self.fill(index, net)
        return net


class Stack(Joined):
    """Nets of one architecture as one batched computation, layer by layer.

    Raises:
        ValueError: as `Joined`; and if something in the nets cannot be stacked (`why_not_stackable` says what).
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        reason = why_not_stackable(nets[0])
        if reason:
            raise ValueError(f"these nets cannot be stacked: {reason}.")
        super().__init__(nets, _stacked)

    def forward(self, x: Tree) -> Tree:
        return call(self.net, x)

    @torch.no_grad()
    def fill(self, index: int, net: nn.Module) -> None:
        modules = dict(self.net.named_modules())
        for name, module in net.named_modules():
            stacked = modules[name]
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    row = cast(Tensor, stacked._parameters[key])[index]
                    turned = isinstance(module, nn.Linear) and key == "weight"
                    parameter.copy_(row.T if turned else row.reshape(parameter.shape))


def stack(nets: Sequence[nn.Module]) -> Replicas:
    """Join nets of one architecture: a `Stack`, or a `Single` for one net alone.

    Raises:
        ValueError: if there are several and they cannot be stacked.
    """
    return Single(nets[0]) if len(nets) == 1 else Stack(nets)


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def why_not_stackable(net: nn.Module) -> str | None:
    """The reason why replicas of a net must run one at a time; None where they can be stacked."""
    for name, module in net.named_modules():
        where = f"{name or 'the net'} ({type(module).__name__})"
        if isinstance(module, nn.modules.dropout._DropoutNd) or (isinstance(module, Gate) and module.random):
            return f"{where} draws random numbers"
        if any(getattr(module, hooks) for hooks in _HOOKS):
            return f"{where} has hooks, which a stack would not call"
        if module._buffers:
            return f"{where} keeps buffers ({', '.join(module._buffers)}), which replicas would share"
        if not isinstance(module, _STACKABLE) and type(module).forward not in _FORWARDS:
            return f"{where} may mix its dimensions in a way that a leading replica dimension would change"
        if isinstance(module, nn.Linear) and (set(module._parameters) != {"weight", "bias"} or module._modules):
            return f"{where} holds more than its weight and bias"
    return _why_its_parameters_are_not(net)


def _why_its_parameters_are_not(net: nn.Module) -> str | None:
    """The same, of a net's parameters alone."""
    first_names: dict[int, str] = {}
    for name, p in net.named_parameters(remove_duplicate=False):
        if id(p) in first_names:
            return f"{first_names[id(p)]} and {name} are one parameter, of which a stack would make two"
        if not p.requires_grad:
            return f"{name} is not trained, and a stack's update moves all weights"
        first_names[id(p)] = name
    hooked = hooked_parameter(net)
    return None if hooked is None else f"{hooked} has hooks, which a stack would not call"


def stack_size(block_output_bytes: int, device: torch.device) -> int:
    """How many replicas to train at once.

    Args:
        block_output_bytes: what all blocks of one replica put out for one batch, in bytes.
        device: where they train. On a GPU a larger stack is a better one, up to its memory.
    """
    if device.type != "cpu":
        return 256
    return max(_CPU_LEAST, _CPU_BLOCK_OUTPUTS // max(1, block_output_bytes))


class StackedLinear(nn.Module):
    """R linear layers as one batched product: (R, batch, in) to (R, batch, out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        # (R, in, out): the transpose of a linear layer's weight, so that gradients come in the weights' own order.
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]).contiguous())
        biases = [layer.bias.detach()[None] for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


def _stacked(modules: Sequence[nn.Module]) -> nn.Module:
    """One module that stands for all of them, with children replaced and parameters stacked."""
    first = modules[0]
    if isinstance(first, nn.Linear):
        return StackedLinear(cast(Sequence[nn.Linear], modules))
    if isinstance(first, nn.Flatten):
        # Counted from the front, a dimension lies one further back; counted from the end, where it was.
        return nn.Flatten(*(dim + (dim >= 0) for dim in (first.start_dim, first.end_dim)))
    result = copy.copy(first)
    # A shallow copy would share the first net's hooks.
    vars(result).update({key: OrderedDict() for key in vars(first) if key.endswith(("_hooks", "_with_kwargs"))})
    result._modules = {name: child and _stacked(list(rows)) for name, child, rows in _children(modules)}
    result._parameters = {name: _stacked_parameter(list(rows)) for name, rows in _own_parameters(modules)}
    return result


def _children(modules: Sequence[nn.Module]) -> Iterator[tuple[str, nn.Module | None, Any]]:
    for name, child in modules[0]._modules.items():
        yield name, child, (module._modules[name] for module in modules)


def _own_parameters(modules: Sequence[nn.Module]) -> Iterator[tuple[str, Any]]:
    for name in modules[0]._parameters:
        yield name, (module._parameters[name] for module in modules)


def _stacked_parameter(parameters: Sequence[nn.Parameter | None]) -> nn.Parameter | None:
    """Parameters that broadcast against (batch, features), as one that broadcasts against (R, batch, features)."""
    rows = [p.detach() for p in parameters if p is not None]
    if not rows:
        return None
    together = torch.stack(rows)
    return nn.Parameter(together.reshape(len(rows), *(1,) * (2 - rows[0].dim()), *rows[0].shape))
