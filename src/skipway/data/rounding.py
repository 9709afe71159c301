"""When numbers may be rounded to float32 before they are standardised: where nothing of them is lost that counts."""

from __future__ import annotations

import torch
from torch import Tensor

_LOST = 2.0**-20
"""Of a feature's deviation: so far rounding may move a number. float32's own rounding of a standardised number that is
a few deviations off is a quarter of that."""


def rounded(values: Tensor) -> Tensor:
    """Float numbers, (N, ...), as they are kept: float32, or float64 where float32 would not tell them apart.

    A time in milliseconds, 1.7e12, has steps of 131,072 in float32: of hours within a day little is left, and of
    minutes nothing. Such numbers stay wide until they are standardised. NaN stands for what is missing.
    """
    narrow = values.float()
    if values.dtype != torch.float64 or not len(values):
        return narrow
    error = (values - narrow.double()).abs().nan_to_num(0.0)
    if not bool(error.any()):
        return narrow
    known = values.isfinite()
    count = known.sum(0).clamp(min=1)
    centred = values - torch.where(known, values, 0.0).sum(0) / count
    deviation = (torch.where(known, centred**2, 0.0).sum(0) / count).sqrt()
    varied = torch.where(known, values, -torch.inf).amax(0) > torch.where(known, values, torch.inf).amin(0)
    return values if bool((varied & (error.amax(0) > _LOST * deviation)).any()) else narrow
