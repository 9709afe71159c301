"""Weights: a net as a safetensors file whose metadata alone rebuilds it. No pickle is ever run."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from skipway.batch.specification import Specification
from skipway.batch.storage import apart
from skipway.nets.factory import OWN, FunctionFactory
from skipway.nets.registry import build
from skipway.rundir.layout import WEIGHTS

_KEY = "skipway"


@dataclass(frozen=True)
class SavedNet:
    """A net as it was saved, with what travels with its weights."""

    net: nn.Module
    """Of a regression it answers in standardised values, of order one; `fitted` holds the targets' scale."""
    preprocess: dict[str, Any]  # `skipway.data.images.preprocess.Preprocess.from_dict` reads it
    classes: tuple[str, ...]
    fitted: dict[str, Any] | None = None
    """The task that it was trained for, as `spec`, and what that found in the training targets, as `state`."""


def weights_bytes(
    net: nn.Module,
    preprocess: dict[str, Any],
    classes: Sequence[str],
    architecture: Mapping[str, Any] | None = None,
    *,
    fitted: Mapping[str, Any] | None = None,
) -> bytes:
    """A net as the content of a safetensors file. Tied weights are kept once, under their first name.

    Args:
        net: any module.
        preprocess: what was fitted to make its inputs.
        classes: their names.
        architecture: what builds it again, where `build` did not make it: `skipway.nets.factory` tells.
        fitted: the task, with what it found in the training targets, as `SavedNet` has it.

    Raises:
        ValueError: if nothing could rebuild it.
    """
    architecture = architecture or getattr(net, "architecture", None)
    if not architecture:
        raise ValueError("a net built by hand cannot be rebuilt from its weights alone; make it with skipway.build.")
    about: dict[str, Any] = {"architecture": dict(architecture), "preprocess": preprocess, "classes": list(classes)}
    if fitted is not None:
        about["task"] = dict(fitted)
    tensors, shared = apart(net.state_dict())
    if shared:
        about["shared"] = shared
    # Under one key: the order of several would differ from process to process, and equal nets should be equal files.
    metadata = {_KEY: json.dumps(about)}
    content: bytes = save(tensors, metadata)
    return content


def load_net(path: str | os.PathLike[str], net: Callable[..., nn.Module] | None = None) -> SavedNet:
    """Rebuild a net from its weights file.

    Args:
        path: the file, or a run's directory.
        net: what made a net of one's own: a function of depth, gate and so on, as the study had it. Nothing is ever
            imported that a file names, so it must be given again.

    Raises:
        ValueError: if the file is damaged, or does not say what net its weights belong to.
        OSError: if there is no such file.
    """
    path = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        weights = load_file(path)
        weights |= aliases(metadata, weights)
    except SafetensorError as error:
        raise ValueError(f"{path} is not readable as safetensors: {error}.") from error
    about = _about(metadata)
    if about is None:
        raise ValueError(f"{path} does not say what net its weights belong to: it was not written by Skipway.")
    try:
        made = rebuilt(dict(about["architecture"]), net, about["classes"])
        made.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"the weights in {path} do not fit the net that it names: {error}") from error
    return SavedNet(made, about["preprocess"], tuple(about["classes"]), about.get("task"))


def rebuilt(
    architecture: dict[str, Any], net: Callable[..., nn.Module] | None, classes: Sequence[str] = ()
) -> nn.Module:
    """The net of an architecture, with fresh weights.

    Raises:
        ValueError: if it is somebody's own, and what made it is not given.
    """
    made_by = architecture.pop("function", None)
    if net is not None:
        return _made_again(architecture, net, classes)
    if made_by is not None:
        raise ValueError(f"it was made by {made_by}: give that function again, as load_net(path, net=the_function)")
    return build(architecture.pop("name"), **architecture)


def _made_again(architecture: Mapping[str, Any], net: Callable[..., nn.Module], classes: Sequence[str]) -> nn.Module:
    """What a function makes, given what it was given in training."""
    about = architecture.get("specification")
    if about is None and "specification" in inspect.signature(net).parameters:
        raise ValueError(
            "the function takes `specification`, and the file does not hold it: it was written by an earlier version, "
            "or for another function. Give one that knows it: net=lambda depth, gate: make(depth, gate, specification)"
        )
    takes = inspect.signature(net).parameters
    known = Specification.from_dict(about, classes) if about else Specification((), None)
    if "skip" not in takes:
        told = {**architecture, "specification": known}
        return net(**{name: value for name, value in told.items() if name in takes})
    width = architecture.get("width") if "width" in takes else None
    return FunctionFactory("given", net).make(
        known, gate=architecture.get("gate", OWN), depth=architecture.get("depth", 0), width=width, seed=0
    )


def aliases(metadata: Mapping[str, str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file's weights under their further names: of tied weights it keeps the first alone."""
    try:
        shared = json.loads(metadata[_KEY])["shared"]
        return {name: weights[kept] for name, kept in shared.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _about(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What a file says of its net; None where it says less than a net needs."""
    try:
        about = json.loads(metadata[_KEY])
        kinds = {"architecture": dict, "preprocess": dict, "classes": list}
        told = isinstance(about.get("task", {}), dict)  # older files tell no task
        return about if told and all(isinstance(about[key], kind) for key, kind in kinds.items()) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
