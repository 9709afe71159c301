"""ReLU, as `torch.nn.ReLU` computes it, whose compiled backward pass is fast at the edge of a block."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class ReLU(nn.ReLU):
    """max(x, 0).

    A block that is compiled by itself and ends in `torch.nn.ReLU` keeps a mask of booleans for its backward pass, which
    torch's code for CPUs reads and writes one by one: half the time of such a block (LOG.md, "Compiling blocks"). The
    gradient written with the output's sign makes the compiler keep the output instead, which it hands on anyway.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return cast(Tensor, _BySign.apply(x))  # type: ignore[no-untyped-call]
        return super().forward(x)


class _BySign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.relu()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient * cast(Tensor, y.sign())
