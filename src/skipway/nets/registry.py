"""One registry of nets: families by body, nets by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from skipway.gates import GATES
from skipway.gates import canonical as canonical_gate
from skipway.nets import dense
from skipway.nets.stack import SkipNet
from skipway.registry import Registry, Spec, UnknownNameError, check_settings


@dataclass(frozen=True, kw_only=True)
class Family:
    """Nets of one body: a depth and a gate make one.

    `make` takes gate, depth, num_classes, what `inputs` gives for an image's shape, a width, and its own settings, which
    are the keyword-only arguments with a plain default and can be written in a specification (``dense:activation=tanh``).
    """

    body: str  # the name after --body
    about: str  # one line
    depths: str  # the rule in words
    pattern: str  # of its nets' names: groups gate and depth
    examples: tuple[str, ...]
    make: Callable[..., SkipNet]
    check_depth: Callable[..., None]  # (depth, **settings): raises ValueError with the nearest valid depths
    inputs: Callable[[tuple[int, int, int]], dict[str, int]]  # (channels, height, width) -> arguments of make

    def net_name(self, gate: str, depth: int) -> str:
        """The name of this family's net with this gate and depth."""
        return self.pattern.replace("(?P<gate>[a-z0-9-]+)", Spec.parse(gate).name).replace(
            r"(?P<depth>\d+)", str(depth)
        )


FAMILIES: Registry[Family] = Registry("body")
FAMILIES.add(
    "dense",
    Family(
        body="dense",
        about="fully connected: a plain first layer, then gated blocks of one width, then softmax",
        depths="any whole number from 1: the layers before the softmax layer",
        pattern=r"(?P<gate>[a-z0-9-]+)-dense-(?P<depth>\d+)",
        examples=("plain-dense-50", "residual-dense-50", "highway-dense-50"),
        make=dense.dense_net,
        check_depth=dense.check_depth,
        inputs=lambda shape: {"in_features": shape[0] * shape[1] * shape[2]},
    ),
)


def build(name: str, *, gate: str | None = None, **settings: Any) -> SkipNet:
    """Build a net by name, with fresh weights from torch's global generator.

    Args:
        name: such as ``highway-dense-50``.
        gate: the name's gate with settings: ``highway:bias=-4``.
        settings: the family's: ``in_features`` and ``num_classes`` for dense nets, and ``width``, ``activation``, ...

    Raises:
        ValueError: if the name, the gate or a setting is not valid; the message says what is.
        TypeError: if a setting is missing or unknown.
    """
    family, found = parse_name(name)
    if gate is not None and Spec.parse(gate).name != found["gate"]:
        raise ValueError(f"net {name!r} has the gate {found['gate']!r}, but gate={gate!r} was given: let them agree.")
    gate = canonical_gate(gate or found["gate"])
    net = family.make(gate=gate, depth=int(found["depth"]), **settings)
    net.architecture = {"name": name, "gate": gate, **settings}
    return net


def build_body(
    body: str, *, gate: str, depth: int, shape: tuple[int, int, int], classes: int, width: int | None
) -> SkipNet:
    """Build the net of a body's specification for images of a shape (channels, height, width).

    Raises:
        ValueError: as `build`.
    """
    spec = check_body(body)
    family = FAMILIES[spec.name]
    settings: dict[str, Any] = {**family.inputs(shape), "num_classes": classes, **dict(spec.settings)}
    if width is not None:
        settings["width"] = width
    return build(family.net_name(gate, depth), gate=gate, **settings)


def check_body(body: str) -> Spec:
    """A body's specification in canonical form.

    Raises:
        ValueError: if there is no such body or setting.
    """
    spec = Spec.parse(body)
    return check_settings(spec, FAMILIES[spec.name].make, "body")


def check_depth(body: str, depth: int) -> None:
    """Hold a depth to a body's rule.

    Raises:
        ValueError: with the rule and the nearest valid depths.
    """
    spec = check_body(body)
    known: Mapping[str, Any] = dict(spec.settings)
    FAMILIES[spec.name].check_depth(depth, **{key: known[key] for key in ("layers",) if key in known})


def parse_name(name: str) -> tuple[Family, dict[str, str]]:
    """Find a net's family and the parts of its name.

    Raises:
        ValueError: if no family has such a name.
    """
    for family in FAMILIES.values():
        match = re.fullmatch(family.pattern, name)
        if match:
            if match["gate"] not in GATES:
                raise UnknownNameError("gate", match["gate"], GATES)
            return family, match.groupdict()
    examples = [example for family in FAMILIES.values() for example in family.examples]
    raise UnknownNameError("net", name, examples)
