"""A net that runs and stays as it was: what its forward pass changes is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def as_found(net: nn.Module) -> Iterator[None]:
    """A context after which modes, buffers (running statistics) and modules' other attributes are what they were.

    What a module keeps in a list or another object of its own, and changes there, stays changed; so do parameters.
    """
    kept = [(vars(module), dict(vars(module))) for module in net.modules()]
    kept += [(module._buffers, dict(module._buffers)) for module in net.modules()]
    values = [(tensor, tensor.clone()) for tensor in _kept_tensors(net)]
    try:
        yield
    finally:
        for now, before in kept:
            for key in now.keys() - before.keys():
                del now[key]
            now.update(before)
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)


def _kept_tensors(net: nn.Module) -> Iterator[Tensor]:
    """What modules keep from call to call: buffers, and tensors that are mere attributes."""
    yield from net.buffers()
    attributes = (value for module in net.modules() for value in vars(module).values())
    yield from (value for value in attributes if isinstance(value, Tensor) and not value.requires_grad)
