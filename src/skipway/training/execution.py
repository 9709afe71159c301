"""How a net runs on this machine: the memory format of its images, whether blocks are compiled, or computed again.

None of it changes what is computed but for the order of sums. What is not asked for is chosen from the net and the
length of the run alone, never from a clock, so that a study started again makes the same choices. LOG.md has the
measurements.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from skipway.anatomy.cost import BlockCost, cost_if_known
from skipway.anatomy.rows import rows_of
from skipway.skip.gate import Gate
from skipway.training.memory import segment

# Compiling the blocks of a net takes 15 to 40 s when nothing of it is cached, and saves an eighth of the time on a
# CPU: so many multiplications of the forward passes (15 minutes on one core) pay that back twice or more.
_LEAST_PRODUCTS = 3e13
# Dynamo compiles a block's code anew for every shape and, counting from the first, gives up after eight.
_RECOMPILE_LIMIT = 64


@dataclass(frozen=True)
class Execution:
    """What was chosen; run.json records it."""

    channels_last: bool = False
    """Images lie in memory pixel by pixel, all channels of one together."""
    compiled: bool = False
    """Each block is compiled by itself, so that compiling takes as long for a deep net as for a shallow one."""
    recompute: bool = False
    """The backward pass computes blocks again, so that memory grows with the square root of depth."""

    bfloat16: bool = False
    """Products run in bfloat16 where autocast finds that safe; weights and their updates stay float32."""
    mapped: bool = False
    """Several nets of somebody's own are trained as one computation: `skipway.training.mapped`."""

    def to_dict(self) -> dict[str, Any]:
        """As run.json holds it."""
        return asdict(self)


def choose_execution(net: nn.Module, example: Any, *, images: int, asked: Execution | None = None) -> Execution:
    """Choose for a net that is about to be trained.

    Args:
        net: an ordinary net.
        example: the shape of one input, or an example batch, as `skipway.anatomy.cost.cost` takes it.
        images: how many pass through it in the training, all steps together.
        asked: what it says of recomputing, of bfloat16 and of mapping is taken over. Mapped nets are neither compiled
            nor laid out otherwise: their weights have a dimension more.
    """
    asked = asked or Execution()
    if asked.mapped or not any(isinstance(module, nn.Conv2d) for module in net.modules()):
        return replace(asked, channels_last=False, compiled=False)
    # A random gate decides anew in every step which branches run at all: that is no one program.
    random = any(isinstance(module, Gate) and module.random for module in net.modules())
    known = cost_if_known(net, example) if not random and rows_of(net) else None
    worth = known is not None and known.multiply_adds * images >= _LEAST_PRODUCTS
    return replace(asked, channels_last=True, compiled=worth and can_compile())


def prepare(net: nn.Module, execution: Execution, costs: Sequence[BlockCost] = ()) -> None:
    """Make a net run as chosen. Names and shapes in its state dict stay as they were.

    Args:
        net: an ordinary net; a stack of nets where only recomputing was chosen.
        execution: what was chosen.
        costs: of the net's blocks, for recomputing: `skipway.anatomy.cost.block_costs`.

    Raises:
        ValueError: if recomputing was chosen and the net is not built for it: `skipway.training.memory.segment`.
    """
    if execution.recompute:
        segment(net, costs)
    if execution.channels_last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if execution.compiled:
        # What other nets left behind counts against the limit, too.
        torch.compiler.reset()
        for name in (block for row in rows_of(net) for block in row.blocks):
            net.get_submodule(name).compile(dynamic=False)


@contextmanager
def compiling(execution: Execution) -> Iterator[None]:
    """The context in which a compiled net is trained."""
    if not execution.compiled:
        yield
        return
    import torch._dynamo.config

    with torch._dynamo.config.patch(recompile_limit=_RECOMPILE_LIMIT):
        yield


def precision(execution: Execution, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which a forward pass of a training runs."""
    return torch.autocast(device.type, torch.bfloat16) if execution.bfloat16 else nullcontext()


@cache
def can_compile() -> bool:
    """Whether torch.compile works here: on a CPU it needs a C++ compiler, and not every machine has one."""
    try:
        # No function tells; what may be missing is found out by compiling something.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's modules warn of each other when they are imported
            torch.compile(lambda x: x + 1)(torch.zeros(8))
    except Exception as error:  # dynamo wraps whatever its backends raise
        logging.getLogger("skipway").warning("torch.compile does not work here, so nets run eagerly: %s", error)
        return False
    return True
