"""Transfer along a ring: a net of layers that see their neighbours needs as many of them as the signal has steps to go.

After RingTransfer of Bodnar et al. 2021 (Weisfeiler and Lehman Go Cellular: CW Networks, arXiv 2106.12575), where the
source always stands opposite the target. Here it stands at every distance up to n, so that a net can learn the near
ones first: with sources 8 steps away alone, training found nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Generator, Tensor

from skipway.data.source import Source
from skipway.settings.limits import SEED

SPLITS = ("train", "validation", "test")
STRENGTHS = 8
"""Samples of each place and class in a split; they differ in the strength of the signal. With a fourth of them, the
verdict on nets without an error could not tell them from nets that are wrong in a fourth: too few were measured."""
MOST_NUMBERS = 10**8  # of all inputs: 400 MB


@dataclass(frozen=True, kw_only=True)
class RingTransfer(Source, name="ring-transfer"):
    """The class of one source, somewhere on a ring, is asked for at node 0. It needs n layers of kernel 3, exactly.

    The ring has 2n + 1 nodes and a channel for each class. One node, 1 to n steps from node 0 on either side, holds a
    signal from 0.5 to 1 in the channel of its class; all else is 0. In every split each place has each class equally
    often, with the same signals. A net sees a ring, and its answer is read at node 0 (``examples/local.py``).

    After D layers of kernel 3, node 0 holds a function of the nodes within D steps. A source further away leaves all of
    these at 0, whatever its class, so of k classes exactly one in k is guessed there: no net of D layers has less
    error than (1 - D / n) (1 - 1 / k). One with a channel for each class, all of whose weights are 1 in it, has that
    error, and from D = n on none.
    """

    n: int = 8
    """Most steps from the source to node 0: the depth that is needed."""
    classes: int = 2
    seed: int = 0
    """Decides the strengths."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"ring-transfer: n is a number of steps, 1 or more; it is {self.n}.")
        if self.classes < 2:
            raise ValueError(f"ring-transfer: there must be 2 classes or more to tell; there are {self.classes}.")
        for problem in SEED.problems("ring-transfer: seed", self.seed):
            raise ValueError(problem)
        numbers = len(SPLITS) * STRENGTHS * 2 * self.n * (2 * self.n + 1) * self.classes**2
        if numbers > MOST_NUMBERS:
            raise ValueError(
                f"ring-transfer: n={self.n} with {self.classes} classes has {numbers:.1e} numbers, which grow with the "
                f"square of either, and at most {MOST_NUMBERS:.0e} are made. n=256 with 2 classes is valid."
            )

    def load(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Inputs, float32 (N, classes, 2n + 1), and classes, int64 (N,), of each split."""
        generator = Generator().manual_seed(self.seed)
        return {split: self._split(generator) for split in SPLITS}

    def least_error(self, depth: int) -> Fraction:
        """The least share of wrong answers that a net of so many layers of kernel 3 can have, in every split."""
        return max(Fraction(0), 1 - Fraction(depth, self.n)) * (1 - Fraction(1, self.classes))

    def _split(self, generator: Generator) -> tuple[Tensor, Tensor]:
        places = torch.arange(1, 2 * self.n + 1)
        strengths = 0.5 + torch.rand(STRENGTHS, len(places), generator=generator) / 2
        inputs = torch.zeros(STRENGTHS, len(places), self.classes, self.classes, 2 * self.n + 1)
        for label in range(self.classes):
            inputs[:, places - 1, label, label, places] = strengths
        return inputs.flatten(0, 2), torch.arange(self.classes).repeat(STRENGTHS * len(places))
