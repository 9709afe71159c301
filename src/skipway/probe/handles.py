"""Handles on the skips of a model: read what gates let through, or override it, without touching the model's code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from skipway.anatomy.rows import rows_of
from skipway.anatomy.skips import SkipHandle, find_skips
from skipway.probe.calls import block_and_call, call_name, follow_calls
from skipway.probe.found import why_not
from skipway.skip.eager import eager
from skipway.skip.gate import Flow


def named_skips(
    model: nn.Module, names: Iterable[str], example: Any = None
) -> dict[str, tuple[SkipHandle, int | None]]:
    """What names mean: a block, and the number of its call; None for all calls.

    Raises:
        ValueError: if a name is not that of a block or of its call; the message lists the blocks.
    """
    handles = {handle.name: handle for handle in find_skips(model, example)}
    parsed = {name: block_and_call(name, handles) for name in names}
    unknown = [name for name, (block, call) in parsed.items() if block not in handles or call == 0]
    if unknown:
        raise ValueError(
            f"no block is named {', '.join(map(repr, unknown))}. The blocks: {', '.join(handles) or 'none'}; "
            f"a block's second call in a forward pass is its name and #2.{_of_rows(model, handles, unknown)}"
        )
    return {name: (handles[block], call) for name, (block, call) in parsed.items()}


def _of_rows(model: nn.Module, handles: Mapping[str, SkipHandle], unknown: Iterable[str]) -> str:
    """What to say of blocks in which no skip was seen."""
    blocks = {block for row in rows_of(model) for block in row.blocks} - set(handles)
    if blocks.isdisjoint(unknown):
        return ""
    return (
        " Blocks of other people are found where they compute post(F(x) + S(x)) and F ends in a module that is called "
        "once; if they do, but not on a small tensor, give example=, an input of the model."
    )


@contextmanager
def read_flows(model: nn.Module, *, example: Any = None) -> Iterator[dict[str, Flow]]:
    """Read what the gates let through.

    ::

        with read_flows(net) as flows:
            net(x)
        flows["blocks.3"].t    # T of the fourth block: a number, or a tensor that broadcasts against its output
        flows["blocks.3#2"].t  # T in its second call, where a forward pass calls the block several times

    A compiled model runs as it is written within the context, since compiled code would not see the hooks. In blocks
    of other people that are found to compute ``post(F + S)``, T and C are 1.

    Args:
        model: any module.
        example: an input of the model, where its blocks are not found without: `skipway.anatomy.skips.find_skips`.

    Yields:
        A dictionary from blocks' names to Flows, in the order of the calls. Each forward pass of the model begins it
        anew; a block that is called by hand, outside of one, is read as in its first call. Nothing is put on the model,
        so copies that are made of it meanwhile are not read.
    """
    flows: dict[str, Flow] = {}

    def keep(block: str, call: int | None, flow: Flow) -> Flow:
        flows[call_name(block, call)] = flow
        return flow

    with eager(), follow_calls(model, find_skips(model, example), keep, on_start=flows.clear):
        yield flows


@contextmanager
def override_flows(model: nn.Module, flows: Mapping[str, Flow], *, example: Any = None) -> Iterator[None]:
    """Run blocks with other Flows than their gates'.

    The body of somebody else's block runs even where T is the number 0.0; its output then counts for nothing.

    Args:
        model: any module that holds `Skip` blocks, or others that compute ``post(F + S)``; copies that are made of it
            within the context run with their own.
        flows: by name: ``blocks.3`` for all calls of the block in a forward pass of the model but those that have a
            Flow of their own, such as ``blocks.3#2`` for its second. What `read_flows` gave is valid.
        example: as in `read_flows`.

    Raises:
        ValueError: if a name is not that of a block, the message lists them; if C is to be other than 1 in a block of
            several sums, one after another, as a transformer's is, where T is that of each; at the end, if a block was
            not called so often in any forward pass; in a forward pass, if a block with a Flow for one of its calls is
            called by hand, where calls are not counted.
    """
    named = named_skips(model, flows, example)
    refused = [reason for name, (handle, _) in named.items() if (reason := why_not(handle, flows[name]))]
    if refused:
        raise ValueError(f"{'; '.join(refused)}: give a Flow with c=1.0.")
    wanted = {(handle.name, call): flows[name] for name, (handle, call) in named.items()}
    called: set[tuple[str, int | None]] = set()

    def replace(block: str, call: int | None, found: Flow) -> Flow:
        if call is None and any(own == block and number for own, number in wanted):
            raise ValueError(f"calls of block {block!r} are counted in forward passes of the model; this is outside.")
        called.add((block, call))
        return wanted.get((block, call), wanted.get((block, None), found))

    handles = list({handle.name: handle for handle, _ in named.values()}.values())
    with eager(), follow_calls(model, handles, replace):
        yield
    missed = [n for n, (handle, call) in named.items() if call and (handle.name, call) not in called]
    if missed and called:
        raise ValueError(f"{', '.join(map(repr, missed))}: no forward pass called the block so often.")
