"""From samples that a trained net has never seen to its inputs, by the preprocessing that its weights' file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch

from skipway.batch.trees import Tree
from skipway.data.arrays.standard import Standard
from skipway.data.arrays.tensors import tensors_of
from skipway.data.images.preprocess import Kind, Preprocess
from skipway.data.samples import Samples


def inputs_for(state: Mapping[str, Any], x: Any) -> Tree:
    """A net's inputs, (N, ...), on the CPU.

    Args:
        state: what `Pipeline.to_dict` wrote.
        x: samples: arrays, a table or images, as they were before any preprocessing.

    Raises:
        ValueError: if they are not what it was fitted on, or it is of a kind that needs more than the samples.
    """
    kind = state.get("kind")
    if kind == "arrays":
        standard, inputs = Standard.from_dict(dict(state)), tensors_of(x, "inputs")
        standard.check_fits(inputs)
        return standard(Samples(inputs, ()))[0]
    if kind == "table":
        from skipway.data.tables.inputs import inputs_of  # Arrow is imported where a table is read

        return inputs_of(state, x)
    if kind in get_args(Kind):
        if not isinstance(x, torch.Tensor) or x.dtype != torch.uint8 or x.dim() != 4:
            raise ValueError("the net was trained on images: give pixels, a uint8 tensor (N, C, H, W).")
        return Preprocess.from_dict(state)(x.cpu())
    told = f"of kind {kind!r}" if kind else "none"
    raise ValueError(
        f"the preprocessing in the weights' file is {told}: prepare the inputs as in training, and call .net yourself."
    )
