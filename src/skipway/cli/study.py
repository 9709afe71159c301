"""`skipway study`: settings from a file, a named recipe and flags; then one call, and what it found."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from skipway.cli.main import DONE
from skipway.cli.own import use_net
from skipway.cli.settings import asks_for_batch_size, base_recipe, config_of, early
from skipway.cli.tell import say, tell
from skipway.rundir.integrity import read_study
from skipway.rundir.layout import STUDY
from skipway.rundir.study import Study
from skipway.settings.registry import Spec
from skipway.studies.config import StudyConfig

if TYPE_CHECKING:
    from skipway.data.dataset import Data


@dataclass(frozen=True, kw_only=True)
class StudyCommand:
    """Train gates x depths x learning rates x seeds on a data set, side by side.

    Prints a table and a verdict, and leaves a report. Started again after any end, it goes on where it was.

    Exit status: 0 done, 1 some cell failed, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM.
    """

    config: Path | None = None
    """A study.json or run.json whose settings to take; flags replace them one by one."""
    named: Annotated[str | None, tyro.conf.arg(name="recipe")] = None
    """A recipe by name, in place of the nets' own: dense, he2015, he2015-110, highway-mnist, highway-cifar.
    Flags replace its fields one by one."""
    match: str | None = None
    """What dense nets of all gates have in common, where --width gives them none: parameters (the default, as in the
    Highway paper), multiply-adds, or width. The same as --net dense:match=width."""
    out: Path | None = None
    """The study's directory; studies/<data>-<net> if not given."""
    workers: int | None = None
    """Processes that train at the same time; one a core, or one on a GPU, if not given."""
    device: str = "auto"
    """auto, cpu, cuda or another of torch's devices."""
    memory: str = "store"
    """store, or recompute: the backward pass computes blocks again, for deep nets in little memory."""
    ray: str | None = None
    """Train on a Ray cluster: its address, auto for the one that is running, local for one of this machine."""
    budget: str | None = None
    """With --depths auto: no net is begun that is expected to end later than so long after the start: 90s, 10m, 1h. Ten
    minutes if not given."""
    dry_run: bool = False
    """Only say how many trainings it is, about how long they take, how much memory and disk."""
    settings: tyro.conf.OmitArgPrefixes[StudyConfig] = field(default_factory=StudyConfig)


def run(arguments: Sequence[str]) -> int:
    """Parse, run the study, print what it found.

    Raises:
        ValueError: for anything that is not valid in the settings or the data.
    """
    command = parse(arguments)
    # Everything that needs torch comes after the arguments were understood.
    from skipway.cli.console import Console
    from skipway.cli.live import follow
    from skipway.cli.show import show
    from skipway.runs.plan import load_data, with_batch_that_fits
    from skipway.studies.grid import checked
    from skipway.studies.planned import default_out
    from skipway.studies.runner import run_study

    settings = command.settings
    with Console(stderr=True).status("Reading the data ..."):
        data = load_data(checked(settings))
        if not asks_for_batch_size(arguments):
            settings = with_batch_that_fits(settings, data)
    out = command.out or default_out(settings)
    # A study that took its settings from a file is made again from its own study.json, as its report says.
    asked = None if command.config else shlex.join(["skipway", "study", *arguments])
    if command.dry_run:
        return _tell_forecast(command, settings, data)
    _warn_of_another(out, settings)
    try:
        with follow() as watch:
            study = run_study(
                settings,
                out,
                workers=command.workers,
                device=command.device,
                memory=command.memory,
                ray=command.ray,
                budget=command.budget,
                command=asked,
                observer=watch,
                data=data,
            )
    except KeyboardInterrupt:
        tell("Interrupted: what was finished counts; start the same command again to go on.")
        show(out)
        raise
    return show(study.path)


def _tell_forecast(command: StudyCommand, settings: StudyConfig, data: Data) -> int:
    """Say how much work it is, and do none of it."""
    from contextlib import nullcontext

    from skipway.cli.console import Console
    from skipway.studies.cluster import cluster
    from skipway.studies.forecast import forecast, told
    from skipway.studies.planned import plan_study

    with cluster(command.ray) if command.ray else nullcontext() as joined:
        planned = plan_study(
            settings,
            command.out,
            workers=command.workers,
            device=command.device,
            memory=command.memory,
            budget=command.budget,
            joined=joined,
            data=data,
        )
        with Console(stderr=True).status("Timing a few steps ..."):
            found = forecast(planned)
    say("\n".join(told(planned, found)))
    return DONE


def _warn_of_another(out: Path, settings: StudyConfig) -> None:
    """Tell that a directory holds a study with other settings, before its report is replaced."""
    from skipway.studies.grid import checked

    if not os.path.lexists(out / STUDY):
        return
    before = StudyConfig.from_dict(read_study(Study(out))["config"])
    if before != checked(settings):
        tell(
            f"{out} holds a study with other settings. Its runs stay there (`skipway runs {out}`), and what both ask "
            "for is not computed again; its report is replaced by this one's.\n"
            "--out gives a study a directory of its own."
        )


def parse(arguments: Sequence[str]) -> StudyCommand:
    """Read the flags over the settings of --config and --recipe.

    Raises:
        ValueError: if the file or the recipe is not valid, or if steps and epochs are both given.
        SystemExit: with status 2 if a flag is not valid, with 0 after --help.
    """
    found = early(arguments, "--config", "--net")
    use_net(found.net)
    base = StudyConfig.from_dict(config_of(Path(found.config))) if found.config else _of_net(found.net)
    recipe = base_recipe(found, base.recipe)
    default = StudyCommand(settings=replace(base, recipe=recipe))
    command = tyro.cli(StudyCommand, default=default, args=[*arguments], prog="skipway study")
    if command.match is None:
        return command
    return replace(command, settings=replace(command.settings, net=_matched(command.settings.net, command.match)))


def _matched(net: str, match: str) -> str:
    """A family that is told what its nets have in common.

    Raises:
        ValueError: if it says something else already.
    """
    spec = Spec.parse(net)
    told = dict(spec.settings).get("match", match)
    if told != match:
        raise ValueError(f"--match {match} and --net {net} say two things: give one of them.")
    return str(Spec(spec.name, tuple({**dict(spec.settings), "match": match}.items())))


def _of_net(net: str | None) -> StudyConfig:
    if net is None:
        return StudyConfig()
    # The nets need torch; help and a study of dense nets begin without it.
    from skipway.studies.defaults import default_config

    return default_config(net)
