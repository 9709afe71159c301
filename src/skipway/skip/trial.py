"""Trial runs: what a module makes of its input's shape, seen where nothing is computed."""

from __future__ import annotations

import inspect
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as _global
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from skipway.skip.copies import full_copy, is_lazy, on_meta, tensors_of
from skipway.skip.eager import eager
from skipway.skip.ending import Node, decides, ends_in_relu
from skipway.skip.parts import LAYERS, parts_of

_META = torch.device("meta")
_TAKE_ONE_WIDTH = (nn.Linear, _ConvNd, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class Trial(NamedTuple):
    """What a trial run showed."""

    shape: tuple[int, ...]  # of the output, or of the first of several
    several: bool  # whether a tuple of outputs came out
    ran: tuple[str, ...]  # names of `parts_of`, in the order in which they ran
    only: bool  # whether a layer took the input itself, and takes no other number of features
    last: str | None  # of `LAYERS`: whose output this is, but for what mixes no features; None if there is none
    ends_in_relu: bool
    overwrites: bool  # whether the module worked in place on its input


class TrialRuns:
    """Runs of a module's copy in evaluation mode, to be made `unnoticed`.

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
            copied = on_meta(self._module) if meta else full_copy(self._module)
            self._copies[meta] = copied.eval()
        return self._copies[meta]


@contextmanager
def unnoticed(module: nn.Module) -> Iterator[None]:
    """A context for trial runs: warnings are dropped, and torch's, Python's and numpy's random states put back.

    Hooks on all modules of the process, such as a profiler's, do not hear of the runs. What else the module's code
    keeps for itself, such as a counter in its class, advances.
    """
    numpy: Any = sys.modules.get("numpy.random")
    states = random.getstate(), numpy and numpy.get_state(legacy=False)
    with ExitStack() as contexts:
        for context in (torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(_gpus(module)), eager()):
            contexts.enter_context(context)
        contexts.enter_context(warnings.catch_warnings())
        contexts.enter_context(_without_global_hooks())
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(states[0])
            if numpy:
                numpy.set_state(states[1])


@contextmanager
def _without_global_hooks() -> Iterator[None]:
    """For the whole process, as those hooks hold for it: another thread's calls are not heard of meanwhile either."""
    kept = [(hooks, dict(hooks)) for hooks in (_global._global_forward_pre_hooks, _global._global_forward_hooks)]
    for hooks, _ in kept:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, before in kept:
            hooks.update(before)


def precision(module: nn.Module) -> torch.dtype | None:
    """The dtype of a module's first floating-point parameter; None if it has none."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), None)


def _run(module: nn.Module, shape: Sequence[int], device: torch.device | None) -> Trial:
    given = torch.empty(*shape, dtype=precision(module), device=device, requires_grad=True)
    layer: tuple[str | None, Node | None] = (None, None)  # the last one, and what made its output
    ran: list[str] = []
    took: list[bool] = []

    def begin(name: str, part: nn.Module, args: tuple[Any, ...]) -> None:
        # Without values, torch lets a transposed convolution take any number of channels.
        if isinstance(part, _ConvTransposeNd) and args[0].shape[1] != part.in_channels:
            raise ValueError(f"{part} does not take the shape {tuple(args[0].shape)}")
        ran.append(name)
        took.append(isinstance(part, _TAKE_ONE_WIDTH) and bool(args) and args[0] is z)

    def end(name: str, part: nn.Module, args: Any, output: Any) -> None:
        nonlocal layer
        layer = name, getattr(_first(output), "grad_fn", None)

    with ExitStack() as contexts:
        if device == _META:
            contexts.enter_context(device)  # for what the module makes by itself
        for name, part in parts_of(module).items():
            contexts.callback(part.register_forward_pre_hook(partial(begin, name)).remove)
            if isinstance(part, LAYERS):
                contexts.callback(part.register_forward_hook(partial(end, name)).remove)
        with torch.enable_grad():  # a graph is made, which tells what depends on what
            z = given.clone()
            start, writes = z.grad_fn, z._version
            found = module(*[z] * max(1, required_inputs(module)))
            output = _first(found)
            return Trial(
                shape=tuple(output.shape),
                several=isinstance(found, tuple),
                ran=tuple(ran),
                only=any(took),
                last=layer[0] if decides(layer[1], output, start) else None,
                ends_in_relu=ends_in_relu(output),
                overwrites=z._version != writes,
            )


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _gpus(module: nn.Module) -> list[int]:
    """Whose generators a run may draw from: the module's own GPU, and the current one."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    device = _device(module)
    own = device.index if device and device.type == "cuda" else None
    return sorted({torch.cuda.current_device()} | ({own} if own is not None else set()))


def _device(module: nn.Module) -> torch.device | None:
    return next((tensor.device for tensor in tensors_of(module)), None)


def required_inputs(module: nn.Module) -> int:
    """How many positional inputs a call needs: attention takes queries, keys and values."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)
