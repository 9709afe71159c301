"""`skipway gates`: the gate rules and shortcuts that exist."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro


@dataclass(frozen=True)
class GatesCommand:
    """List the gate rules, the shortcuts, and their settings with defaults: --gates takes name:key=value,key=value."""


def run(arguments: Sequence[str]) -> int:
    """Print the registries."""
    tyro.cli(GatesCommand, args=[*arguments], prog="skipway gates")
    from rich.table import Table

    import skipway.nets.registry  # noqa: F401  (some rules live beside the net they were published with)
    from skipway.cli.console import Console
    from skipway.settings.registry import Registry, settings_of
    from skipway.skip.gate import GATES
    from skipway.skip.shortcuts import SHORTCUTS

    console = Console()
    registries: tuple[tuple[str, Registry[Any]], ...] = (("gate", GATES), ("shortcut", SHORTCUTS))
    for kind, registry in registries:
        table = Table(kind, "settings", "rule", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name, entry in registry.listed().items():
            settings = " ".join(f"{key}={value}" for key, value in settings_of(entry).items())
            table.add_row(name, settings, (inspect.getdoc(entry) or "").split("\n\n")[0].replace("\n", " "))
        console.print(table)
        console.print()
    return 0
