"""Parts of a block that work in place on what they are given, which other parts, or the caller, still read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._C import _functorch
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

Overwriting = Literal["does", "may", "may in training"]  # what is known of a part: that it overwrites its input, or may

_RETURNS_NEW = (
    *(nn.Linear, _ConvNd, _NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(_AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd),
    *(nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid),
)
_tried: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def note_trial(module: nn.Module, overwrites: bool) -> None:
    """Keep what a trial run in evaluation mode showed of a module."""
    _tried[module] = overwrites


def overwriting(module: nn.Module | None) -> Overwriting | None:
    """Whether a module overwrites its input, by a trial run or by its parts; None if it does not."""
    if module is None:
        return None
    told = _by_parts(module)
    if told != "may" or module not in _tried:
        return told
    return "does" if _tried[module] else "may in training"


def own(tensor: Any, known: Overwriting, *, training: bool) -> Any:
    """What a part is given: a copy where it overwrites its input, or where it may and nobody would notice."""
    if known == "does":
        return tensor.clone()
    harmless = known == "may in training" and not training
    return tensor if harmless or writes(tensor) is not None else tensor.clone()


def writes(tensor: Any) -> int | None:
    """How often a tensor was written to; None where torch does not count: in inference mode, compiled, and traced."""
    if not isinstance(tensor, Tensor) or torch.compiler.is_compiling():
        return None
    while _functorch.is_functorch_wrapped_tensor(tensor):  # vmap's and grad's: what is wrapped is counted
        tensor = _functorch.get_unwrapped(tensor)
    return None if tensor.is_inference() else tensor._version


def refuse_writes(tensor: Any, before: int | None) -> None:
    """Refuse a tensor that was written to since.

    Raises:
        RuntimeError: with the way out.
    """
    if before is not None and writes(tensor) != before:
        raise RuntimeError(
            "a part of this block (pre, body, shortcut, gate or post) works in place on its input, which the rest of "
            "the block, or its caller, still reads: y would be wrong. Let that part begin with a copy, as z.clone() or "
            "torch.relu(z) in place of z.relu_(), or build its module with inplace=False."
        )


def _by_parts(module: nn.Module) -> Overwriting | None:
    for step in _steps(module):
        if getattr(step, "inplace", False):
            return "does"
        if isinstance(step, _RETURNS_NEW) and _is_ours(type(step)):
            return None  # what comes after it never sees the input
        if any(getattr(part, "inplace", False) or not _is_ours(type(part)) for part in step.modules()):
            return "may"
    return None


def _steps(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of a plain sequence, one after another, however nested; any other module itself."""
    if type(module) is nn.Sequential:
        for part in module:
            yield from _steps(part)
    else:
        yield module


def _is_ours(kind: type) -> bool:
    """Whether a class is torch's or Skipway's own, of which it is known what works in place."""
    return kind.__module__.startswith(("torch.nn.", "skipway."))
