"""What random gate rules decide with: numbers that all processes of a training draw alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# None is torch's global generator, from which a forward pass that is computed again draws the same again. One for the
# process, not for a context or a thread: a GPU's backward pass, which may compute blocks again, has threads of its own.
_generator: torch.Generator | None = None


def uniform() -> float:
    """A number from [0, 1)."""
    return float(torch.rand((), generator=_generator))


@contextmanager
def drawn_alike(seed: int) -> Iterator[None]:
    """A context in which random rules draw from a generator of their own, whatever else is drawn.

    Processes that give the same seed let the same blocks through, while dropout differs, as their samples do.
    """
    global _generator
    before, _generator = _generator, torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _generator = before


def draws_state() -> Tensor | None:
    """The state of the generator that `drawn_alike` made; None outside."""
    return None if _generator is None else _generator.get_state()


def set_draws_state(state: Tensor) -> None:
    """Put back what `draws_state` gave."""
    if _generator is not None:
        _generator.set_state(state)
