"""How a validation split is held out of the training split."""

from __future__ import annotations

import torch
from torch import Tensor


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Choose a stratified share of samples to hold out.

    Each class gives `round(fraction * n)` of its n samples, at least one, and keeps at least one.

    Args:
        labels: int64, (N,).
        fraction: the share held out, between 0 and 1.
        seed: decides which samples; the global generator is not touched.

    Returns:
        The indices kept and the indices held out, both int64 and ascending.

    Raises:
        ValueError: if the fraction is not between 0 and 1, or a class has fewer than two samples.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share held out for validation is {fraction}; it must lie between 0 and 1, such as 0.1.")
    counts = torch.bincount(labels)
    if (counts == 1).any():
        alone = int((counts == 1).nonzero()[0])
        raise ValueError(
            f"class {alone} has one sample; holding out needs at least 2, one to keep and one to hold out."
        )
    wanted = [min(max(round(fraction * n), 1), n - 1) if n else 0 for n in counts.tolist()]
    return _draw(labels, wanted, seed)


def hold_out_exactly(labels: Tensor, total: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose exactly `total` samples to hold out, each class in proportion.

    Whole shares first; what is then missing comes from the classes with the largest remainders, the first of equals.

    Args:
        labels: int64, (N,).
        total: how many to hold out.
        seed: decides which samples.

    Returns:
        The indices kept and the indices held out, both int64 and ascending.
    """
    counts = torch.bincount(labels).tolist()
    shares = [divmod(n * total, len(labels)) for n in counts]
    wanted = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(counts)), key=lambda c: shares[c][1], reverse=True)
    for c in by_remainder[: total - sum(wanted)]:
        wanted[c] += 1
    return _draw(labels, wanted, seed)


def _draw(labels: Tensor, wanted: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Hold out `wanted[c]` random samples of each class c; returns ascending (kept, held) indices."""
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    by_class = torch.split(labels.argsort(stable=True), torch.bincount(labels, minlength=len(wanted)).tolist())
    for members, count in zip(by_class, wanted, strict=True):
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()
