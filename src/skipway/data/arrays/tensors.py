"""From what people hold their numbers in to tensors, with what is wrong with them told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipway.batch.trees import Tree


def tensors_of(tree: Any, where: str) -> Tree:
    """A tree of tensors of a tree of arrays: tuples and mappings are its branches, whatever else is in it an array.

    Floating-point numbers become float32, and float64 stays, for `skipway.data.rounding`; whole numbers and truth
    values stay what they are.

    Args:
        tree: of tensors, NumPy arrays, or lists of numbers.
        where: how to call it.

    Raises:
        ValueError: if a leaf holds no numbers, or some that are NaN or infinite; the message says where.
    """
    if isinstance(tree, Mapping):
        return {str(name): tensors_of(part, f"{where}[{name!r}]") for name, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(tensors_of(part, f"{where}[{place}]") for place, part in enumerate(tree))
    return tensor_of(tree, where)


def tensor_of(array: Any, where: str) -> Tensor:
    """One leaf of that."""
    tensor = array.detach().cpu() if isinstance(array, Tensor) else _from_numpy(array, where)
    if tensor.is_complex() or not tensor.dim():
        what = "complex numbers" if tensor.is_complex() else "one number"
        raise ValueError(f"{where}: these are {what}; give real numbers, with a first dimension that counts samples.")
    if tensor.is_floating_point():
        tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
        _check_finite(tensor, where)
    return tensor.contiguous()


def text_of(array: Any) -> np.ndarray[Any, Any] | None:
    """Text, one a sample, (N,); None where it is none."""
    if isinstance(array, Tensor | Mapping | tuple):
        return None
    found = _array(array, "targets")
    if found.dtype.kind == "O" and found.ndim == 1 and all(isinstance(item, str) for item in found):
        found = found.astype(str)
    return found if found.dtype.kind == "U" and found.ndim == 1 else None


def _from_numpy(array: Any, where: str) -> Tensor:
    found = _array(array, where)
    if found.dtype.kind not in "fiubc":
        example = found.flatten()[0] if found.size else ""
        raise ValueError(
            f"{where}: there must be numbers; these are {_kind(found)}, such as {str(example)!r}. Text and dates "
            "in columns are for tables: give a DataFrame with target='COLUMN', or a CSV or parquet file."
        )
    return torch.from_numpy(np.array(found, order="C"))


def _array(array: Any, where: str) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(array)
    except ValueError as error:  # rows of different length
        raise ValueError(f"{where}: this is no array: {error}") from error


def _kind(array: np.ndarray[Any, Any]) -> str:
    return {"U": "text", "S": "bytes", "M": "dates", "m": "spans of time"}.get(array.dtype.kind, str(array.dtype))


def _check_finite(tensor: Tensor, where: str) -> None:
    wrong = ~tensor.isfinite()
    what = "NaN or infinite"
    if not bool(wrong.any()) and tensor.dtype == torch.float64:
        wrong, what = tensor.abs() > torch.finfo(torch.float32).max, "beyond float32, which ends at 3.4e38"
    count = int(wrong.sum())
    if count:
        sample, *place = wrong.nonzero()[0].tolist()
        at = f", place {', '.join(map(str, place))}" if place else ""
        raise ValueError(
            f"{where}: {count:,} of {tensor.numel():,} numbers {'is' if count == 1 else 'are'} {what}, the "
            f"first in sample {sample}{at} (counted from 0). {_remedy(what, where)}"
        )


def _remedy(what: str, where: str) -> str:
    if what.startswith("beyond"):
        return "Give them in another unit, or as logarithms."
    if "targets" in where:
        return "Leave such samples out: what has no target can neither be learned nor scored."
    return (
        "Leave such samples out, or put numbers there; in a table, a DataFrame or a file, what is missing is filled "
        "with the training split's mean."
    )
