"""What run.json says of a training that somebody else's loop takes: its net, its optimizer, its processes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from skipway.anatomy.rows import rows_of
from skipway.probe.step import Scaler
from skipway.probe.wrappers import visible
from skipway.rundir.layout import Json, run_id
from skipway.rundir.records import WATCHED
from skipway.tasks.task import Metric
from skipway.training.machine import environment


def describe(model: nn.Module, optimizer: Optimizer | None, *, every: int, name: str | None, loss: str) -> Json:
    """What run.json holds beside status, metrics and times; its identity is this one process at this moment."""
    net, processes = visible(model).net, distributed.get_world_size() if _are_several() else 1
    device = str(next((parameter.device for parameter in net.parameters()), "cpu"))
    shapes = {key: list(tensor.shape) for key, tensor in net.named_parameters() if not _is_lazy(tensor)}
    identity = {
        "started": datetime.now(UTC).isoformat(),
        "process": os.getpid(),
        "structure": run_id({"model": name_of(net), "parameters": shapes}),
    }
    others = "losses and signals of other processes: those of number 0 are of its share of each batch"
    return {
        "kind": WATCHED,
        "cell": {} if optimizer is None else {"learning_rate": learning_rate(optimizer)},
        "net": {
            "name": name or type(net).__name__,
            "parameters": parameters(net),
            "blocks": sum(len(row.blocks) for row in rows_of(net)),
        },
        "task": {"name": WATCHED, "loss": Metric("loss", loss).to_dict(), "metric": None},
        "identity": {WATCHED: identity},
        "config": {
            WATCHED: True,
            "model": name_of(net),
            "optimizer": None if optimizer is None else _settings(optimizer),
            "every": every,
        },
        "environment": environment(device),
        "choices": {"device": device, "threads": torch.get_num_threads(), "processes": processes},
        "unseen": [others] if processes > 1 else [],
    }


def name_of(thing: object) -> str:
    """The class of a module or an optimizer: ``package.module:Class``."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"


def parameters(net: nn.Module) -> int:
    """Their number; those of lazy layers that have not run count none."""
    return sum(parameter.numel() for parameter in net.parameters() if not _is_lazy(parameter))


def learning_rate(optimizer: Optimizer) -> float:
    """That of its first group of parameters, now."""
    return float(optimizer.param_groups[0]["lr"])


def rank() -> int:
    """The number of this process among those that train together."""
    return distributed.get_rank() if _are_several() else 0


def unwrapped(optimizer: Any, scaler: Scaler | None) -> tuple[Optimizer | None, Scaler | None]:
    """The optimizer that changes the weights, within Accelerate's or Lightning's; with a scaler that goes with it.

    Raises:
        TypeError: if it is none of torch's.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer, scaler = inner, scaler or getattr(optimizer, "scaler", None)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"the optimizer must be one of torch's, and this is a {type(optimizer).__name__}: leave it out, and each "
            "call of run.step counts one."
        )
    return optimizer, scaler


def _settings(optimizer: Optimizer) -> Json:
    groups = [
        {key: _plain(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]
    return {"name": name_of(optimizer), "groups": groups}


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, Tensor) and value.numel() == 1 else str(value)


def _is_lazy(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, UninitializedParameter)


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
