"""Families of nets: what a body says of itself, so that a depth and a gate make a net by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from skipway.nets.stack import SkipNet
from skipway.registry import Spec, Value


@dataclass(frozen=True)
class NetName:
    """What a net's name says: its gate, its depth, and settings of its family where the name tells them."""

    gate: str
    depth: int
    settings: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Nets of one body: a depth and a gate make one.

    `make` takes gate, depth, num_classes, what `inputs` gives for an image's shape, a width, and its own settings: its
    keyword-only arguments that have a plain default, which a specification may give (``dense:activation=tanh``).
    """

    body: str  # the name after --body
    about: str  # one line
    depths: str  # the rule in words
    examples: tuple[str, ...]
    name: Callable[..., str]  # (gate's name, depth, **settings) -> the net's name; it may pass settings over
    parse: Callable[[str], NetName | None]  # the reverse; None where a name is not of this family
    make: Callable[..., SkipNet]
    check_depth: Callable[..., None]  # (depth, those settings it asks for): raises ValueError with the nearest valid
    inputs: Callable[[tuple[int, int, int]], dict[str, int]]  # (channels, height, width) -> arguments of make
    shape: tuple[int, int, int]  # of the images in its papers: channels, height, width
    recipe: str  # how its papers train it: a name of `skipway.training.recipe.RECIPES`
    study_depths: tuple[int, ...]  # what a study tries that is not told which

    def net_name(self, gate: str, depth: int, **settings: Any) -> str:
        """The name of this family's net with this gate (a name or a specification), depth and settings."""
        return self.name(Spec.parse(gate).name, depth, **settings)


@dataclass(frozen=True)
class Template:
    """Names of one form, such as ``{gate}-dense-{depth}``, both ways: a family's `name` and `parse`."""

    form: str

    def name(self, gate: str, depth: int, **settings: Any) -> str:
        """The form, filled in."""
        return self.form.format(gate=gate, depth=depth)

    def parse(self, name: str) -> NetName | None:
        """The parts of a name of this form; the gate need not exist."""
        match = re.fullmatch(self.form.format(gate="(?P<gate>[a-z0-9-]+)", depth=r"(?P<depth>\d+)"), name)
        return NetName(match["gate"], int(match["depth"])) if match else None
