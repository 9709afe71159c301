"""Families of nets: what each says of itself, so that a depth and a gate make a net by name."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from skipway.nets.stack import SkipNet
from skipway.settings.registry import Registry, Spec, Value

FAMILIES: Registry[Family] = Registry("family")


@dataclass(frozen=True)
class NetName:
    """What a net's name says: its gate, its depth, and settings of its family where the name tells them."""

    gate: str
    depth: int
    settings: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Naming:
    """How a family names its nets, both ways."""

    name: Callable[..., str]  # (gate's name, depth, **settings) -> the net's name; it may pass settings over
    parse: Callable[[str], NetName | None]  # the reverse; None where a name is not of this family


def template(form: str) -> Naming:
    """Names of one form, such as ``{gate}-dense-{depth}``; the gate of a name need not exist."""
    pattern = re.compile(form.format(gate="(?P<gate>[a-z0-9-]+)", depth=r"(?P<depth>\d+)"))

    def name(gate: str, depth: int, **_: Any) -> str:
        return form.format(gate=gate, depth=depth)

    def parse(name: str) -> NetName | None:
        match = pattern.fullmatch(name)
        return NetName(match["gate"], int(match["depth"])) if match else None

    return Naming(name, parse)


def word_of(gate: str) -> str:
    """What stands for a gate in the names of He et al.'s nets: theirs are ResNets."""
    return "resnet" if gate == "residual" else gate


def gate_of(word: str) -> str:
    """The reverse of `word_of`."""
    return "residual" if word == "resnet" else word


@dataclass(frozen=True, kw_only=True)
class Family:
    """Nets of one kind: a depth and a gate make one.

    A subclass that names itself is registered, and `--net` takes it. It must have `make`; all else has a default::

        class Tower(sw.Family, name="tower"):
            @staticmethod
            def make(*, gate, depth, in_features, num_classes, width=32):
                bodies = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
                stem = nn.Sequential(nn.Flatten(), nn.Linear(in_features, width))
                return sw.SkipNet(stem, sw.skip_row(gate, bodies), nn.Linear(width, num_classes))

    `make` takes gate, depth, num_classes, what `inputs` gives for an image's shape, a width, and its own settings: its
    keyword-only arguments that have a plain default, which a specification may give (``dense:activation=tanh``).
    """

    name: str  # what --net calls it
    about: str  # one line
    depths: str  # the rule in words
    examples: tuple[str, ...]
    naming: Naming
    make: Callable[..., SkipNet]
    check_depth: Callable[..., None]  # (depth, those settings it asks for): raises ValueError with the nearest valid
    inputs: Callable[[tuple[int, ...]], dict[str, int]]  # of one input's shape, such as (channels, height, width)
    dims: int | None = 3  # of an input that its nets take: 3 for images; None for any number
    shape: tuple[int, int, int]  # of the images in its papers: channels, height, width
    classes: int = 10  # of those images
    recipe: str  # how its papers train it: a name of `skipway.training.recipe.RECIPES`
    study_depths: tuple[int, ...]  # what a study tries that is not told which
    version: int = 1  # of a family of ours; part of a run's identity: one more when its nets' numbers change

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            FAMILIES.add(name, cls(**{**_usual(cls, name), **_own_fields(cls)}))

    def net_name(self, gate: str, depth: int, **settings: Any) -> str:
        """The name of this family's net with this gate (a name or a specification), depth and settings."""
        return self.naming.name(Spec.parse(gate).name, depth, **settings)

    def data_settings(self, shape: tuple[int, ...], classes: int) -> dict[str, int]:
        """The arguments of `make` that data decide: an input's shape, such as (channels, height, width), and outputs.

        Raises:
            ValueError: if the nets do not take such inputs.
        """
        if self.dims not in (None, len(shape)):
            raise ValueError(
                f"nets of the family {self.name!r} take images, (channels, height, width); an input of these data "
                f"is of shape {shape}. The family dense takes inputs of any shape; so may a net of your own."
            )
        names = ("channels", "height", "width") if len(shape) == 3 else [f"size {i}" for i in range(len(shape))]
        check_counts(**dict(zip(names, shape, strict=True)))
        return {**self.inputs(shape), "num_classes": classes}


def _usual(cls: type[Family], name: str) -> dict[str, Any]:
    """The fields of a family that a subclass need not have: nets that take any input, flattened, of any depth.

    Raises:
        ValueError: if nets cannot be named by the name.
    """
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(
            f"family {name!r}: its nets are called by it, such as residual-tower-8, so it must be small letters, "
            "digits and hyphens."
        )
    return {
        "name": name,
        "about": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
        "depths": "any whole number from 1",
        "examples": tuple(f"{gate}-{name}-8" for gate in ("plain", "residual", "highway")),
        "naming": template(f"{{gate}}-{name}-{{depth}}"),
        "check_depth": _check_from_one,
        "inputs": _flattened,
        "dims": None,
        "shape": (1, 28, 28),
        "recipe": "dense",
        "study_depths": (4, 8, 16, 32),
    }


def _own_fields(cls: type[Family]) -> dict[str, Any]:
    """The fields that a subclass has.

    Raises:
        TypeError: if it has no `make`, or functions that are not static.
    """
    below = cls.__mro__[: cls.__mro__.index(Family)]
    own = {f.name: getattr(cls, f.name) for f in fields(cls) if any(f.name in vars(base) for base in below)}
    for key, value in own.items():
        if callable(value) and next(iter(inspect.signature(value).parameters), "") == "self":
            raise TypeError(f"family {cls.__name__}: {key} is a function of no instance: write @staticmethod above it.")
    if "make" not in own:
        raise TypeError(
            f"family {cls.__name__} needs make(*, gate, depth, in_features, num_classes): what makes a net."
        )
    return own


def _check_from_one(depth: int) -> None:
    if depth < 1:
        raise ValueError(f"such a net's depth is a whole number from 1; it is {depth}. Nearest: 1.")


def _flattened(shape: tuple[int, ...]) -> dict[str, int]:
    return {"in_features": math.prod(shape)}


def check_counts(**counts: int | None) -> None:
    """Hold counts, of classes, channels, pixels and the like, to their rule; None is one that was not given.

    Raises:
        ValueError: if one is below 1.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is a whole number from 1; it is {count}.")
