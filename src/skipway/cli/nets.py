"""`skipway nets`: the nets that exist, how their depths count, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tyro

from skipway.report.numbers import rounded

if TYPE_CHECKING:
    from rich.table import Table

    from skipway.cli.console import Console
    from skipway.nets.family import Family

_NOTE = (
    "Multiply-adds: products in convolutions and linear layers, in one forward pass for one image. "
    "Activations: what a training step in float32 keeps of one image for its backward pass."
)


@dataclass(frozen=True)
class NetsCommand:
    """List the families of nets: their bodies as --net takes them, names, depths, settings; or what some nets cost."""

    nets: tyro.conf.Positional[tuple[str, ...]] = ()
    """Any nets by name, such as resnet-110 highway-56; none: every family with examples."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of the images; by default those of each family's papers."""
    classes: int | None = None
    """Classes of the images; by default as many as in each family's papers."""


def run(arguments: Sequence[str]) -> int:
    """Print the registry, or a table of the nets that are named.

    Raises:
        ValueError: if there is no net of a name, or if it does not take such images.
    """
    command = tyro.cli(NetsCommand, args=[*arguments], prog="skipway nets")
    from skipway.cli.console import Console
    from skipway.nets.family import check_counts

    sides = dict(zip(("channels", "height", "width"), command.shape or (), strict=False))
    check_counts(**sides, classes=command.classes)
    console = Console()
    if command.nets:
        with console.status("counting"):
            table = _table(command.nets, command)
        console.print(table)
    else:
        _list_families(console, command)
    console.print(_NOTE, style="dim")
    return 0


def _list_families(console: Console, command: NetsCommand) -> None:
    from skipway.nets.registry import FAMILIES

    for family in FAMILIES.listed().values():
        _describe(console, family)
        try:
            with console.status("counting"):
                table = _table(family.examples, command)
            console.print(table)
        except ValueError as error:  # some families do not take images of every shape; the others still do
            console.print(f"  {error}")
        console.print()


def _describe(console: Console, family: Family) -> None:
    from rich.text import Text

    from skipway.settings.registry import settings_of

    settings = " ".join(f"{key}={value}" for key, value in settings_of(family.make).items()) or "none"
    console.print(Text.assemble((family.name, "bold"), f"  {family.about}"))
    console.print(f"  depth: {family.depths}")
    console.print(f"  settings: {settings}; any gate of `skipway gates`")


def _table(names: Iterable[str], command: NetsCommand) -> Table:
    from rich.table import Table

    from skipway.anatomy.cost import cost
    from skipway.nets.registry import build, parse_name

    table = Table(box=None, header_style="bold")
    table.add_column("net", overflow="fold")
    for column in ("images", "classes", "parameters", "multiply-adds", "activations"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        family, _ = parse_name(name)
        shape, classes = command.shape or family.shape, family.classes if command.classes is None else command.classes
        settings: dict[str, Any] = family.data_settings(shape, classes)
        found = cost(build(name, **settings), shape)
        count = _scaled(found.multiply_adds, 1000, ("", "k", "M", "G", "T"))
        memory = _scaled(found.activation_bytes, 1024, ("B", "KiB", "MiB", "GiB"))
        table.add_row(name, "x".join(map(str, shape)), str(classes), f"{found.parameters:,}", count, memory)
    return table


def _scaled(number: float, base: int, units: Sequence[str]) -> str:
    """Three digits and a unit: ``40.6 M``, ``1.45 MiB``."""
    place = 0
    while number >= 999.5 and place + 1 < len(units):
        number, place = number / base, place + 1
    return f"{rounded(number, 3)} {units[place]}".rstrip()
