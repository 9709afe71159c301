"""The processes of one training: each takes its share of every batch, and all hold the same weights.

Under ``torchrun`` there are several; otherwise this one is alone, and everything here does nothing.
"""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, cast

import torch
import torch.distributed as dist

# Its functions have the group of that moment as a default argument. Imported before there is one, as here and not by
# DDP, they do not hold it past `Torchrun.leave`.
import torch.distributed.nn.functional
from torch import Tensor, nn

from skipway.skip.gate import Gate


class World:
    """One process alone.

    Attributes:
        rank: this process's place, from 0; process 0 writes files and speaks.
        size: how many there are.
        device: this process's own, where each has one.
    """

    rank: int = 0
    size: int = 1
    device: str | None = None

    def leave(self) -> None:
        """End together."""

    def wrap(self, net: nn.Module) -> nn.Module:
        """The net as it runs in training: with gradients averaged over all processes."""
        return net

    def no_sync(self, net: nn.Module, apply: bool) -> AbstractContextManager[None]:
        """A context whose backward pass leaves gradients to be averaged by a later one, where `apply` holds."""
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in every process."""
        return values.clone()

    def max(self, values: Tensor) -> Tensor:
        """The largest over all processes, in every process."""
        return values.clone()

    def share_buffers(self, net: nn.Module) -> None:
        """Give every process the buffers (batch norm's running statistics) of process 0."""

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in their order, in every process."""
        return [value]


ALONE = World()


class Torchrun(World):
    """One process of several that torchrun started, joined by Accelerate.

    Batch norms count the batch of their own process; process 0's running statistics are those of all. Random gates let
    the same blocks through in all processes (`skipway.skip.draws.drawn_alike`).
    """

    def __init__(self) -> None:
        from accelerate import Accelerator

        self._accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes
        self.device = str(self._accelerator.device)

    def leave(self) -> None:
        dist.barrier()
        # The wrapped nets hold the group, and the group its threads. One that still lets go of a tensor while the
        # interpreter ends aborts the process.
        self._accelerator.free_memory()
        gc.collect()
        dist.destroy_process_group()

    def wrap(self, net: nn.Module) -> nn.Module:
        if not any(parameter.requires_grad for parameter in net.parameters()):
            return net
        from accelerate import DistributedDataParallelKwargs

        if any(isinstance(module, Gate) and module.random for module in net.modules()):
            # Blocks that a step leaves out give no gradients, for which the others would wait.
            self._accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        # Accelerate wraps what it is given, and remembers it; the training's own object stays as it is.
        return cast(nn.Module, self._accelerator.prepare_model(net))

    def no_sync(self, net: nn.Module, apply: bool) -> AbstractContextManager[None]:
        return cast(AbstractContextManager[None], cast(Any, net).no_sync()) if apply else nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        return cast(Tensor, self._accelerator.reduce(values.clone(), "sum"))

    def max(self, values: Tensor) -> Tensor:
        result = values.clone()
        dist.all_reduce(result, dist.ReduceOp.MAX)
        return result

    def share_buffers(self, net: nn.Module) -> None:
        for buffer in net.buffers():
            dist.broadcast(buffer, 0)

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def is_of_another(error: RuntimeError) -> bool:
    """Whether an error says that another process has ended, and not what went wrong in this one."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


@cache
def world() -> World:
    """The processes among which this one was started in: torchrun says so in its environment."""
    return Torchrun() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ALONE
