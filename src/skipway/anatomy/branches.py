"""The skips of somebody else's block, found by trial: which of its modules give F and S of a sum ``post(F + S)``.

Code is not read. A module's output is replaced by random numbers u and the block's input by x: if the block's output
stays the same whenever u + x does, it is a function of that sum, and the module's output is F beside an identity. Where
the shortcut is a module, its output takes the part of x. The block's later sums are found when F of the earlier ones is
held fixed: those of attention and MLP in a transformer's block.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipway.batch.trees import first_float, map_tensors, tensors
from skipway.skip.eager import eager
from skipway.skip.reading import read, space
from skipway.skip.trial import required_inputs

_BATCH, _LENGTH, _PIXELS, _ANY_WIDTH = 2, 5, 4, 8
_TOLERANCE = 1e-6  # of the largest output: norms of other people compute in float32
_SHAKEN = 0.1  # standard deviation of what is added to a copy's scales and biases


@dataclass(frozen=True)
class Branch:
    """A sum in a block: ``F + S``."""

    body: str  # the module, within the block, whose output is F
    shortcut: str | None  # the one whose output is S; None where S is what went into the sum before, at first the input


def branches_of(block: nn.Module, inputs: Any = None) -> tuple[Branch, ...]:
    """The sums of a block, in the order in which a forward pass comes to them; none where it is not made of sums.

    All that has weights lies in the F of a sum or in its shortcut, so that without every F the input is only carried,
    normalised and activated. The block and the random generators stay as they are; its parameters are shaken in a copy,
    so that no value with which they start looks like structure.

    Args:
        block: any module.
        inputs: the arguments and the keyword arguments of a call of it, whose first tensor goes into the first sum.
            Without them, it is tried on a small tensor for each of the inputs that it needs.
    """
    if next(block.children(), None) is None:
        return ()
    with torch.no_grad(), torch.random.fork_rng(), warnings.catch_warnings(), eager():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        try:
            trial = _Trial(block, inputs)
            found: list[Branch] = []
            while not (found and trial.is_complete(found)):
                found.append(next(trial.sums(found)))
        except Exception:  # a stranger's block: whatever it raises, nothing is known of it
            return ()
    return tuple(sorted(found, key=lambda branch: trial.order.index(branch.body)))


class _Trial:
    """Runs of a block's copy, with some of its modules' outputs replaced."""

    def __init__(self, block: nn.Module, inputs: Any) -> None:
        self._inputs = _inputs_of(block) if inputs is None else inputs
        self._first = next(tensors(self._inputs))
        self._x, self._other_x = (torch.randn(self._first.shape, dtype=torch.float64) for _ in range(2))
        self._block = _shaken(copy.deepcopy(block).cpu().double().eval())
        self.outputs: dict[str, Tensor] = {}
        self._takes: dict[str, int] = {}
        self._gives: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._behind: dict[str, set[str]] = {}  # what depends on a module's output
        self._y = self._see()
        self.order = [name for name in self.outputs if self._calls[name] == 1]  # in which they end

    def sums(self, found: Sequence[Branch]) -> Iterator[Branch]:
        """Sums beside those that were found."""
        held = {branch.body: torch.randn_like(self.outputs[branch.body]) for branch in found}
        # The last to end comes first, and with that what holds others before its parts.
        size = self._y.numel()  # not its shape: pixels may be a sequence meanwhile
        candidates = [n for n in reversed(self.order) if n not in held and self.outputs[n].numel() == size]
        for body in candidates:
            if size == self._x.numel() and self._is_sum_with_input(body, held):
                yield Branch(body, None)
        for body in candidates:
            for shortcut in candidates:
                if self._may_be(shortcut, body) and self._is_sum(body, shortcut, held):
                    yield Branch(body, shortcut)

    def is_complete(self, found: Sequence[Branch]) -> bool:
        """Whether no weights have a say beside F and S of these sums; scales and biases may."""
        held = {branch.body: torch.zeros_like(self.outputs[branch.body]) for branch in found}
        carried = self._run(self._x, held)
        shortcuts = [self._block.get_submodule(branch.shortcut) for branch in found if branch.shortcut is not None]
        own = {id(p) for shortcut in shortcuts for p in shortcut.parameters()}
        weights = [p for p in self._block.parameters() if id(p) not in own and sum(size > 1 for size in p.shape) > 1]
        before = [p.clone() for p in weights]
        for p in weights:
            p.add_(1)
        changed = self._run(self._x, held)
        for p, values in zip(weights, before, strict=True):
            p.copy_(values)
        return torch.equal(changed, carried)

    def _is_sum_with_input(self, body: str, held: Mapping[str, Tensor]) -> bool:
        u, x, other = _like(self.outputs[body]), self._x, self._other_x
        y = self._run(x, {**held, body: u})
        return _same(self._run(other, {**held, body: u + (x - other).view_as(u)}), y) and not _same(
            self._run(x, {**held, body: 2 * u}), y
        )

    def _is_sum(self, body: str, shortcut: str, held: Mapping[str, Tensor]) -> bool:
        u, s, other = (_like(self.outputs[body]) for _ in range(3))
        y = self._run(self._x, {**held, body: u, shortcut: s})
        return (
            _same(self._run(self._other_x, {**held, body: u, shortcut: s}), y)
            and _same(self._run(self._x, {**held, body: u + s - other, shortcut: other}), y)
            and not _same(self._run(self._x, {**held, body: 2 * u, shortcut: s}), y)
        )

    def _may_be(self, shortcut: str, body: str) -> bool:
        """Whether of two branches one is the shortcut: the body starts from it, or both fork where it starts."""
        if _nested(body, shortcut) or self.outputs[body].shape != self.outputs[shortcut].shape:
            return False
        if self._forks(shortcut):
            layers = [len(list(self._block.get_submodule(name).parameters())) for name in (shortcut, body)]
            return not self._forks(body) or layers[0] < layers[1]
        return self._depends(body, shortcut)

    def _forks(self, name: str) -> bool:
        """Whether a module takes the block's input, or what another takes as well, and does not hand on as it is."""
        taken = self._takes[name]
        others = [other for other, own in self._takes.items() if own == taken and self._gives[other] != taken]
        return taken == self._takes[""] or not all(_nested(other, name) for other in others)

    def _depends(self, name: str, other: str) -> bool:
        if other not in self._behind:
            found: dict[str, Tensor] = {}
            self._run(self._x, {other: _like(self.outputs[other])}, into=found)
            self._behind[other] = {own for own, output in found.items() if not torch.equal(output, self.outputs[own])}
        return name in self._behind[other]

    def _see(self) -> Tensor:
        """Run as it is, and note what each module takes and gives."""
        kept = []  # alive, so that no two tensors have one id

        def note(name: str) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                ends = next(tensors((args, kwargs)), None), first_float(output)
                kept.append(ends)
                self._takes[name], self._gives[name] = map(id, ends)
                self._calls[name] = self._calls.get(name, 0) + 1

            return hook

        with ExitStack() as hooks:
            for name, module in self._block.named_modules():
                hooks.callback(module.register_forward_hook(note(name), with_kwargs=True).remove)
            return self._run(self._x, {}, into=self.outputs)

    def _run(self, x: Tensor, replaced: Mapping[str, Tensor], into: dict[str, Tensor] | None = None) -> Tensor:
        """The block's output; where asked for, the outputs of its modules."""

        def after(name: str) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> Any:
                if name in replaced:
                    new = replaced[name].clone()  # what comes next may work in place
                    return (new, *output[1:]) if isinstance(output, tuple) else new
                first = first_float(output)
                if name and into is not None and first is not None:
                    into[name] = first.clone()
                return None

            return hook

        with ExitStack() as hooks:
            for name, module in self._block.named_modules():
                if into is not None or name in replaced:
                    hooks.callback(module.register_forward_hook(after(name)).remove)
            args, kwargs = map_tensors(lambda tensor: self._given(tensor, x), self._inputs)
            y = first_float(self._block(*args, **kwargs))
        assert y is not None
        return y

    def _given(self, tensor: Tensor, x: Tensor) -> Tensor:
        """An input of a run: what goes in first is x."""
        if tensor is self._first:
            return x.clone()
        return tensor.cpu().double() if tensor.is_floating_point() else tensor.cpu()


def _shaken(block: nn.Module) -> nn.Module:
    """The block with other scales and biases, and with weights where there are zeros."""
    for parameter in block.parameters():
        if parameter.ndim < 2 or not parameter.any():
            parameter.add_(_SHAKEN * torch.randn_like(parameter))
    return block


def _inputs_of(block: nn.Module) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Small inputs of the block's layout, if its output has that layout as well.

    Raises:
        ValueError: if it has another, or if that does not show.
    """
    found = read(block)
    if found.kind is None or found.stride == 0:
        raise ValueError(found.problem)
    width = found.features or _ANY_WIDTH
    shape = (_LENGTH, width) if found.kind == "linear" else (width, *(_PIXELS,) * space(found.kind))
    return [torch.randn(_BATCH, *shape) for _ in range(required_inputs(block))], {}


def _nested(name: str, other: str) -> bool:
    """Whether one of two modules lies within the other."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.") or "" in (name, other)


def _like(tensor: Tensor) -> Tensor:
    return torch.randn_like(tensor)


def _same(mine: Tensor, theirs: Tensor) -> bool:
    return mine.shape == theirs.shape and bool((mine - theirs).abs().max() <= _TOLERANCE * theirs.abs().max())
