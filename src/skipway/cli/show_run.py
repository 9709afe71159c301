"""What a person sees of a training at its end."""

from __future__ import annotations

from rich.table import Column, Table
from rich.text import Text

from skipway.cli.console import Console
from skipway.report.files import run_info
from skipway.report.metric import Metric, metric_of, samples_of
from skipway.report.numbers import rounded
from skipway.rundir.layout import Json
from skipway.rundir.run import Run

_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def show_run(run: Run) -> None:
    """Print a finished run's scores, and where it lies."""
    info = run_info(run)
    metrics, net = info["metrics"], info["net"]
    console = Console(soft_wrap=True)
    console.print(f"{net['name']}: {net['parameters']:,} parameters, {metrics['steps']:,} steps")
    console.print(_scores(metrics, metric_of(info)))
    if info["status"] != "done":
        console.print(f"{info['status']}: {info['reason']}", style="bold red")
    if metrics["train_samples"]:
        samples = f"{metrics['train_samples']:,} {samples_of(info)}"
        console.print(Text(f"Training scores: of the final weights, on {samples}.", style="dim"))
    console.print(f"\nThe run: {run.path}")


def _scores(metrics: Json, metric: Metric) -> Table:
    """Loss and metric of each split that was measured."""
    headings = [] if metric.is_loss else [Column(Text(metric.word))]
    table = Table("", "loss", *headings, box=None, header_style="bold", pad_edge=False)
    for name, words in _SPLITS.items():
        loss, value = metrics.get(f"{name}_loss"), metrics.get(f"{name}_{metric.name}")
        if value is not None:
            told = [] if metric.is_loss else [Text(metric.exact(value))]
            table.add_row(words, rounded(loss, 4) if loss is not None else "not finite", *told)
    return table
