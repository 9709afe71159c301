"""Trees of tensors: what goes into a module, and what comes out of it.

A tree is a tensor, or tuples, lists and dictionaries that hold trees; what else lies in it stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from tensors(part)
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from tensors(part)


def first_float(tree: Any) -> Tensor | None:
    """The first tensor of a tree that holds floating-point numbers: of an LSTM's (output, state), the output."""
    return next((tensor for tensor in tensors(tree) if tensor.is_floating_point()), None)


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The same tree with other tensors; mappings of any kind become dictionaries."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tensors(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def call(module: nn.Module, inputs: Any) -> Any:
    """Call a module: a tuple holds its arguments, a mapping its arguments by name, anything else is the only one."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple) else module(inputs)
