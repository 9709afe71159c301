"""Signals of a training step that somebody else takes, read from its own forward and backward pass.

Nothing is drawn, and no value, gradient, buffer or mode is changed: the training goes on to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.parameter import UninitializedParameter

from skipway.anatomy.layers import Layer, layers_called
from skipway.anatomy.rows import rows_of
from skipway.batch.trees import first_float
from skipway.probe.sizes import norm, spread
from skipway.probe.wrappers import OUTPUTS, Visible, is_sharded
from skipway.skip.block import Skip, register_flow_hook
from skipway.skip.gate import Flow

Row = dict[str, Any]


class Scaler(Protocol):
    """What is read of a `torch.amp.GradScaler`."""

    def get_scale(self) -> float:
        """What losses are multiplied by."""


@dataclass
class _Pass:
    """What was seen of a forward pass and of the backward pass after it; the numbers stay on their device."""

    spreads: dict[str, Tensor] = field(default_factory=dict)
    edges: set[str] = field(default_factory=set)  # the layers whose output has a place in the graph
    gradients: dict[str, Tensor] = field(default_factory=dict)
    flows: dict[str, tuple[Tensor | float, Tensor | float]] = field(default_factory=dict)  # means of T and C
    went_back: bool = False


def _careful(see: Callable[..., None]) -> Callable[..., None]:
    """A hook that never ends somebody's training: what it raises is kept. Code that is compiled does not contain it."""

    @wraps(see)
    def hook(probe: StepProbe, *args: Any) -> None:
        if torch.compiler.is_compiling() or probe.error is not None:
            return
        try:
            see(probe, *args)
        except Exception as error:
            probe.error = error

    return hook


