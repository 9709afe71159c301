"""Checkpoints: the whole state of a training as one safetensors file, written atomically. No pickle is ever run.

A state is nested dictionaries and lists of tensors and of what JSON can hold. The tensors go into the file under their
paths (``update.state.3.momentum_buffer``), all else into its metadata, with whose state it is and a digest of
everything. The newest two files are kept: where the newest is not what was written, since a disk lost a bit of it, the
one before it does.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from skipway.rundir.files import write_bytes

FORMAT = "2"
_KEPT = 2
_TENSOR = "tensor at"
_LOG = logging.getLogger("skipway")


class _DamagedError(Exception):
    """A checkpoint is not what was written."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Args:
        folder: where they lie.
        runs: the ids of the runs that are trained; of a stack, every member's in their order.
    """

    folder: Path
    runs: tuple[str, ...]

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a state; a kill at any moment leaves the checkpoints before it, or them and this one."""
        tensors: dict[str, Tensor] = {}
        rest = json.dumps({"runs": self.runs, "state": _without_tensors(state, "", tensors)})
        about = {"format": FORMAT, "rest": rest, "digest": _digest(rest, tensors)}
        write_bytes(self.folder / f"step-{step:010}.safetensors", save(tensors, about))
        for old in list(self._newest_first())[_KEPT:]:
            old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The newest state that is what was written; None where there is none.

        Raises:
            ValueError: if it is the state of another training.
        """
        self._clear_sides()
        for path in self._newest_first():
            try:
                runs, state = _read(path)
            except _DamagedError as error:
                _LOG.warning("%s is damaged and is passed over: %s", path, error)
                continue
            if runs != self.runs:
                raise ValueError(
                    f"{path} is the state of another training ({' '.join(runs)}; this one is {' '.join(self.runs)}): "
                    f"give this one another directory, or move {self.folder} away."
                )
            return state
        return None

    def clear(self) -> None:
        """Delete all of them: the training is over."""
        self._clear_sides()
        for path in self._newest_first():
            path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not there, or holds what is not ours
            self.folder.rmdir()

    def _newest_first(self) -> Iterator[Path]:
        yield from sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    def _clear_sides(self) -> None:
        """Delete what a killed writer left."""
        for part in self.folder.glob(".step-*"):
            part.unlink(missing_ok=True)


def _read(path: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Whose state it is, and the state.

    Raises:
        _DamagedError: if it is not what was written, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
    except (OSError, SafetensorError, ValueError) as error:
        raise _DamagedError(str(error)) from error
    if about.get("format") != FORMAT:
        raise _DamagedError(f"its format is {about.get('format')}, and this version of Skipway reads {FORMAT}")
    if about.get("digest") != _digest(about.get("rest", ""), tensors):
        raise _DamagedError("its content does not have the digest that was written with it")
    content = json.loads(about["rest"])
    return tuple(content["runs"]), _with_tensors(content["state"], tensors)


def _digest(rest: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a checkpoint holds: every tensor's name, kind, shape and bytes, and the rest."""
    digest = hashlib.sha256(rest.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
