"""One registry of nets: families, and nets by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from skipway.nets import cifar, dense, highway, highway_2025, imagenet
from skipway.nets.family import FAMILIES as FAMILIES
from skipway.nets.family import Family as Family
from skipway.nets.family import NetName, check_counts
from skipway.nets.stack import SkipNet
from skipway.settings.limits import DEPTH, WIDTH
from skipway.settings.registry import Spec, UnknownNameError, check_settings
from skipway.skip.gate import GATES
from skipway.skip.gate import canonical as canonical_gate

for _family in (dense.FAMILY, cifar.FAMILY, highway.MNIST, highway.CIFAR, highway_2025.FAMILY, imagenet.FAMILY):
    FAMILIES.add(_family.name, _family)

# What families count alike, under the names that their makers have for it.
_COUNTS = ("in_features", "in_channels", "image_size", "num_classes", "width")


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
    for key, told, given in _told_twice(found, gate, settings):
        raise ValueError(f"net {name!r} has the {key} {told!r}, but {key}={given!r} was given: let them agree.")
    gate = canonical_gate(gate or found.gate)
    settings = {**found.settings, **settings}
    check_counts(**{key: settings[key] for key in _COUNTS if key in settings})
    for sentence in WIDTH.problems("width", settings.get("width")):
        raise ValueError(f"net {name!r}: {sentence}")
    net: Any = family.make(gate=gate, depth=found.depth, **settings)
    if not isinstance(net, SkipNet):
        raise ValueError(f"family {family.name!r}: make must return a skipway.SkipNet; it returned {net!r}.")
    net.architecture = {"name": name, "gate": gate, **settings}
    return net


def build_family(
    spec: str, *, gate: str, depth: int, shape: tuple[int, ...], classes: int, width: int | None
) -> SkipNet:
    """Build the net of a family's specification for inputs of a shape, such as (channels, height, width).

    Raises:
        ValueError: as `build`.
    """
    parsed = check_family(spec)
    family = FAMILIES[parsed.name]
    settings: dict[str, Any] = {**family.data_settings(shape, classes), **dict(parsed.settings)}
    if width is not None:
        if "width" not in inspect.signature(family.make).parameters:
            raise ValueError(f"nets of the family {family.name!r} take no width, and {width} was asked for.")
        settings["width"] = width
    return build(family.net_name(gate, depth, **settings), gate=gate, **settings)


def check_family(spec: str) -> Spec:
    """A family's specification in canonical form.

    Raises:
        ValueError: if there is no such family or setting.
    """
    parsed = Spec.parse(spec)
    if parsed.name not in FAMILIES:
        _refuse_one_net(parsed.name)
        raise UnknownNameError("family of nets", parsed.name, FAMILIES)
    return check_settings(parsed, FAMILIES[parsed.name].make, "family")


def _refuse_one_net(name: str) -> None:
    """Say what family, gate and depth the name of one net stands for.

    Raises:
        ValueError: where it is one.
    """
    if not any(family.naming.parse(name) for family in FAMILIES.values()):
        return
    family, said = parse_name(name)
    raise ValueError(
        f"{name!r} is one net, and a family of nets is asked for: give {family.name!r}, with gate {said.gate!r} and "
        f"depth {said.depth}."
    )


def check_depth(spec: str, depth: int) -> None:
    """Hold a depth to a family's rule.

    Raises:
        ValueError: with the rule and the nearest valid depths.
    """
    parsed = check_family(spec)
    check = FAMILIES[parsed.name].check_depth
    asked = inspect.signature(check).parameters
    check(depth, **{key: value for key, value in parsed.settings if key in asked})


def is_family(name: str) -> bool:
    """Whether a name is a family's, and not a net's."""
    return FAMILIES.has(name) or (not _said_by(FAMILIES, name) and name in FAMILIES)


def parse_name(name: str) -> tuple[Family, NetName]:
    """Find a net's family and what its name says.

    Raises:
        ValueError: if no family has such a name, or if there is no such gate.
    """
    found = _said_by(FAMILIES, name)
    if not any(GATES.has(said.gate) for _, said in found):  # an installed package's family, or gate
        found = _said_by(FAMILIES.listed(), name)
    for sentence in [s for _, said in found for s in DEPTH.problems("depth", said.depth)]:
        raise ValueError(f"net {name!r}: {sentence}")
    for family, said in found:
        if GATES.has(said.gate):
            _check_dash(name, family, said)
            return family, said
    for _, said in found:
        raise UnknownNameError("gate", said.gate, GATES)
    examples = [example for family in FAMILIES.values() for example in family.examples]
    raise UnknownNameError("net", name, examples)


def _said_by(families: Mapping[str, Family], name: str) -> list[tuple[Family, NetName]]:
    return [(family, said) for family in families.values() if (said := family.naming.parse(name))]


def _check_dash(name: str, family: Family, said: NetName) -> None:
    """Refuse a name whose depth no net of its family has, where with a dash it is another family's: resnet20.

    Raises:
        ValueError: with both.
    """
    dashed = name.replace(str(said.depth), f"-{said.depth}", 1)
    other = next((own for own in FAMILIES.values() if own is not family and own.naming.parse(dashed)), None)
    if other is None:
        return
    try:
        family.check_depth(said.depth)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error} With a dash, {dashed!r} is a net of the family {other.name}.") from None


def _told_twice(said: NetName, gate: str | None, settings: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What a name says and an argument says otherwise: (setting, the name's value, the argument's)."""
    given = {**settings} if gate is None else {**settings, "gate": Spec.parse(gate).name}
    told = {"gate": said.gate, **said.settings}
    return [(key, value, given[key]) for key, value in told.items() if key in given and given[key] != value]
