"""A net that runs and stays as it was: what its forward pass changes is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def as_found(net: nn.Module) -> Iterator[None]:
    """A context after which modes, buffers (running statistics) and modules' other attributes are what they were.

    What a module keeps in a list or another object of its own, and changes there, stays changed; so does a tensor that
    is no buffer and is changed in place. (Of a net that `torch.vmap` ran, such a tensor cannot even be copied.)
    """
    kept = [(vars(module), dict(vars(module))) for module in net.modules()]
    kept += [(module._buffers, dict(module._buffers)) for module in net.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        yield
    finally:
        for now, before in kept:
            for key in now.keys() - before.keys():
                del now[key]
            now.update(before)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
