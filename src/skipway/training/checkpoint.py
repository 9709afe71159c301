"""Checkpoints: the whole state of a training as one safetensors file, written atomically. No pickle is ever run.

A state is nested dictionaries and lists of tensors and of what JSON can hold. The tensors go into the file under their
paths (``update.state.3.momentum_buffer``), all else into its metadata. The newest two files are kept: where the newest
cannot be read, since a disk lost it, the one before it does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from skipway.rundir import write_bytes

FORMAT = "1"
_KEPT = 2
_TENSOR = "tensor at"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    folder: Path

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a state; a kill at any moment leaves the checkpoints before it, or them and this one."""
        tensors: dict[str, Tensor] = {}
        rest = json.dumps(_without_tensors(state, "", tensors))
        content = save(tensors, {"format": FORMAT, "state": rest})
        write_bytes(self.folder / f"step-{step:010}.safetensors", content)
        for old in list(self._newest_first())[_KEPT:]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest state that can be read; None where there is none."""
        for part in self.folder.glob(".step-*"):  # what a killed writer left
            part.unlink(missing_ok=True)
        for path in self._newest_first():
            try:
                return _read(path)
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                logging.getLogger("skipway").warning("%s cannot be read and is passed over: %s", path, error)
        return None

    def clear(self) -> None:
        """Delete all of them: the training is over."""
        for path in self.folder.glob("*step-*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir():
            self.folder.rmdir()

    def _newest_first(self) -> Iterator[Path]:
        yield from sorted(self.folder.glob("step-*.safetensors"), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        if about.get("format") != FORMAT:
            raise ValueError(f"its format is {about.get('format')}; this version of Skipway reads {FORMAT}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    state: dict[str, Any] = _with_tensors(json.loads(about["state"]), tensors)
    return state


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A state with every tensor replaced by its name, under which it is put into `tensors`."""
    if isinstance(value, Tensor):
        # A copy: views of one matrix, such as a stack's parameters, could not be saved side by side.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        return {
            key: _without_tensors(item, f"{path}.{key}" if path else str(key), tensors) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_tensors(item, f"{path}.{place}", tensors) for place, item in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
