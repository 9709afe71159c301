"""Replicas of anybody's nets: their own forward, mapped over stacked weights by `torch.func`.

`skipway.training.mapped_trial` tells for which nets that computes what each would compute alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skipway.batch.trees import Tree
from skipway.training.replicas import Joined


class Mapped(Joined):
    """Nets of one architecture, of any kind, as one computation.

    Buffers, such as a batch norm's running statistics, lead with a replica dimension as weights do, and each replica
    changes its own. A net that draws random numbers raises in its forward pass: it could not draw what it would alone.

    Args:
        nets: with their weights and buffers.

    Raises:
        ValueError: as `Joined`.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__(nets, _holder)

    def forward(self, x: Tree) -> Tree:
        return torch.vmap(self._one, randomness="error")(_state(self.net), x)

    def _one(self, state: dict[str, Tensor], x: Tree) -> Any:
        named = isinstance(x, Mapping)
        arguments = () if named else x if isinstance(x, tuple) else (x,)
        # What stands in two places is named twice; of a module that does, torch's own way puts back the wrong tensors.
        return functional_call(self.net, state, arguments, dict(x) if named else None, tie_weights=False)

    @torch.no_grad()
    def fill(self, index: int, net: nn.Module) -> None:
        stacked = _state(self.net)
        for name, tensor in _state(net).items():
            tensor.copy_(stacked[name][index])


def _state(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; a tensor that several modules hold comes with each of them."""
    return {
        f"{prefix}.{key}" if prefix else key: tensor
        for prefix, module in net.named_modules()
        for key, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    }


def _holder(nets: Sequence[nn.Module]) -> nn.Module:
    """A copy of the first net that holds all nets' parameters and buffers, stacked; what was one tensor stays one."""
    holder = copy.deepcopy(nets[0])
    states, own = [_state(net) for net in nets], _state(holder)
    stacked: dict[int, Any] = {}
    for name, tensor in own.items():
        rows = torch.stack([state[name].detach() for state in states])
        is_weight = isinstance(tensor, nn.Parameter)
        stacked[id(tensor)] = nn.Parameter(rows, requires_grad=tensor.requires_grad) if is_weight else rows
    for module in list(holder.modules()):
        for place in (module._parameters, module._buffers):
            place.update({key: stacked[id(tensor)] for key, tensor in place.items() if tensor is not None})
    return holder
