"""Parts of a block that work in place on what they are given, which other parts, or the caller, still read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def works_in_place(module: nn.Module | None) -> bool | None:
    """Whether a module overwrites its input; None where its code, which is not torch's, would have to be read."""
    if module is None:
        return False
    first = module
    while type(first) is nn.Sequential and len(first):
        first = first[0]
    if getattr(first, "inplace", False):
        return True
    return None if any(getattr(part, "inplace", False) or not _is_known(part) for part in module.modules()) else False


def own(tensor: Any, in_place: bool | None) -> Any:
    """What a part is given: a copy where the part overwrites it, or may, and nobody would notice."""
    return tensor.clone() if in_place or (in_place is None and writes(tensor) is None) else tensor


def writes(tensor: Any) -> int | None:
    """How often a tensor was written to; None where torch does not count: in inference mode, compiled, and traced."""
    if not isinstance(tensor, Tensor) or torch.compiler.is_compiling():
        return None
    return None if tensor.is_inference() else tensor._version


def refuse_writes(tensor: Any, before: int | None) -> None:
    """Refuse a tensor that was written to since.

    Raises:
        RuntimeError: with the way out.
    """
    if before is not None and tensor._version != before:
        raise RuntimeError(
            "a part of this block (pre, body, shortcut, gate or post) works in place on its input, which the rest of the "
            "block, or its caller, still reads: y would be wrong. Let that part begin with a copy, as z.clone() or "
            "torch.relu(z) in place of z.relu_(), or build its module with inplace=False."
        )


def _is_known(part: nn.Module) -> bool:
    return type(part).__module__.startswith(("torch.nn.", "skipway."))
