"""Handles on the skips of a model: read what gates let through, or override it, without touching the model's code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from skipway.probe.calls import block_and_call, call_name, follow_calls
from skipway.skip.block import Skip
from skipway.skip.eager import eager
from skipway.skip.gate import Flow
from skipway.skip.placement import Placement
from skipway.skip.shortcuts import NoShortcut


@dataclass(frozen=True)
class SkipHandle:
    """One block of a model that has a way around it."""

    name: str  # the module's name in the model; of several, the first
    skip: Skip

    def why_not_lesionable(self) -> str | None:
        """The reason why nothing can be carried past the block; None where a lesion is possible."""
        shortcut, body = self.skip.shortcut, self.skip.body
        nothing = shortcut is None or isinstance(shortcut, NoShortcut)
        if nothing and body is not None and not Placement.of(body).keeps_shape:
            return f"block {self.name!r} changes its input's shape and has no shortcut"
        return None


def find_skips(model: nn.Module) -> list[SkipHandle]:
    """Handles on every `Skip` of a model, in order of definition; one that stands in several places comes once."""
    return [SkipHandle(name, module) for name, module in model.named_modules() if isinstance(module, Skip)]


def named_skips(model: nn.Module, names: Iterable[str]) -> dict[str, tuple[SkipHandle, int | None]]:
    """What names mean: a block, and the number of its call; None for all calls.

    Raises:
        ValueError: if a name is not that of a block or of its call; the message lists the blocks.
    """
    handles = {handle.name: handle for handle in find_skips(model)}
    parsed = {name: block_and_call(name, handles) for name in names}
    unknown = [name for name, (block, call) in parsed.items() if block not in handles or call == 0]
    if unknown:
        raise ValueError(
            f"no block is named {', '.join(map(repr, unknown))}. The blocks: {', '.join(handles) or 'none'}; "
            "a block's second call in a forward pass is its name and #2."
        )
    return {name: (handles[block], call) for name, (block, call) in parsed.items()}


@contextmanager
def read_flows(model: nn.Module) -> Iterator[dict[str, Flow]]:
    """Read what the gates let through.

    ::

        with read_flows(net) as flows:
            net(x)
        flows["blocks.3"].t    # T of the fourth block: a number, or a tensor that broadcasts against its output
        flows["blocks.3#2"].t  # T in its second call, where a forward pass calls the block several times

    A compiled model runs as it is written within the context, since compiled code would not see the hooks.

    Yields:
        A dictionary from blocks' names to Flows, in the order of the calls. Each forward pass of the model begins it
        anew; a block that is called by hand, outside of one, is read as in its first call. Nothing is put on the model,
        so copies that are made of it meanwhile are not read.
    """
    flows: dict[str, Flow] = {}

    def keep(block: str, call: int | None, flow: Flow) -> Flow:
        flows[call_name(block, call)] = flow
        return flow

    blocks = {handle.skip: handle.name for handle in find_skips(model)}
    with eager(), follow_calls(model, blocks, keep, on_start=flows.clear):
        yield flows


@contextmanager
def override_flows(model: nn.Module, flows: Mapping[str, Flow]) -> Iterator[None]:
    """Run blocks with other Flows than their gates'.

    Args:
        model: any module that holds `Skip` blocks; copies that are made of it within the context run with their own.
        flows: by name: ``blocks.3`` for all calls of the block in a forward pass of the model but those that have a
            Flow of their own, such as ``blocks.3#2`` for its second. What `read_flows` gave is valid.

    Raises:
        ValueError: if a name is not that of a block, the message lists them; at the end, if a block was not called so
            often in any forward pass; in a forward pass, if a block with a Flow for one of its calls is called by hand,
            where calls are not counted.
    """
    named = named_skips(model, flows)
    wanted = {(handle.name, call): flows[name] for name, (handle, call) in named.items()}
    called: set[tuple[str, int | None]] = set()

    def replace(block: str, call: int | None, found: Flow) -> Flow:
        if call is None and any(own == block and number for own, number in wanted):
            raise ValueError(f"calls of block {block!r} are counted in forward passes of the model; this is outside.")
        called.add((block, call))
        return wanted.get((block, call), wanted.get((block, None), found))

    blocks = {handle.skip: handle.name for handle, _ in named.values()}
    with eager(), follow_calls(model, blocks, replace):
        yield
    missed = [n for n, (handle, call) in named.items() if call and (handle.name, call) not in called]
    if missed and called:
        raise ValueError(f"{', '.join(map(repr, missed))}: no forward pass called the block so often.")
