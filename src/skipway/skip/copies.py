"""Copies of modules, to be tried without anybody's hooks: with values, with the module's own, or without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

_LAZY = (UninitializedParameter, UninitializedBuffer)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_GRADIENT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")  # of a parameter


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without values; none are copied on the way."""
    return _copied(module, _without_values)


def full_copy(module: nn.Module) -> nn.Module:
    """A copy with values of its own: code that writes to its parameters, as some keep weights clipped, may run."""
    return _copied(module, _cloned)


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy with the module's own parameters, and copies of its buffers."""
    return _copied(module, _shared)


def is_lazy(module: nn.Module) -> bool:
    """Whether a parameter or buffer of a module has no shape before its first call."""
    return any(isinstance(tensor, _LAZY) for tensor in tensors_of(module))


def hooked_parameter(module: nn.Module) -> str | None:
    """The name of a parameter with hooks (`register_hook` and the like): no copy of it has them. None without one."""
    return next(
        (name for name, p in module.named_parameters() if any(getattr(p, kind) for kind in _GRADIENT_HOOKS)), None
    )


def tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and those that are neither: a mask, or the weight that a weight norm computes."""
    yield from module.parameters()
    yield from module.buffers()
    yield from (value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor))


def _copied(module: nn.Module, of: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy whose tensors are others. It keeps torch's own hooks, by which old weight norms and lazy layers work.

    A user's hooks, and what they belong to, as a logger, are not copied.
    """
    others: dict[int, Any] = {id(tensor): of(tensor) for tensor in tensors_of(module)}
    theirs = (hook for hooks in _hooks(module) for hook in hooks.values() if not _torchs(hook))
    copied = copy.deepcopy(module, others | {id(hook): _no_hook for hook in theirs})
    for hooks in _hooks(copied):
        for key in [key for key, hook in hooks.items() if hook is _no_hook]:
            del hooks[key]
    return copied


def _no_hook() -> None:
    """Stands for a hook that a copy is made without."""


def _hooks(module: nn.Module) -> Iterator[dict[int, Any]]:
    return (getattr(part, kind) for part in module.modules() for kind in _HOOKS)


def _torchs(hook: Callable[..., Any]) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("torch.nn.")


def _shared(tensor: Tensor) -> Tensor:
    """Parameters as they are: a forward pass in evaluation mode reads them. What else there is it may change."""
    if isinstance(tensor, _LAZY):
        return copy.deepcopy(tensor)
    return tensor if isinstance(tensor, nn.Parameter) else tensor.clone()


def _cloned(tensor: Tensor) -> Tensor:
    if isinstance(tensor, _LAZY):
        return copy.deepcopy(tensor)
    values = tensor.detach().clone()
    return nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


def _without_values(tensor: Tensor) -> Tensor:
    if isinstance(tensor, _LAZY):
        return type(tensor)(device="meta", dtype=tensor.dtype)  # type: ignore[call-arg]
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
