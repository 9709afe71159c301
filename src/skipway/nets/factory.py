"""What makes the nets of a study: a family of ours, or a function of somebody's own."""

from __future__ import annotations

import copy
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn

from skipway.batch.specification import Specification
from skipway.nets.registry import FAMILIES, build_family, check_depth, check_family
from skipway.nets.stack import SkipNet
from skipway.settings.registry import Spec
from skipway.skip.block import Skip
from skipway.skip.copies import hooked_parameter

OWN = "own"
"""The gate of nets whose maker takes none: whatever is built in."""
FUNCTIONS: dict[str, Callable[..., nn.Module]] = {}
"""Makers of one's own, by the name that stands in a config: ``package.module:function``."""
_TAKES = ("depth", "gate", "skip", "width", "seed", "specification")


class MakerError(ValueError):
    """A function of somebody's own that makes nets ended by an exception: its cause."""


class NetFactory(ABC):
    """Makes nets that differ in gate, depth, width and seed.

    Attributes:
        spec: how a config names it, in canonical form.
        recipe: how its nets are trained unless somebody says otherwise: a name of a recipe.
        depths: those that a study tries that is not told which.
        takes_gate: whether its nets differ by gate.
        takes_depth: whether they differ by depth.
    """

    spec: str
    recipe: str
    depths: tuple[int, ...]
    takes_gate: bool = True
    takes_depth: bool = True

    @abstractmethod
    def check_depth(self, depth: int) -> None:
        """Hold a depth to its rule.

        Raises:
            ValueError: with the rule and the nearest valid depths.
        """

    @abstractmethod
    def make(self, about: Specification, *, gate: str, depth: int, width: int | None, seed: int) -> nn.Module:
        """A net with fresh weights from torch's global generator, which is seeded by `seed` already."""

    @abstractmethod
    def architecture(
        self, net: nn.Module, about: Specification, *, gate: str, depth: int, width: int | None
    ) -> dict[str, Any]:
        """What builds a net again, and its name: as run.json and the weights' file hold it."""

    @abstractmethod
    def named(self) -> Iterator[tuple[str, str]]:
        """What may be somebody's own: pairs of a registry's kind and a name in it."""

    def build(self, about: Specification, *, gate: str, depth: int, width: int | None, seed: int) -> nn.Module:
        """A net with its initial weights, which the seed decides; torch's global generator is left as it was.

        Args:
            about: what it is for.
            gate: a specification.
            depth: as the factory counts it.
            width: None is the factory's own choice.
            seed: of the initial weights.

        Raises:
            ValueError: if such a net cannot be.
            MakerError: if a function of somebody's own ends by an exception.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make(about, gate=gate, depth=depth, width=width, seed=seed)


class FamilyFactory(NetFactory):
    """A family's nets.

    Args:
        spec: the family, with settings if need be: ``dense``, ``cifar:order=pre``.
    """

    def __init__(self, spec: str) -> None:
        self._parsed = check_family(spec)
        family = FAMILIES[self._parsed.name]
        self.spec, self.recipe, self.depths = str(self._parsed), family.recipe, family.study_depths

    def check_depth(self, depth: int) -> None:
        check_depth(self.spec, depth)

    def make(self, about: Specification, *, gate: str, depth: int, width: int | None, seed: int) -> nn.Module:
        if about.outputs is None:
            raise ValueError(
                "nobody can tell how many values a net must answer with for this task: use a net of your own."
            )
        return build_family(self.spec, gate=gate, depth=depth, shape=about.shape, classes=about.outputs, width=width)

    def architecture(
        self, net: nn.Module, about: Specification, *, gate: str, depth: int, width: int | None
    ) -> dict[str, Any]:
        return cast(SkipNet, net).architecture

    def named(self) -> Iterator[tuple[str, str]]:
        yield "family", self._parsed.name
        settings = dict(self._parsed.settings)
        if "shortcut" in settings:  # the family's own choice is the family's to answer for
            yield "shortcut", Spec.parse(str(settings["shortcut"])).name


class FunctionFactory(NetFactory):
    """Nets that a function of somebody's own makes.

    Args:
        spec: how a config names it.
        function: it may take depth, gate (a specification), skip (a maker of `Skip`: ``skip(body)``), width, seed and
            specification, by these names; what it does not take, or `functools.partial` binds, is not varied.

    Raises:
        ValueError: if it takes something else that has no default.
    """

    def __init__(self, spec: str, function: Callable[..., nn.Module]) -> None:
        self.spec, self._function = spec, function
        self.recipe, self.depths = "dense", (4, 8, 16, 32)
        parameters = inspect.signature(function).parameters
        # What a functools.partial binds is its user's choice, though its signature still shows it.
        bound = function.keywords if isinstance(function, functools.partial) else {}
        self._takes = {name for name in _TAKES if name in parameters and name not in bound}
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        wanted = {name for name, p in parameters.items() if p.default is p.empty and p.kind in named}
        if unknown := wanted - set(_TAKES):
            raise ValueError(
                f"net {spec}: it asks for {', '.join(sorted(unknown))}, which a study cannot give. It may take "
                f"{', '.join(_TAKES)}; give whatever else it needs a default."
            )
        self.takes_gate = bool(self._takes & {"gate", "skip"})
        self.takes_depth = "depth" in self._takes

    def check_depth(self, depth: int) -> None:
        if depth < 0:
            raise ValueError(f"depth is a whole number from 0; it is {depth}.")

    def make(self, about: Specification, *, gate: str, depth: int, width: int | None, seed: int) -> nn.Module:
        given: dict[str, Any] = {"depth": depth, "gate": gate, "seed": seed, "specification": about}
        if width is not None:
            if "width" not in self._takes:
                raise ValueError(f"net {self.spec}: it takes no width, and {width} was asked for: leave it away.")
            given["width"] = width
        if "skip" in self._takes:
            given["skip"] = _Maker(gate, self._blocks(given))
        net = self._call(given)
        if not isinstance(net, nn.Module):
            raise ValueError(f"net {self.spec}: it must return a torch.nn.Module; it returned a {type(net).__name__}.")
        return net

    def _blocks(self, given: dict[str, Any]) -> int:
        """How many blocks a net has: the function makes one more, so that each block can be told its place."""
        maker = _Maker(given["gate"], 1)
        with torch.random.fork_rng():
            self._call({**given, "skip": maker})
        return maker.made

    def _call(self, given: dict[str, Any]) -> Any:
        try:
            return self._function(**{name: value for name, value in given.items() if name in self._takes})
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # whatever somebody's function makes of it
            raise MakerError(f"net {self.spec}: {type(error).__name__}: {error}") from error

    def architecture(
        self, net: nn.Module, about: Specification, *, gate: str, depth: int, width: int | None
    ) -> dict[str, Any]:
        told = {"depth": depth, "gate": gate, "width": width}
        given = {name: value for name, value in told.items() if value is not None and value != OWN}
        if "specification" in self._takes:
            given["specification"] = about.to_dict()
        return {"name": f"{self.spec}-{depth}", "function": self.spec, **given}

    def named(self) -> Iterator[tuple[str, str]]:
        yield "net", self.spec


class _Maker:
    """What a function gets as `skip`: it puts body after body behind the gate, and tells each block its place."""

    def __init__(self, gate: str, count: int) -> None:
        self._gate, self._count = gate, count
        self.made = 0

    def __call__(self, body: nn.Module, **settings: Any) -> Skip:
        place = {"index": min(self.made, self._count - 1), "count": self._count}
        self.made += 1
        return Skip(self._gate, body, **{**place, **settings})


def factory(spec: str) -> NetFactory:
    """The factory that a config names.

    Raises:
        ValueError: if there is no such family and no such function is known. Nothing is ever imported that a file
            names: a function is known once its user has given it (`use`).
    """
    if spec in FUNCTIONS:
        return FunctionFactory(spec, FUNCTIONS[spec])
    if is_function_name(spec):
        raise ValueError(
            f"net {spec} is a function of somebody's own, and is not known here: give it again, as --net {spec} at the "
            "prompt or net=the_function in Python."
        )
    return FamilyFactory(spec)


def use(function: Callable[..., nn.Module], spec: str | None = None) -> str:
    """Let configs name a function; the latest of a name counts.

    Args:
        function: that makes nets.
        spec: its name; None is its module's and its own.
    """
    name = spec or f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    FUNCTIONS[name] = function
    return name


def use_module(module: nn.Module) -> str:
    """Let configs name a module as it is, with its weights: each training begins with a copy of it.

    Raises:
        ValueError: if a parameter of it has hooks, which a copy has not.
    """
    hooked = hooked_parameter(module)
    if hooked is not None:
        raise ValueError(
            f"the parameter {hooked} of this {type(module).__name__} has hooks. A module is copied before it is "
            "trained, and a copy has no hooks on its parameters. Give a function that makes the net and registers "
            "them, or compute their effect in the net's forward."
        )
    return use(_Given(module), f"module:{type(module).__qualname__}")


class _Given:
    """Makes copies of one module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self) -> nn.Module:
        return copy.deepcopy(self.module)


def is_function_name(spec: str) -> bool:
    """Whether a text is ``package.module:function`` and no family with settings."""
    module, colon, function = spec.partition(":")
    return bool(colon) and "=" not in function and module not in FAMILIES
