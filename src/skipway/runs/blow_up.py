"""In which step of somebody else's loop the loss was not finite any more."""

from __future__ import annotations

import math

from torch import Tensor

_MOST = 1_024  # losses that are kept: each holds half a kilobyte of a GPU's memory


class BlowUp:
    """Keeps an interval's losses where they are, and reads them at its end, if their mean is not finite.

    Of a long interval they are read each thousand steps as well.

    Args:
        counts_itself: whether it is told the losses before their step is counted; else the first one tells.

    Attributes:
        step: the first one without a finite loss, as long as no whole interval has had finite ones since.
    """

    def __init__(self, *, counts_itself: bool) -> None:
        self.step: int | None = None
        self._comes_first: bool | None = True if counts_itself else None
        self._losses: list[tuple[int, Tensor | float]] = []

    def take(self, steps: int, loss: Tensor | float) -> None:
        """A loss, told after so many steps of the optimizer; before its own step or after it."""
        if self._comes_first is None:
            self._comes_first = steps == 0
        self._losses.append((steps + self._comes_first, loss.detach() if isinstance(loss, Tensor) else loss))
        if len(self._losses) >= _MOST:
            self._read()

    def end_interval(self, mean: float | None) -> None:
        """The mean of the losses that were taken; None where there were none."""
        if mean is not None and math.isfinite(mean):
            self.step = None
        else:
            self._read()
        self._losses.clear()

    def _read(self) -> None:
        if self.step is None:
            self.step = next((step for step, loss in self._losses if not math.isfinite(float(loss))), None)
        self._losses.clear()
