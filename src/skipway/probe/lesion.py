"""Lesions: take blocks out of a model while it runs, to see what carries the signal.

Srivastava et al. 2015 (arXiv 1507.06228) for highway nets; Veit et al. 2016 (arXiv 1605.06431) for residual ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from skipway.probe.handles import named_skips, override_flows
from skipway.skip.gate import Flow

LESION = Flow(0.0, 1.0)  # y = post(S(z))


@contextmanager
def lesion(model: nn.Module, names: str | Iterable[str]) -> Iterator[None]:
    """Within the context, the named blocks only carry: (T, C) = (0, 1), so y = post(S(z)).

    Args:
        model: any module that holds `Skip` blocks.
        names: one block's name in the model, or several; a model that is a block itself is named ``""``. In a block
            that a forward pass calls several times, ``blocks.3#2`` is the second call alone.

    Raises:
        ValueError: if a name is not that of a block, or if a block changes its input's shape and has no shortcut; at
            the end and in a forward pass, as `skipway.probe.handles.override_flows` says of a block's calls.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    reasons = (handle.why_not_lesionable() for handle, _ in named_skips(model, wanted).values())
    refused = [reason for reason in reasons if reason]
    if refused:
        raise ValueError(f"cannot be lesioned: {'; '.join(refused)}, so nothing can be carried past.")
    with override_flows(model, dict.fromkeys(wanted, LESION)):
        yield
