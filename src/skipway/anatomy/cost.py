"""What a module costs for one input: parameters, products, and the memory that a training step keeps for it.

Nothing is computed: the net is traced on torch's meta device, where tensors have shapes and no values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from skipway.anatomy.rows import rows_of
from skipway.batch.trees import call, map_tensors, tensors
from skipway.skip.copies import on_meta
from skipway.skip.gate import Gate

# A prime that no width is a multiple of: what a step keeps of every input has a size divisible by it, the rest has not.
# (The difference of two batches would tell them apart as well, in twice the time: a thousand layers take seconds.)
_BATCH = 65_521


@dataclass(frozen=True)
class Cost:
    """A net's cost for one input of some shape."""

    parameters: int  # whatever the input
    multiply_adds: int  # of one forward pass: the products in convolutions, linear layers and attention
    activation_bytes: int  # what a training step's forward pass keeps of one input for the backward pass


@dataclass(frozen=True)
class BlockCost:
    """What a training step holds of one input for one block."""

    name: str  # the block's, in the net
    input_bytes: int  # what goes in
    activation_bytes: int  # what it keeps for the backward pass, its input too where no block before it keeps that


def cost(net: nn.Module, example: Any) -> Cost:
    """Count what one input of a training batch costs. The net stays as it is.

    What a batch needs once (parameters, a batch norm's means) is no input's cost, and left out. Random gates let their
    mean through, so that every block counts: stochastic depth costs up to this much, and less in a step that skips
    blocks. The input itself counts where the first layer keeps it; the loss does not.

    Args:
        net: any module that takes a batch of such inputs, as a whole.
        example: the shape of one input in float32, without the batch: (channels, height, width) for images. Or a batch
            that the net takes: a tree of tensors, which `skipway.batch.trees.call` passes on. The first dimension of
            its first tensor is the batch; so is that of every tensor in it of which that dimension is as large.

    Raises:
        ValueError: if the net does not take such inputs, or takes them only with values, where there are shapes alone.
    """
    try:
        products, kept = _trace(_on_meta(net), _batch_of(example))
    except Exception as error:  # whatever somebody's net makes of tensors without values
        raise ValueError(_why_not(example, error)) from error
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return Cost(parameters, products // _BATCH, sum(size // _BATCH for size in kept if size % _BATCH == 0))


def cost_if_known(net: nn.Module, example: Any) -> Cost | None:
    """The same; None of a net whose cost shapes alone do not tell, such as one that branches on values.

    Args:
        net: any module.
        example: as `cost` takes it.
    """
    try:
        return cost(net, example)
    except ValueError:
        return None


def block_costs(net: nn.Module, example: Any) -> list[BlockCost]:
    """What each block of a net's rows holds of one input of a training batch, in the order of calls.

    Args:
        net: any module; of one without rows of blocks, there is nothing to tell.
        example: as `cost` takes it.

    Raises:
        ValueError: as `cost`.
    """
    try:
        return _block_costs(net, example)
    except Exception as error:  # as above
        raise ValueError(_why_not(example, error)) from error


def _block_costs(net: nn.Module, example: Any) -> list[BlockCost]:
    traced = _on_meta(net)
    kept: dict[int, torch.UntypedStorage] = {}
    found: list[BlockCost] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    def measure(name: str, block: nn.Module) -> None:
        def before(module: nn.Module, args: object, kwargs: object) -> None:
            inputs = sum(tensor.nbytes // _BATCH for tensor in tensors((args, kwargs)) if tensor.nbytes % _BATCH == 0)
            found.append(BlockCost(name, inputs, -_of_inputs(kept)))

        def after(module: nn.Module, args: object, output: object) -> None:
            held = found.pop()
            found.append(replace(held, activation_bytes=held.activation_bytes + _of_inputs(kept)))

        block.register_forward_pre_hook(before, with_kwargs=True)
        block.register_forward_hook(after)

    for name in (block for row in rows_of(net) for block in row.blocks):
        measure(name, traced.get_submodule(name))
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        _call(traced, _batch_of(example))
    return found


def _is_shape(example: Any) -> bool:
    return isinstance(example, tuple | list) and all(isinstance(size, int) for size in example)


def _batch_of(example: Any) -> Any:
    """A batch of such inputs, without values."""
    if _is_shape(example):
        return torch.empty(_BATCH, *example, device="meta")
    first = next(tensors(example), None)
    if first is None or not first.ndim:
        raise ValueError("an example is a batch of inputs: its first tensor leads with the batch dimension.")
    size = len(first)

    def enlarged(tensor: Tensor) -> Tensor:
        batched = tensor.ndim and len(tensor) == size
        return tensor.new_empty((_BATCH, *tensor.shape[1:]) if batched else tensor.shape, device="meta")

    return map_tensors(enlarged, example)


def _in_words(example: Any) -> str:
    shapes = [tuple(example)] if _is_shape(example) else [tensor.shape[1:] for tensor in tensors(example)]
    return "shape " + ", ".join(" x ".join(map(str, shape)) for shape in shapes)


def _why_not(example: Any, error: Exception) -> str:
    told = (
        f"{error}" if isinstance(error, RuntimeError | ValueError | TypeError) else f"{type(error).__name__}: {error}"
    )
    values = " Costs are counted by shapes alone, without values, and not every net runs so." if "meta" in told else ""
    return f"the net does not take inputs of {_in_words(example)}: {told}{values}"


def _of_inputs(kept: dict[int, torch.UntypedStorage]) -> int:
    """The bytes of one input among the storages that are kept: sizes that the batch divides."""
    return sum(size // _BATCH for storage in kept.values() if (size := storage.nbytes()) % _BATCH == 0)


def _call(net: nn.Module, batch: Any) -> None:
    with torch.device("meta"):  # for what the net makes by itself
        call(net, batch)


def _on_meta(net: nn.Module) -> nn.Module:
    """A copy in training mode, without values; random gates let their mean through."""
    traced = on_meta(net).train()
    for gate in traced.modules():
        if isinstance(gate, Gate) and gate.random:
            gate.eval()
    return traced


def _trace(net: nn.Module, batch: Any) -> tuple[int, list[int]]:
    """Products of a forward pass, and the bytes of each storage that autograd keeps after it."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # and with that alive to the end: no two share an address
        return tensor

    with FlopCounterMode(display=False) as flops, torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        _call(net, batch)
    return flops.get_total_flops() // 2, [storage.nbytes() for storage in kept.values()]
