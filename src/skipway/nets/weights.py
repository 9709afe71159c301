"""Weights: a net as a safetensors file whose metadata alone rebuilds it. No pickle is ever run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from skipway.nets.registry import build
from skipway.nets.stack import SkipNet

_KEY = "skipway"


@dataclass(frozen=True)
class SavedNet:
    """A net as it was saved, with what travels with its weights."""

    net: SkipNet
    preprocess: dict[str, Any]  # `skipway.data.images.preprocess.Preprocess.from_dict` reads it
    classes: tuple[str, ...]


def weights_bytes(net: nn.Module, preprocess: dict[str, Any], classes: Sequence[str]) -> bytes:
    """A net that `build` made, as the content of a safetensors file.

    Raises:
        ValueError: if `build` did not make it, since nothing could rebuild it.
    """
    if not getattr(net, "architecture", None):
        raise ValueError("a net built by hand cannot be rebuilt from its weights alone; make it with skipway.build.")
    about = {"architecture": net.architecture, "preprocess": preprocess, "classes": list(classes)}
    # Under one key: the order of several would differ from process to process, and equal nets should be equal files.
    metadata = {_KEY: json.dumps(about)}
    content: bytes = save({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, metadata)
    return content


def load_net(path: str | os.PathLike[str]) -> SavedNet:
    """Rebuild a net from its weights file.

    Raises:
        ValueError: if the file is damaged, or does not say what net its weights belong to.
        OSError: if there is no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        weights = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not readable as safetensors: {error}.") from error
    about = _about(metadata)
    if about is None:
        raise ValueError(f"{path} does not say what net its weights belong to: it was not written by Skipway.")
    try:
        architecture = dict(about["architecture"])
        net = build(architecture.pop("name"), **architecture)
        net.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"the weights in {path} do not fit the net that it names: {error}") from error
    return SavedNet(net, about["preprocess"], tuple(about["classes"]))


def _about(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """What a file says of its net; None where it says less than a net needs."""
    try:
        about = json.loads(metadata[_KEY])
        kinds = {"architecture": dict, "preprocess": dict, "classes": list}
        return about if all(isinstance(about[key], kind) for key, kind in kinds.items()) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
