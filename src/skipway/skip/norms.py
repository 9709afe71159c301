"""Normalisation beside a body that normalises: a layer of the same kind for another number of features."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import cast

from torch import Tensor, nn

_BATCH: dict[int, type[nn.Module]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {0: nn.InstanceNorm1d, 1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class OfChannels(nn.Module):
    """A norm of the last dimension, as layer norm is, of the channels of (batch, channels, *space)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.norm(x.movedim(1, -1)).movedim(-1, 1))


def norm_like(norm: nn.Module, space: int) -> Callable[[int], nn.Module]:
    """What makes a norm of the same kind, for so many features.

    Args:
        norm: one of the body's, of a class of `NORMS`.
        space: the number of dimensions behind the features.
    """
    if isinstance(norm, nn.SyncBatchNorm):
        return nn.SyncBatchNorm
    if isinstance(norm, nn.modules.instancenorm._InstanceNorm):
        return partial(_INSTANCE[space], affine=norm.affine)
    if isinstance(norm, nn.modules.batchnorm._NormBase):
        return _BATCH[space]
    if isinstance(norm, nn.GroupNorm):
        return partial(_group_norm, norm.num_groups)
    kind = nn.RMSNorm if isinstance(norm, nn.RMSNorm) else nn.LayerNorm
    return partial(_of_channels, kind) if space else kind


def _group_norm(groups: int, features: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(groups, features), features)


def _of_channels(kind: Callable[[int], nn.Module], features: int) -> nn.Module:
    return OfChannels(kind(features))
