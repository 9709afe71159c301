"""`skipway nets`: the nets that exist, and how their depths count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro


@dataclass(frozen=True)
class NetsCommand:
    """List the families of nets: their bodies as --body takes them, names, depths, settings and sizes."""

    shape: tuple[int, int, int] = (1, 28, 28)
    """Channels, height and width of the images that the parameters are counted for."""
    classes: int = 10
    """Classes that the parameters are counted for."""


def run(arguments: Sequence[str]) -> int:
    """Print the registry."""
    command = tyro.cli(NetsCommand, args=[*arguments], prog="skipway nets")
    from rich.console import Console
    from rich.table import Table

    from skipway.nets.registry import FAMILIES, build
    from skipway.registry import settings_of

    console = Console()
    for family in FAMILIES.values():
        console.print(f"[bold]{family.body}[/]  {family.about}", highlight=False)
        console.print(f"  depth: {family.depths}", highlight=False)
        settings = " ".join(f"{key}={value}" for key, value in settings_of(family.make).items())
        console.print(f"  settings: {settings}; any gate of `skipway gates`", highlight=False)
        table = Table("net", "parameters", box=None, header_style="bold", padding=(0, 2))
        for name in family.examples:
            inputs: dict[str, Any] = family.inputs(command.shape)
            net = build(name, num_classes=command.classes, **inputs)
            table.add_row(name, f"{sum(p.numel() for p in net.parameters()):,}")
        console.print(table)
    shape = " x ".join(map(str, command.shape))
    console.print(f"Parameters for images of {shape} and {command.classes} classes.", style="dim", highlight=False)
    return 0
