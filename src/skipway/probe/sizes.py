"""Norms and spreads of tensors of any size: exact where numbers vanish, and in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

# In double precision the square of 1e-30 is a number, in single precision it is 0. But an output may be as large as the
# memory that is left, so only a part of it is made double at a time.
_MOST_AT_ONCE = 2**24


def norm(tensor: Tensor) -> Tensor:
    """The square root of the sum of all squares: no dimensions, on the tensor's device."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return _norm(_parts(torch.view_as_real(tensor) if tensor.is_complex() else tensor))


def spread(tensor: Tensor) -> Tensor:
    """The standard deviation of all values, as `torch.std` has it, likewise; NaN of a single one."""
    mean = torch.stack([part.sum() for part in _parts(tensor)]).sum() / tensor.numel()
    squares = _norm(part - mean for part in _parts(tensor)).square()
    return (squares / (tensor.numel() - 1)).sqrt()


def _norm(parts: Iterable[Tensor]) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in parts]))
    return found


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor along its first dimension, in double precision where the device has it."""
    tensor = tensor.detach()
    if tensor.ndim == 0:
        tensor = tensor[None]
    precision = torch.float32 if tensor.device.type == "mps" else torch.float64
    rows = max(1, _MOST_AT_ONCE * max(1, len(tensor)) // max(1, tensor.numel()))
    return (part.to(precision) for part in torch.split(tensor, rows))
