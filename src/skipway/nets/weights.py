"""Weights: a net as a safetensors file whose metadata alone rebuilds it. No pickle is ever run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from skipway.nets.registry import build
from skipway.nets.stack import SkipNet

_KEY = "skipway"


@dataclass(frozen=True)
class SavedNet:
    """A net as it was saved, with what travels with its weights."""

    net: SkipNet
    preprocess: dict[str, Any]  # `skipway.data.preprocess.Preprocess.from_dict` reads it
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
        ValueError: if the file does not say what net its weights belong to.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if _KEY not in metadata:
        raise ValueError(f"{path} does not say what net its weights belong to: it was not written by Skipway.")
    about = json.loads(metadata[_KEY])
    architecture = dict(about["architecture"])
    net = build(architecture.pop("name"), **architecture)
    net.load_state_dict(load_file(path))
    return SavedNet(net, about["preprocess"], tuple(about["classes"]))
