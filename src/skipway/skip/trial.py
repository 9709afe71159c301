"""Trial runs: what a module makes of its input's shape, seen where nothing is computed."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from skipway.skip.eager import eager

_META = torch.device("meta")
_LAZY = (UninitializedParameter, UninitializedBuffer)
_TAKE_ONE_WIDTH = (nn.Linear, _ConvNd, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class Trial(NamedTuple):
    """What a trial run showed."""

    shape: tuple[int, ...]  # of the output, or of the first of several
    several: bool  # whether a tuple of outputs came out
    ran: tuple[nn.Module, ...]  # copies of the modules without children, in the order in which they ran
    only: bool  # whether a layer took the input itself, and takes no other number of features


class TrialRuns:
    """Runs of a module's copy in evaluation mode. The module itself and the random generators stay as they are.

    The batch is empty, so that torch's own kernels tell the shapes and have nothing to do. What they refuse is tried
    again on the meta device, which knows shapes alone but is slow to load: torch's compiler comes with it.

    Attributes:
        error: why the first run failed that did; None if none did.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._lazy = is_lazy(module)
        self._copies: dict[bool, nn.Module] = {}
        self.error: Exception | None = None

    def __call__(self, shape: Sequence[int]) -> Trial | None:
        """Run on an input of this shape, whose batch is the first dimension; None if the module does not take it."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings(), eager():
            warnings.simplefilter("ignore")
            found = self._try((0, *shape[1:]), meta=False)
            if isinstance(found, Trial) and found.shape[:1] == (0,):
                return found._replace(shape=(shape[0], *found.shape[1:]))
            found = self._try(shape, meta=True)
        if isinstance(found, Trial):
            return found
        self.error = self.error or found
        return None

    def _try(self, shape: Sequence[int], *, meta: bool) -> Trial | Exception:
        try:
            trial = _run(self._copy(meta), shape, _META if meta else _device(self._module))
        except Exception as error:  # a stranger's module: whatever it raises, it does not take this input
            return error
        return trial._replace(only=False) if self._lazy else trial

    def _copy(self, meta: bool) -> nn.Module:
        if meta not in self._copies or self._lazy:  # a lazy layer keeps the shape that it took first
            copied = on_meta(self._module) if meta else sharing_copy(self._module)
            self._copies[meta] = copied.eval()
        return self._copies[meta]


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without values; none are copied on the way."""
    return _copied(module, _without_values)


def sharing_copy(module: nn.Module) -> nn.Module:
    """A copy with the module's own parameters, and copies of its buffers."""
    return _copied(module, _shared)


def is_lazy(module: nn.Module) -> bool:
    """Whether a parameter or buffer of a module has no shape before its first call."""
    return any(isinstance(tensor, _LAZY) for tensor in _tensors(module))


def precision(module: nn.Module) -> torch.dtype | None:
    """The dtype of a module's first floating-point parameter; None if it has none."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), None)


def _run(module: nn.Module, shape: Sequence[int], device: torch.device | None) -> Trial:
    z = torch.empty(*shape, dtype=precision(module), device=device)
    ran: list[nn.Module] = []
    took: list[bool] = []

    def run(leaf: nn.Module, args: tuple[Any, ...]) -> None:
        # Without values, torch lets a transposed convolution take any number of channels.
        if isinstance(leaf, _ConvTransposeNd) and args[0].shape[1] != leaf.in_channels:
            raise ValueError(f"{leaf} does not take the shape {tuple(args[0].shape)}")
        ran.append(leaf)
        took.append(isinstance(leaf, _TAKE_ONE_WIDTH) and bool(args) and args[0] is z)

    with ExitStack() as contexts:
        if device == _META:
            contexts.enter_context(device)  # for what the module makes by itself
        for leaf in module.modules():
            if next(leaf.children(), None) is None:
                contexts.callback(leaf.register_forward_pre_hook(run).remove)
        found = module(*[z] * max(1, _required(module)))
    several = isinstance(found, tuple)
    return Trial(tuple((found[0] if several else found).shape), several, tuple(ran), any(took))


def _copied(module: nn.Module, of: Callable[[Tensor], Tensor]) -> nn.Module:
    return copy.deepcopy(module, {id(tensor): of(tensor) for tensor in _tensors(module)})


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
    # And those that are neither: a mask, or the weight that a weight norm computes.
    yield from (value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor))


def _shared(tensor: Tensor) -> Tensor:
    """Parameters as they are: a forward pass in evaluation mode reads them. What else there is it may change."""
    if isinstance(tensor, _LAZY):
        return copy.deepcopy(tensor)
    return tensor if isinstance(tensor, nn.Parameter) else tensor.clone()


def _without_values(tensor: Tensor) -> Tensor:
    if isinstance(tensor, _LAZY):
        return type(tensor)(device="meta", dtype=tensor.dtype)  # type: ignore[call-arg]
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _device(module: nn.Module) -> torch.device | None:
    return next((tensor.device for tensor in _tensors(module)), None)


def _required(module: nn.Module) -> int:
    """How many inputs a call needs: attention takes queries, keys and values."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)
