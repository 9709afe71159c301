"""Handles on the skips of a model: read what gates let through, or override it, without touching the model's code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipway.eager import eager
from skipway.gates import Flow, Site
from skipway.shortcuts import NoShortcut
from skipway.skip import Skip


@dataclass(frozen=True)
class SkipHandle:
    """One block of a model that has a way around it."""

    name: str  # the module's name in the model
    skip: Skip

    def why_not_lesionable(self) -> str | None:
        """The reason why nothing can be carried past the block; None where a lesion is possible."""
        shortcut, body = self.skip.shortcut, self.skip.body
        nothing = shortcut is None or isinstance(shortcut, NoShortcut)
        if nothing and body is not None and not Site.of(body).keeps_shape:
            return f"block {self.name!r} changes its input's shape and has no shortcut"
        return None

    @contextmanager
    def read(self, into: dict[str, Flow]) -> Iterator[None]:
        """Within the context, every forward pass leaves the block's Flow in `into`, under its name."""

        def keep(module: nn.Module, args: Any, flow: Flow) -> None:
            into[self.name] = flow

        hook = self.skip.gate.register_forward_hook(keep)
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def override(self, flow: Flow) -> Iterator[None]:
        """Within the context, the block runs with this Flow in place of its gate's."""
        hook = self.skip.gate.register_forward_hook(lambda module, args, found: flow)
        try:
            yield
        finally:
            hook.remove()


def find_skips(model: nn.Module) -> list[SkipHandle]:
    """Handles on every `Skip` of a model, in order of definition."""
    return [SkipHandle(name, module) for name, module in model.named_modules() if isinstance(module, Skip)]


@contextmanager
def read_flows(model: nn.Module) -> Iterator[dict[str, Flow]]:
    """Read what the gates let through.

    ::

        with read_flows(net) as flows:
            net(x)
        flows["blocks.3"].t   # T of the fourth block: a number, or a tensor that broadcasts against its output

    A compiled model runs as it is written within the context, since compiled code would not see the hooks.

    Yields:
        A dictionary from block names to Flows, filled by each forward pass. Nothing is left behind on the model.
    """
    flows: dict[str, Flow] = {}
    with ExitStack() as hooks:
        hooks.enter_context(eager())
        for handle in find_skips(model):
            hooks.enter_context(handle.read(flows))
        yield flows


@contextmanager
def override_flows(model: nn.Module, flows: Mapping[str, Flow]) -> Iterator[None]:
    """Run blocks with other Flows than their gates'.

    Raises:
        ValueError: if a name is not that of a block; the message lists them.
    """
    handles = {handle.name: handle for handle in find_skips(model)}
    unknown = [name for name in flows if name not in handles]
    if unknown:
        raise ValueError(
            f"no block is named {', '.join(map(repr, unknown))}. The blocks: {', '.join(handles) or 'none'}."
        )
    with ExitStack() as hooks:
        hooks.enter_context(eager())
        for name, flow in flows.items():
            hooks.enter_context(handles[name].override(flow))
        yield
