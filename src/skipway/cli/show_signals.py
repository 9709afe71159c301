"""What a person sees of one run, finished or under way: the ends of its curve, and its layers at its start and end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from skipway.cli.console import Console
from skipway.cli.main import DONE
from skipway.report.files import run_info, run_metrics, run_probes
from skipway.report.numbers import rounded
from skipway.report.printable import printable
from skipway.rundir.layout import METRICS, PROBES, Json
from skipway.rundir.run import Run

_QUANTITIES = {
    "activation_std": "activation",
    "gradient_norm": "gradient",
    "weight_gradient_norm": "weights' gradient",
    "transform_mean": "T",
    "carry_mean": "C",
}


def show_signals(folder: Path) -> int:
    """Print a run: how it stands, its curve's ends, and how signals travel through its layers.

    Raises:
        DamagedError: if a file is not what was written.
    """
    run = Run(folder)
    info = run_info(run)
    console = Console(width=None if Console().is_terminal else 140)
    net, reason = info["net"], info.get("reason")
    console.print(f"{net['name']}: {net['parameters']:,} parameters, {net['blocks']:,} blocks; {info['status']}")
    if reason:
        console.print(reason, style="bold red")
    for unseen in info.get("unseen", ()):
        console.print(f"Not seen: {unseen}.", style="dim")
    if (folder / METRICS).is_file() and (rows := run_metrics(run)):
        console.print(_curve_ends(rows))
    if (folder / PROBES).is_file() and (probes := run_probes(run)):
        console.print(_layers(probes))
        console.print("activation: standard deviation of a layer's output; gradient: its norm there.", style="dim")
    return DONE


def _curve_ends(rows: Sequence[Json]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    table = Table("step", *(printable(name.replace("_", " ")) for name in names), box=None, header_style="bold")
    for row in _ends(rows):
        table.add_row(f"{row['step']:,}", *(rounded(row.get(name), 4) for name in names))
    return table


def _layers(probes: Sequence[Json]) -> Table:
    """A row a layer; of each quantity that any layer has, its first and its last moment."""
    shown = _ends(list(dict.fromkeys(row["step"] for row in probes)))
    quantities = [name for name in _QUANTITIES if any(row[name] is not None for row in probes)]
    heads = [f"{_QUANTITIES[name]}\nstep {step:,}" for name in quantities for step in shown]
    table = Table("layer", "\nkind", *heads, box=None, header_style="bold")
    by_place = {(row["layer"], row["step"]): row for row in probes}
    for layer in sorted({row["layer"] for row in probes}):
        found = [by_place.get((layer, step), {}) for step in shown]
        known = next(filter(None, found))
        numbers = [rounded(row.get(name), 3) for name in quantities for row in found]
        table.add_row(printable(known["name"]), known["kind"], *numbers)
    return table


def _ends(items: Sequence[Any]) -> list[Any]:
    return [*items[:1], *items[1:][-1:]]
