"""Checkpoint files, here or on the Hugging Face Hub, as names and tensors. No pickled code is ever run."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")
# What a folder or a Hub repository calls its weights, the preferred first.
_FILES = ("model.safetensors", "pytorch_model.bin")
_HUB_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# Under these keys training scripts keep the weights, beside epoch and optimiser.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
# What wrappers (DistributedDataParallel, torch.compile) put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def find_file(source: str | os.PathLike[str]) -> Path:
    """The file that a path, a folder or a Hub name means; from the Hub it is downloaded, once.

    Args:
        source: a safetensors or torch file; a folder that holds ``model.safetensors`` (a run directory), or
            ``pytorch_model.bin``; or a Hub name such as ``timm/resnet18.a1_in1k`` or ``owner/name@revision``.

    Raises:
        ValueError: if there is no such file, folder or repository, or no weights in it.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).is_file()]
        if not found:
            raise ValueError(f"the folder {path} holds no weights: none of {', '.join(_FILES)}.")
        return found[0]
    name = _HUB_NAME.fullmatch(os.fspath(source))
    if not name or path.suffix in _SUFFIXES:
        raise ValueError(
            f"there is no file {os.fspath(source)!r}. Weights are a safetensors or torch file, a run directory, or "
            "a Hugging Face Hub name such as timm/resnet18.a1_in1k."
        )
    return _from_hub(name["repo"], name["revision"])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors or torch file, on the CPU; of a training checkpoint, the model's.

    Prefixes that a wrapper put before every name, such as ``module.``, are taken off.

    Raises:
        ValueError: if the file is of another kind, is damaged, holds code to run, or holds no named tensors.
    """
    tensors = _read_safetensors(path) if _is_safetensors(path) else _state_in(_read_torch(path), path)
    if not tensors:
        raise ValueError(f"{path} holds no tensors.")
    while prefix := next((p for p in _WRAPPERS if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _from_hub(repo: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    unreachable = False
    for name in _FILES:
        try:
            return Path(hf_hub_download(repo, name, revision=revision))
        except RepositoryNotFoundError as error:
            raise ValueError(f"{repo!r} is no file here, and no public repository on the Hugging Face Hub.") from error
        except LocalEntryNotFoundError:
            unreachable = True
        except EntryNotFoundError:
            continue
    if unreachable:
        raise ValueError(
            f"{repo!r} is no file here, is not in the local Hub cache, and the Hugging Face Hub cannot be reached."
        )
    raise ValueError(f"the Hub repository {repo!r} holds no weights that Skipway reads: none of {', '.join(_FILES)}.")


def _is_safetensors(path: Path) -> bool:
    """By content, since a name may say anything: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    from skipway.nets.weights import aliases

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        weights: dict[str, Tensor] = load_file(path)
        return weights | aliases(metadata, weights)
    except SafetensorError as error:
        raise ValueError(f"{path} is a damaged safetensors file: {error}.") from error


def _read_torch(path: Path) -> Any:
    try:
        # Opened here, so that torch goes by the content and not by the name.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other kinds of files; the error below says it once
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file can be damaged in more ways than the restricted reader has errors for
        # Not chained: torch's own message advises to turn the restriction off.
        raise ValueError(_why_unreadable(path, error)) from None


def _why_unreadable(path: Path, error: Exception) -> str:
    remedy = "Have it saved again as torch.save(model.state_dict(), file), or as safetensors."
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code:
        return f"{path} is a pickle that asks for {code[1]}: code, not tensors. It was not run. {remedy}"
    if "TorchScript" in str(error):
        return f"{path} is a TorchScript program, not a file of weights. It was not run. {remedy}"
    return f"{path} is neither a safetensors file nor a torch file of weights, or it is damaged. {remedy}"


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in what a torch file holds: by itself, or in a training checkpoint."""
    entries: Mapping[Any, Any] = content if isinstance(content, Mapping) else {}
    nested = (entries[key] for key in _STATE_KEYS if isinstance(entries.get(key), Mapping))
    state = next(nested, entries)
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        held = ", ".join(map(str, list(entries)[:5])) or type(content).__name__
        raise ValueError(
            f"{path} holds no named tensors, by themselves or under {', '.join(_STATE_KEYS)}; it has {held}."
        )
    return tensors
