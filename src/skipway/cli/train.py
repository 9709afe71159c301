"""`skipway train`: one net on your data, saved on the way, to the same bits however often it is stopped."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from skipway.cli.main import DONE, FAILED
from skipway.cli.own import use_net
from skipway.cli.settings import asks_for_batch_size, base_recipe, config_of, early
from skipway.cli.tell import tell
from skipway.runs.config import RunConfig
from skipway.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Train one net. Started again after any end, the same command goes on where it was, to the same bits.

    Several processes or machines: torchrun --nproc-per-node 2 -m skipway train ...; the batch is that of all together.

    Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM with its state saved.
    """

    resume: Path | None = None
    """The directory of a run to go on with; its settings are taken from there."""
    config: Path | None = None
    """A run.json whose settings to take; flags replace them one by one."""
    named: Annotated[str | None, tyro.conf.arg(name="recipe")] = None
    """A recipe by name, in place of the net's own: dense, he2015, he2015-110, highway-mnist, highway-cifar.
    Flags replace its fields one by one."""
    out: Path | None = None
    """The run's directory; runs/<id> if not given."""
    device: str = "auto"
    """auto, cpu, cuda or another of torch's devices."""
    memory: str = "store"
    """store, or recompute: the backward pass computes blocks again, for deep nets in little memory."""
    accumulate: int = 1
    """Let so many parts of a batch pass one after another, where a whole one does not fit."""
    precision: str = "float32"
    """float32, or bfloat16: products in half the bytes, weights and updates in float32."""
    save_every: float = 30.0
    """Seconds between two checkpoints; more where saving would take over a fiftieth of the time."""
    track: str | None = None
    """Tell the curves to tensorboard, wandb, mlflow or a tracker of your own, too."""
    settings: tyro.conf.OmitArgPrefixes[RunConfig] = field(default_factory=RunConfig)


def run(arguments: Sequence[str]) -> int:
    """Parse, train, print what came out.

    Raises:
        ValueError: for anything that is not valid in the settings or the data.
    """
    command = parse(arguments)
    # Everything that needs torch comes after the arguments were understood.
    from skipway.cli.console import Console
    from skipway.cli.progress import follow_training
    from skipway.cli.show_run import show_run
    from skipway.runs.plan import fitted_batch
    from skipway.runs.run import make_resources, resume_config, resume_precision, run_training
    from skipway.runs.trackers import tracker
    from skipway.training.machine import keep_memory
    from skipway.training.saving import Stopped
    from skipway.training.world import is_of_another, world

    keep_memory()
    config, out, precision = command.settings, command.out, command.precision
    if command.resume:
        config, out, precision = resume_config(command.resume), command.resume, resume_precision(command.resume)
    data = None
    if not asks_for_batch_size(arguments):
        with Console(stderr=True).status("Reading the data ..."):
            config, data = fitted_batch(config)
    own = world()
    speaks = own.rank == 0
    resources = make_resources(
        device=command.device,
        memory=command.memory,
        precision=precision,
        accumulate=command.accumulate,
        save_every=command.save_every,
        world=own,
    )
    asked = None if command.config or command.resume else shlex.join(["skipway", "train", *arguments])
    try:
        with follow_training(config.recipe.batch_size, speaks) as progress:
            tracked = [tracker(command.track, config)] if command.track and speaks else []
            trained = run_training(
                config, out, resources=resources, command=asked, hooks=[progress, *tracked], data=data
            )
    except Stopped as stop:
        if speaks:
            tell(f"skipway: {stop}; its state is saved: start the same command again to go on.")
        return 128 + stop.signal
    except MemoryError as error:
        tell(f"skipway: {error}")
        return FAILED
    except RuntimeError as error:
        if own.size == 1 or not is_of_another(error):
            raise
        tell(
            f"skipway: process {own.rank} of {own.size} ends, for another one has: start the same command again to "
            f"go on from the last checkpoint ({str(error).splitlines()[0]})"
        )
        return FAILED
    own.leave()
    if speaks:
        show_run(trained)
    return DONE


def parse(arguments: Sequence[str]) -> TrainCommand:
    """Read the flags over the settings of --config and --recipe, and over the recipe of the net's papers.

    Raises:
        ValueError: if the file or the recipe is not valid, if steps and epochs are both given, or --resume and a
            setting.
        SystemExit: with status 2 if a flag is not valid, with 0 after --help.
    """
    found = early(arguments, "--config", "--net", "--resume")
    use_net(found.net)
    base = RunConfig.from_dict(config_of(Path(found.config))) if found.config else _of_net(found.net)
    default = TrainCommand(settings=replace(base, recipe=base_recipe(found, base.recipe)))
    command = tyro.cli(TrainCommand, default=default, args=[*arguments], prog="skipway train")
    if command.resume and (
        replace(command.settings, net=default.settings.net) != default.settings
        or command.out
        or command.config
        or command.named
    ):
        raise ValueError("--resume takes all settings from the run's directory: leave the others away.")
    return command


def _of_net(name: str | None) -> RunConfig:
    if name is None:
        return RunConfig(recipe=Recipe(learning_rates=(0.1,)))
    # The nets need torch; help begins without it.
    from skipway.runs.defaults import default_config

    return default_config(name)
