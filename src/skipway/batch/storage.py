"""Tensors by name as a safetensors file takes them: it keeps none that shares its memory with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Apart(NamedTuple):
    """Tensors with memory of their own."""

    tensors: dict[str, Tensor]
    shared: dict[str, str]
    """Further names of those that had several, such as of tied weights, each with the name that is kept."""


def apart(tensors: Mapping[str, Tensor]) -> Apart:
    """Named tensors, contiguous: of one that has several names the first is kept, and views are copied."""
    kept: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    places: dict[tuple[object, ...], str] = {}
    taken: set[tuple[object, ...]] = set()
    for name, tensor in tensors.items():
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        place = (*storage, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in places:
            shared[name] = places[place]
            continue
        places[place] = name
        # A contiguous view is copied, too, where another of its memory was there before.
        kept[name] = tensor.clone().contiguous() if storage in taken else tensor.contiguous()
        taken.add(storage)
    return Apart(kept, shared)
