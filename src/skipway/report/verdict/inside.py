"""Sentences on what the probes saw inside the nets: the gradient on its way back, the gates after training."""

from __future__ import annotations

import math

from skipway.report.numbers import listed, percent, rounded
from skipway.report.summary import Group, Summary
from skipway.report.verdict.findings import Findings, deepest_shared, healthy


def gradient(found: Findings) -> list[str]:
    """How the gradient travels back before training, at the deepest depth that all gates have been probed at."""
    summary = found.summary
    here = deepest_shared(summary, [group for group in summary.groups if group.gradient_ratio is not None])
    if not here:
        return []
    parts = [f"{_size(group)} with {group.gate}" for group in here]
    sentences = [
        f"Before training, the gradient at the first block of a net of depth {here[0].depth} is {listed(parts)} times "
        "that at the last block."
    ]
    for gate in summary.gates:
        deepest = found.nets(gate)[-1] if found.harder(gate) == "yes" else None
        if deepest and _steady(deepest):
            sentences.append(
                f"The {gate} nets get harder to train although their gradient arrives, at depth {deepest.depth}, at "
                f"{rounded(deepest.gradient_ratio)} times its size: that it fades before training is not the reason."
            )
    return sentences


def _steady(group: Group) -> bool:
    """Whether the gradient arrives with every seed: a mean of one that grows and one that fades is no sign of it."""
    return bool(group.gradient_ratios) and all(map(healthy, group.gradient_ratios))


def _size(group: Group) -> str:
    """The mean over seeds, and from where to where they go."""
    ratios = group.gradient_ratios
    low, high = rounded(min(ratios)), rounded(max(ratios))
    over = "" if low == high else f" ({low} to {high} over seeds)"
    return f"{rounded(group.gradient_ratio)}{over}"


def gates(summary: Summary) -> list[str]:
    """How far the gates stand open after training, from the shallowest net to the deepest."""
    sentences = []
    for gate in summary.gates:
        nets = [group for group in summary.of(gate) if group.transform_end is not None]
        moving = [group for group in nets if group.transform_end != 1 or group.transform_start not in (None, 1)]
        if not moving:
            continue
        first, last = moving[0], moving[-1]
        text = f"After training, T of {gate} nets is on average {_opening(first)}"
        if last is not first:
            text += f" and {_opening(last)}"
        sentences.append(f"{text}{_meaning(last)}.")
    return sentences


def _opening(group: Group) -> str:
    before = f" ({rounded(group.transform_start)} at the start)" if group.transform_start is not None else ""
    return f"{rounded(group.transform_end)} at depth {group.depth}{before}"


def _meaning(group: Group) -> str:
    """In words, for gates that mix: T and C within 0 and 1, adding up to 1. Other gates' numbers stand alone."""
    share, carry = group.transform_end, group.carry_end
    if share is None or carry is None or not 0 <= share <= 1 or not math.isclose(share + carry, 1, abs_tol=0.01):
        return ""
    return (
        f": there a block puts out, on average, {percent(share)} of what it computes plus {percent(carry)} of what it "
        "was given"
    )
