"""Forward passes of a model, one after another, and which call of its block each one in them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import local
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from skipway.skip.block import Skip, register_flow_hook
from skipway.skip.gate import Flow

# From a block's name, the call's number and what the gate says to what holds instead.
OnFlow = Callable[[str, int | None, Flow], Flow]


class _Pass(local):
    """Where this thread's forward pass of the model is."""

    def __init__(self) -> None:
        self.depth = 0
        self.calls: Counter[str] = Counter()


@contextmanager
def follow_calls(
    model: nn.Module, blocks: Mapping[Skip, str], on_flow: OnFlow, on_start: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Within the context, see each call of a block, whoever runs the model. Nothing is put on the model itself.

    Args:
        model: a call of it from outside is a pass.
        blocks: its blocks and their names.
        on_flow: what to do at a call. Its number in the pass counts from 1; None is a call outside of any pass, by hand
            or when something is computed again in the backward pass.
        on_start: what to do when a pass begins.
    """
    here = _Pass()

    def begin(module: nn.Module, args: Any) -> None:
        if module is model:
            here.depth += 1
            if here.depth == 1:
                here.calls.clear()
                on_start()

    def end(module: nn.Module, args: Any, output: Any) -> None:
        if module is model:
            here.depth -= 1

    def count(block: Skip, flow: Flow) -> Flow:
        if block not in blocks:
            return flow
        here.calls[blocks[block]] += 1
        return on_flow(blocks[block], here.calls[blocks[block]] if here.depth else None, flow)

    with ExitStack() as hooks:
        for handle in (
            register_module_forward_pre_hook(begin),
            register_module_forward_hook(end, always_call=True),
            register_flow_hook(count),
        ):
            hooks.callback(handle.remove)
        yield


def call_name(block: str, call: int | None) -> str:
    """The name under which a block's call is read: its first ``blocks.3``, its second ``blocks.3#2``."""
    return block if call in (None, 1) else f"{block}#{call}"


def block_and_call(name: str, blocks: Iterable[str]) -> tuple[str, int | None]:
    """``blocks.3#2`` is the second call of ``blocks.3``; a name without a number is that of all calls."""
    block, _, number = name.rpartition("#")
    if name not in blocks and number.isdecimal():
        return block, int(number)
    return name, None
