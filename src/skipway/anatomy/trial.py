"""One forward pass on an example, to see which modules it calls, in what order, and on what."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from skipway.batch.trees import call, map_tensors, tensors
from skipway.skip.copies import on_meta, sharing_copy
from skipway.skip.eager import eager


def order_of_calls(net: nn.Module, example: Any) -> dict[str, int]:
    """The modules that a forward pass in evaluation mode calls, by name, and the place of each one's first call.

    Nothing is computed where the net runs on the meta device, as most do. The net and the random generators stay as
    they are.

    Args:
        net: any module.
        example: what it takes: a tree of tensors, as `skipway.batch.trees.call` passes it.

    Raises:
        ValueError: if the net does not take it.
    """
    meta = torch.device("meta")
    try:
        with meta:  # for what the net makes by itself
            return _run(on_meta(net), map_tensors(lambda tensor: tensor.to(meta), example))
    except Exception:  # a stranger's net: it may need the values
        try:
            return _run(sharing_copy(net), example)
        except Exception as error:
            raise ValueError(f"the net does not take the example: {type(error).__name__}: {error}") from error


def inputs_of_calls(net: nn.Module, example: Any, names: Collection[str]) -> dict[str, Any]:
    """Arguments and keyword arguments of some modules' first calls in a forward pass, for two inputs of the batch.

    Raises:
        ValueError: if the net does not take the example.
    """
    batch = next((len(tensor) for tensor in tensors(example) if tensor.ndim), 0)
    few = map_tensors(lambda tensor: tensor[:2] if tensor.ndim and len(tensor) == batch else tensor, example)
    found: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            found.setdefault(name, map_tensors(torch.clone, (args, kwargs)))

        return hook

    copied = sharing_copy(net)
    for name in names:
        copied.get_submodule(name).register_forward_pre_hook(keep(name), with_kwargs=True)
    try:
        _run(copied, few)
    except Exception as error:
        raise ValueError(f"the net does not take the example: {type(error).__name__}: {error}") from error
    return found


def _run(net: nn.Module, inputs: Any) -> dict[str, int]:
    order: dict[str, int] = {}

    def note(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            order.setdefault(name, len(order))

        return hook

    with torch.no_grad(), torch.random.fork_rng(), warnings.catch_warnings(), eager(), ExitStack() as hooks:
        warnings.simplefilter("ignore")
        for name, module in net.eval().named_modules():
            hooks.callback(module.register_forward_pre_hook(note(name)).remove)
        call(net, inputs)
    return order
