"""Trial runs: what a module makes of its input's shape, seen on torch's meta device, where nothing is computed."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from skipway.eager import eager


class Trial(NamedTuple):
    """What a trial run showed."""

    shape: tuple[int, ...]  # of the output; of the first one where a tuple came out
    ran: tuple[nn.Module, ...]  # copies of the modules without children, in the order in which they ran


class TrialRuns:
    """Runs of a module's copy in evaluation mode. The module itself and the random generators stay as they are.

    Attributes:
        error: why the latest run failed; None if it did not.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copy: nn.Module | None = None
        self.error: Exception | None = None

    def __call__(self, shape: Sequence[int]) -> Trial | None:
        """Run on an input of this shape; None if the module does not take it."""
        self.error = None
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings(), eager():
                warnings.simplefilter("ignore")
                return self._run(shape)
        except Exception as error:  # a stranger's module: whatever it raises, it does not take this input
            self.error = error
            return None

    def _run(self, shape: Sequence[int]) -> Trial:
        if self._copy is None or is_lazy(self._module):  # a lazy layer keeps the shape that it took first
            self._copy = on_meta(self._module).eval()
        ran: list[nn.Module] = []
        leaves = [module for module in self._copy.modules() if next(module.children(), None) is None]

        def run(leaf: nn.Module, args: tuple[Any, ...]) -> None:
            # Without values, torch lets a transposed convolution take any number of channels.
            if isinstance(leaf, _ConvTransposeNd) and args[0].shape[1] != leaf.in_channels:
                raise ValueError(f"{leaf} does not take the shape {tuple(args[0].shape)}")
            ran.append(leaf)

        with ExitStack() as hooks, torch.device("meta"):
            for leaf in leaves:
                hooks.callback(leaf.register_forward_pre_hook(run).remove)
            z = torch.empty(*shape, dtype=precision(self._module))
            found = self._copy(*[z] * max(1, _required(self._copy)))
        first = found[0] if isinstance(found, tuple) else found
        return Trial(tuple(first.shape), tuple(ran))


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without values; none are copied on the way."""
    return copy.deepcopy(module, {id(tensor): _without_values(tensor) for tensor in _tensors(module)})


def is_lazy(module: nn.Module) -> bool:
    """Whether a parameter or buffer of a module has no shape before its first call."""
    return any(isinstance(tensor, UninitializedParameter | UninitializedBuffer) for tensor in _tensors(module))


def precision(module: nn.Module) -> torch.dtype | None:
    """The dtype of a module's first floating-point parameter; None if it has none."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), None)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    # And those that are neither: a mask, or the weight that a weight norm computes.
    yield from (value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor))


def _without_values(tensor: Tensor) -> Tensor:
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        return type(tensor)(device="meta", dtype=tensor.dtype)  # type: ignore[call-arg]
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _required(module: nn.Module) -> int:
    """How many inputs a call needs: attention takes queries, keys and values."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)
