"""Signals: how activation, gradient and gate travel through a net's layers, as rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from skipway.anatomy.layers import Layer
from skipway.batch.trees import call, first_float
from skipway.probe.handles import read_flows
from skipway.skip.as_found import as_found
from skipway.skip.draws import drawn_alike
from skipway.skip.gate import Flow

Row = dict[str, Any]


def measure(
    net: nn.Module,
    x: Any,
    losses: Callable[[Any], Tensor],
    *,
    layers: Sequence[Layer],
    replicas: int | None = None,
) -> list[list[Row]]:
    """One forward and backward pass over a batch; what was measured at each layer. The net is left as it was.

    The pass runs in training mode, as a training step sees the net, with random draws of their own.

    Args:
        net: any module that holds the layers.
        x: its input, a tree of tensors: `skipway.batch.trees.call` says how it is passed.
        losses: from the net's output, any tree, to each replica's loss, (replicas,); a batch mean.
        layers: where to measure: `skipway.anatomy.layers.layers_of_net`. Of a layer that puts out several tensors, the
            first with floating-point numbers is measured.
        replicas: their number, where the net's tensors lead with a replica dimension; None for an ordinary net.

    Returns:
        For each replica (one for an ordinary net), one row a layer: the columns of `skipway.rundir.PROBE_COLUMNS` from
        "layer" on. What was not measured is None: of a layer that was not called, or whose output needs no gradient.
    """
    count = replicas or 1
    outputs: dict[str, _Output] = {}
    with _in_training_mode(net), torch.enable_grad(), ExitStack() as hooks:
        flows = hooks.enter_context(read_flows(net))
        for layer in layers:
            hooks.enter_context(_keep_output(net.get_submodule(layer.name), layer.name, outputs, count))
        loss = losses(call(net, x)).sum()
        trained = {layer.name: net.get_submodule(layer.name).parameters() for layer in layers}
        parameters = {name: [p for p in own if p.requires_grad] for name, own in trained.items()}
        edges = {name: output.edge for name, output in outputs.items() if output.edge}
        flat: list[Any] = [*edges.values(), *(p for own in parameters.values() for p in own)]
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
        by_output = {name: _norm([next(gradients)], count) for name in edges}
        by_weight = {name: [next(gradients) for _ in own] for name, own in parameters.items()}
    nothing = torch.full((count,), float("nan"))
    columns = [
        {
            "activation_std": outputs[layer.name].std if layer.name in outputs else nothing,
            "gradient_norm": by_output.get(layer.name, nothing),
            "weight_gradient_norm": _norm(by_weight[layer.name], count),
            **_flow_means(flows.get(layer.name), count),
        }
        for layer in layers
    ]
    values = [{key: [_or_none(v) for v in column.tolist()] for key, column in layer.items()} for layer in columns]
    return [
        [
            {
                "layer": place,
                "name": layer.name,
                "kind": layer.kind,
                **{key: v[index] for key, v in values[place].items()},
            }
            for place, layer in enumerate(layers)
        ]
        for index in range(count)
    ]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _flow_means(flow: Flow | None, count: int) -> dict[str, Tensor]:
    if flow is None:
        nothing = torch.full((count,), float("nan"))
        return {"transform_mean": nothing, "carry_mean": nothing}
    return {"transform_mean": _mean(flow.t, count), "carry_mean": _mean(flow.carry(), count)}


def _mean(value: Tensor | float, count: int) -> Tensor:
    if not isinstance(value, Tensor):
        return torch.full((count,), float(value))
    if count > 1 and (
        value.dim() < 3 or len(value) == 1
    ):  # it does not lead with replicas, as what blocks put out does
        if value.requires_grad:
            raise ValueError(
                f"a gate's T or C is of shape {tuple(value.shape)} for {count} replicas, each with weights of its own: "
                "it was taken from all of them together. What a gate computes must keep the leading dimensions of its "
                "input, or those of a parameter of its own: take means over the last dimension alone."
            )
        return value.detach().double().mean().expand(count)
    return _by_replica(value.detach(), count).mean(1)


def _by_replica(value: Tensor, count: int) -> Tensor:
    return value.detach().double().reshape(count, -1)


def _norm(gradients: Sequence[Tensor | None], count: int) -> Tensor:
    norms = [_norms(g.detach().reshape(count, -1)) for g in gradients if g is not None]
    return _norms(torch.stack(norms, 1)) if norms else torch.zeros(count, dtype=torch.float64)


def _norms(rows: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return norms


class _Output(NamedTuple):
    """What a layer put out in its first call: taken there, since what comes next may work in place."""

    std: Tensor  # (replicas,)
    edge: GradientEdge | None  # its place in the graph; None where it needs no gradient


@contextmanager
def _keep_output(module: nn.Module, name: str, into: dict[str, _Output], count: int) -> Iterator[None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found = first_float(output)
        if found is not None and name not in into:  # of the first call, as the flows are
            edge = get_gradient_edge(found) if found.requires_grad else None
            into[name] = _Output(_by_replica(found, count).std(1), edge)

    hook = module.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _in_training_mode(net: nn.Module) -> Iterator[None]:
    """Training mode within; the net and the random state as they were, after."""
    with as_found(net), torch.random.fork_rng(), drawn_alike(0):
        net.train()
        torch.manual_seed(0)
        yield
