"""What a person sees of a training at its end."""

from __future__ import annotations

from rich.table import Table

from skipway.cli.console import Console
from skipway.report.files import run_info
from skipway.report.numbers import rounded
from skipway.rundir.run import Run

_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def show_run(run: Run) -> None:
    """Print a finished run's scores, and where it lies."""
    info = run_info(run)
    metrics, net = info["metrics"], info["net"]
    console = Console(soft_wrap=True)
    table = Table("", "loss", "error", box=None, header_style="bold", pad_edge=False)
    for name, words in _SPLITS.items():
        loss, error = metrics.get(f"{name}_loss"), metrics.get(f"{name}_error")
        if error is not None:
            table.add_row(words, rounded(loss, 4) if loss is not None else "not finite", f"{100 * error:.2f} %")
    console.print(f"{net['name']}: {net['parameters']:,} parameters, {metrics['steps']:,} steps")
    console.print(table)
    if info["status"] != "done":
        console.print(f"{info['status']}: {info['reason']}", style="bold red")
    if metrics["train_samples"]:
        console.print(f"Training scores: of the final weights, on {metrics['train_samples']:,} images.", style="dim")
    console.print(f"\nThe run: {run.path}")