class StepProbe:
    """Hooks on a net's layers for one step at a time: from `attach` to `rows`, and never else.

    Of a step with several forward passes, the last one that a backward pass follows is measured: of a batch in parts,
    the last part. The weights' gradients are those of the whole step, before anything clips them. A layer that a pass
    calls several times is measured in its first call. A pass without gradients, as in validation, is not looked at.

    Args:
        seen: a net, and which of its modules may be hooked.
        scaler: where losses are scaled: gradients are divided by what it says.

    Attributes:
        layers: where signals are measured, in the order of the calls in the first step; None before that.
        error: what went wrong while measuring; nothing is measured from then on.
        missed: what the first step did not show, though hooks were there.
    """

    def __init__(self, seen: Visible, scaler: Scaler | None = None) -> None:
        self.layers: Sequence[Layer] | None = None
        self.error: Exception | None = None
        self.missed: list[str] = []
        self._net, self._hooked, self._reads_weights = seen.net, seen.modules, seen.weights
        self._scaler = scaler
        self._names = {module: name for name, module in seen.net.named_modules()}
        skips = {name for module, name in self._names.items() if isinstance(module, Skip)}
        self._reads_flows = bool(skips) and skips <= seen.modules  # one hook is for all of them
        self._handles: list[Any] = []
        self._start()

    @property
    def attached(self) -> bool:
        """Whether a step is being watched."""
        return bool(self._handles)

    def attach(self) -> None:
        """Watch the step that begins."""
        self._start()
        names = self._candidates() if self.layers is None else [layer.name for layer in self.layers]
        for name in names:
            if name in self._hooked:
                module = self._net.get_submodule(name)
                self._handles.append(module.register_forward_hook(partial(self._see_output, name)))
        if "" in self._hooked:
            self._handles.append(self._net.register_forward_pre_hook(self._begin_pass))
        if self._hooked and self._reads_flows:
            self._handles.append(register_flow_hook(self._pass_on))
        for parameter in self._net.parameters() if self._reads_weights else ():
            if parameter.requires_grad and not isinstance(parameter, UninitializedParameter):
                self._handles.append(parameter.register_post_accumulate_grad_hook(self._see_weight))  # type: ignore[no-untyped-call]

    def rows(self) -> list[Row]:
        """Stop watching. What was seen, one row a layer: the columns of `PROBE_COLUMNS` from "layer" on."""
        self.detach()
        if self.layers is None:
            self.layers = self._layers()
            self._note_what_was_missed()
        return [{"layer": place, **self._row(layer)} for place, layer in enumerate(self.layers)]

    def detach(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _note_what_was_missed(self) -> None:
        if self._hooked and not self._best.spreads:
            self.missed.append(f"{OUTPUTS}: no layer ran where hooks are called; was the step compiled as a whole?")
            self._hooked = frozenset()  # hooks in the steps to come could only have it compiled anew
        if self._reads_weights and not self._weights:
            self.missed.append("gradients of weights: no backward pass reached them")

    @property
    def _best(self) -> _Pass:
        return self._measured or self._now

    def _start(self) -> None:
        self._now = _Pass()
        self._measured: _Pass | None = None
        self._order: dict[str, int] = {}
        self._weights: dict[nn.Parameter, Tensor] = {}
        self._scale: float | None = None

    def _candidates(self) -> Iterator[str]:
        """All that may turn out to be a layer, when it is known what the net calls."""
        for module, name in self._names.items():
            has_parts = next(module.children(), None) is not None
            if (name or not has_parts) and next(module.parameters(), None) is not None:
                yield name

    def _layers(self) -> list[Layer]:
        if not self._order or len(self._hooked) < len(self._names):
            return layers_called(self._net)
        place = 0
        for block in (block for row in rows_of(self._net) for block in row.blocks):
            place = self._order.setdefault(block, place)  # what was left out this time stands behind the one before it
        return layers_called(self._net, self._order)

    def _row(self, layer: Layer) -> Row:
        own, scale, gradient = self._best, self._scale or 1.0, math.nan
        if layer.name in own.edges and own.went_back:
            gradient = float(own.gradients.get(layer.name, 0.0)) / scale
        weights = self._net.get_submodule(layer.name).parameters()
        norms = [float(self._weights[weight]) for weight in weights if weight in self._weights]
        t, c = own.flows.get(layer.name, (math.nan, math.nan))
        numbers = {
            "activation_std": float(own.spreads.get(layer.name, math.nan)),
            "gradient_norm": gradient,
            "weight_gradient_norm": math.hypot(*norms) / scale if self._weights else math.nan,
            "transform_mean": float(t),
            "carry_mean": float(c),
        }
        found = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        return {"name": layer.name, "kind": layer.kind, **found}

    # -- what the hooks do ------------------------------------------------------------------------------------------

    @_careful
    def _begin_pass(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled() and not _in_backward():
            self._now = _Pass()

    @_careful
    def _see_output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self._order.setdefault(name, len(self._order))
        own, found = self._pass(), first_float(output)
        if own is None or found is None or name in own.spreads or not _is_plain(found):
            return
        own.spreads[name] = spread(found)
        if found.requires_grad:
            own.edges.add(name)
            edge = get_gradient_edge(found)
            self._handles.append(edge.node.register_prehook(partial(self._see_gradient, own, name, edge.output_nr)))

    @_careful
    def _see_flow(self, block: Skip, flow: Flow) -> None:
        own, name = self._pass(), self._names.get(block)
        if own is not None and name is not None:
            t = _mean(flow.t)
            own.flows.setdefault(name, (t, 1 - t if flow.c is None else _mean(flow.c)))

    def _pass_on(self, block: Skip, flow: Flow) -> Flow:
        self._see_flow(block, flow)
        return flow

    @_careful
    def _see_gradient(self, own: _Pass, name: str, place: int, gradients: Sequence[Tensor | None]) -> None:
        self._read_scale()
        own.went_back, self._measured = True, own
        gradient = gradients[place]
        if gradient is not None:
            own.gradients[name] = norm(gradient)

    @_careful
    def _see_weight(self, weight: nn.Parameter) -> None:
        self._read_scale()
        if weight.grad is not None:
            self._weights[weight] = norm(weight.grad)  # of a batch in parts the last call, which has the sum, counts

    def _pass(self) -> _Pass | None:
        """The pass that runs; None where it wants no gradients."""
        if not torch.is_grad_enabled():
            return None
        if self._now.went_back and not _in_backward():
            self._now = _Pass()
        return self._now

    def _read_scale(self) -> None:
        """In the backward pass, since a scaler changes its scale after the step."""
        if self._scale is None and self._scaler is not None:
            self._scale = self._scaler.get_scale()


def _in_backward() -> bool:
    """Whether this is called from a backward pass: then a layer that runs is computed again, for its gradient."""
    return torch._C._current_graph_task_id() != -1


def _is_plain(tensor: Tensor) -> bool:
    return not (is_sharded(tensor) or tensor.is_nested or tensor.layout is not torch.strided)


def _mean(value: Tensor | float) -> Tensor | float:
    return value.detach().double().mean() if isinstance(value, Tensor) else float(value)
