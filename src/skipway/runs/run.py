"""One training as a run directory: begun, saved on the way, gone on with, finished."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from skipway.data.dataset import Data
from skipway.nets.weights import load_net, weights_bytes
from skipway.rundir.elsewhere import finished_elsewhere
from skipway.rundir.files import DamagedError, clear_sides, refuse_links
from skipway.rundir.integrity import read_run
from skipway.rundir.layout import CHECKPOINT, LOCK, RUN, WEIGHTS, Json
from skipway.rundir.locks import BusyError, locked
from skipway.rundir.records import FINISHED, WATCHED
from skipway.rundir.run import Run, copy_run
from skipway.runs.advice import what_would_fit
from skipway.runs.computed import computed
from skipway.runs.config import RunConfig
from skipway.runs.failure import told
from skipway.runs.fit import Fit, Resources, describe, scores_on, status, train_nets
from skipway.runs.plan import PlannedRun, plan_run, specification
from skipway.runs.recorder import Recorder
from skipway.settings.registry import UnknownNameError
from skipway.tasks.make import saved_task
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import Execution
from skipway.training.loop import Hook, Row
from skipway.training.machine import cores, environment, machine, usable_device
from skipway.training.replicas import Single
from skipway.training.saving import Stopped, stopping_tidily
from skipway.training.world import ALONE, World

MEMORY, PRECISION = ("store", "recompute"), ("float32", "bfloat16")


def run_training(
    config: RunConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    resources: Resources | None = None,
    command: str | None = None,
    hooks: Sequence[Hook] = (),
    data: Data | None = None,
) -> Run:
    """Train a net, or go on with it: what is found in its directory is not computed again.

    SIGTERM and Ctrl-C save the state before they end it. Under torchrun every process calls this with the same
    arguments; process 0 writes.

    Args:
        config: what to train.
        out: the run's directory; None is ``runs/<id>``.
        resources: device, processes, memory; its checkpoints are this run's own.
        command: the shell command that asked for it.
        hooks: are told how it goes on.
        data: those that the config names, where they are at hand.

    Raises:
        ValueError: if the config or the data is not valid, or the directory holds another training.
        BusyError: if another process is training in the directory.
        Stopped: after a signal, once the state is saved.
        MemoryError: if it does not fit; the message says what would.
    """
    resources = resources or Resources()
    planned = plan_run(config, bfloat16=resources.asked.bfloat16, data=data)
    folder = Path(out) if out is not None else Path("runs") / planned.id
    refuse_links(folder)
    if _is_finished(_found(folder, planned)) and not (folder / CHECKPOINT).exists():
        return Run(folder)
    with _sole_writer(folder, resources.world):
        _run(planned, folder, resources, command, hooks)
    return Run(folder)


def _run(planned: PlannedRun, folder: Path, resources: Resources, command: str | None, hooks: Sequence[Hook]) -> None:
    before = _found(folder, planned)
    checkpoints = Checkpoints(folder / CHECKPOINT, (planned.id,))
    if _is_finished(before):
        checkpoints.clear()
        return
    if not before and resources.world.size == 1 and (found := finished_elsewhere(planned.id, folder)):
        copy_run(found, folder)
        _score_on_test(Run(folder), planned, resources)
        return
    resources = _as_before(replace(resources, checkpoints=checkpoints), before)
    threads = int(before.get("choices", {}).get("threads", max(1, cores() // _processes_here(resources))))
    record = _Record(folder, planned, resources, threads, command, before.get("started"))
    record.start()
    try:
        with machine(threads), stopping_tidily():
            fit = _fit(planned, resources, [record, *hooks])
            net, seed = Single(planned.net.to(resources.device)), planned.config.seed
            tested = scores_on(net, planned.data.test, fit.pipeline, fit.task, resources, "test", seed)
    except (Stopped, KeyboardInterrupt):
        record.stop("interrupted")
        raise
    except Exception as error:
        record.stop("failed", told(error))
        raise
    record.finish(fit, tested[0])


def _score_on_test(run: Run, planned: PlannedRun, resources: Resources) -> None:
    """Add the test scores of a run that a study finished: it reads the test split for its chosen runs alone."""
    if "test_loss" in run.info()["metrics"]:
        return
    saved = load_net(run.checked(WEIGHTS), lambda: planned.net)
    net, pipeline = Single(saved.net.to(resources.device)), planned.data.restored(saved.preprocess)
    seed = planned.config.seed
    run.update_metrics(scores_on(net, planned.data.test, pipeline, planned.task, resources, "test", seed)[0])


def make_resources(
    *,
    device: str = "auto",
    memory: str = "store",
    precision: str = "float32",
    accumulate: int = 1,
    save_every: float | None = None,
    world: World = ALONE,
) -> Resources:
    """What a training runs with, from words.

    Args:
        device: "auto", "cpu", "cuda" or another of torch's; of several processes, each has its own.
        memory: "store" or "recompute".
        precision: "float32" or "bfloat16".
        accumulate: parts of a batch that pass one after another.
        save_every: seconds between two checkpoints.
        world: the processes that share every batch.

    Raises:
        ValueError: if one is not valid; the message says what is.
    """
    for name, value, valid in (("memory", memory, MEMORY), ("precision", precision, PRECISION)):
        if value not in valid:
            raise UnknownNameError(name, value, valid)
    if accumulate < 1:
        raise ValueError(f"accumulate is a number of parts, 1 or more; it is {accumulate}.")
    if save_every is not None and not 0 <= save_every < math.inf:
        raise ValueError(f"save_every is a number of seconds, 0 or more; it is {save_every}.")
    return Resources(
        device=world.device or usable_device(device),
        asked=Execution(recompute=memory == "recompute", bfloat16=precision == "bfloat16"),
        accumulate=accumulate,
        world=world,
        seconds_between_checkpoints=save_every,
    )


def resume_config(folder: Path) -> RunConfig:
    """The config of a run that was begun in a folder.

    Raises:
        ValueError: if there is none.
    """
    if not os.path.lexists(folder / RUN):
        raise ValueError(f"{folder} holds no {RUN}: give the directory of a run that `skipway train` began.")
    info = read_run(Run(folder))
    if info.get("kind") == WATCHED:
        raise ValueError(f"{folder} holds a run that was watched; the loop that it watched goes on with it.")
    if "net" not in info["config"]:
        raise ValueError(f"{folder} holds a study's run; `skipway study` goes on with those.")
    return RunConfig.from_dict(info["config"])


def resume_precision(folder: Path) -> str:
    """The precision that a run was begun with, in a folder that `resume_config` has read: one of `PRECISION`."""
    return PRECISION[Run(folder).info().get("choices", {}).get("bfloat16", False)]


def _fit(planned: PlannedRun, resources: Resources, hooks: Sequence[Hook]) -> Fit:
    recipe, config = planned.config.recipe, planned.config
    try:
        return train_nets(
            *([planned.net], planned.data, planned.task, recipe),
            seeds=[config.seed],
            rates=[config.learning_rate],
            resources=resources,
            hooks=hooks,
        )
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        share = recipe.batch_size // resources.world.size
        raise MemoryError(what_would_fit(planned.net, planned.data.spec.example(), share, resources)) from error


@contextmanager
def _sole_writer(folder: Path, world: World) -> Iterator[None]:
    """Nobody else trains in this folder; process 0 holds the lock, and all hear whether it got it."""
    remedy = "wait for it, or give this one a directory of its own with --out."
    with ExitStack() as held:
        told = None
        if world.rank == 0:
            try:
                held.enter_context(locked(folder / LOCK, f"{{holder}} is training in {folder}: {remedy}"))
                clear_sides(folder)
            except BusyError as error:
                told = str(error)
        if told := world.gather(told)[0]:
            raise BusyError(told)
        yield


def _is_finished(info: Json) -> bool:
    return info.get("status") in FINISHED


def _found(folder: Path, planned: PlannedRun) -> Json:
    """What the directory says of this training; empty where it is not begun."""
    if not os.path.lexists(folder / RUN):
        if os.path.lexists(folder / WEIGHTS):  # they are written last but run.json, which was there before
            raise DamagedError(folder / RUN, f"it is missing, and {WEIGHTS} is there")
        return {}
    info = read_run(Run(folder))
    if info["id"] != planned.id:
        raise ValueError(
            f"{folder} holds another training ({info['id']}; this one is {planned.id}): give this one a directory "
            "of its own with --out, or leave --out away."
        )
    return info


def _as_before(resources: Resources, before: Json) -> Resources:
    """The choices that a training was begun with decide its last bits: they are taken over."""
    choices = before.get("choices")
    if not choices:
        return resources
    asked = Execution(recompute=choices["recompute"], bfloat16=choices["bfloat16"])
    return replace(resources, asked=asked, accumulate=choices["accumulate"])


def _processes_here(resources: Resources) -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if resources.world.size > 1 else 1


class _Record(Hook):
    """Our loop's recorder; of several processes, only number 0 writes."""

    def __init__(
        self,
        folder: Path,
        planned: PlannedRun,
        resources: Resources,
        threads: int,
        command: str | None,
        started: str | None,
    ) -> None:
        self._plan, self._resources, self._writes = planned, resources, resources.world.rank == 0
        config = planned.config
        self._architecture = planned.nets.architecture(
            planned.net,
            specification(planned.data, planned.task),
            gate=config.gate or "",
            depth=config.depth or 0,
            width=config.width,
        )
        about: Json = {
            "choices": {
                "device": resources.device,
                "threads": threads,
                "processes": resources.world.size,
                "accumulate": resources.accumulate,
                **resources.asked.to_dict(),
            },
            "command": command,
            "cell": planned.cell,
            "net": describe(planned.net, self._architecture, planned.data.spec.example()),
            "task": planned.task.describe(),
            "data": {"samples": planned.data.samples},
            "identity": planned.identity,
            "config": planned.config.to_dict(),
            "environment": environment(resources.device),
        }
        self._recorder = Recorder(folder, planned.id, about, started=started)

    def start(self) -> None:
        """Say that it runs."""
        if self._writes:
            self._recorder.start()

    def stop(self, status: str, reason: str | None = None) -> None:
        """Say that it ended before its time."""
        if self._writes:
            self._recorder.end(status, reason)

    def finish(self, fit: Fit, tested: Row) -> None:
        """Write all that the run leaves; its checkpoints are of no more use."""
        if not self._writes:
            return
        resources, about = self._resources, self._recorder.about
        about["choices"] |= fit.execution.to_dict()
        about["computed"] = computed(
            resources.device,
            about["choices"]["threads"],
            fit.execution,
            processes=resources.world.size,
            accumulate=resources.accumulate,
        )
        fitted = saved_task(self._plan.config.task or self._plan.data.task, fit.task)
        weights = weights_bytes(
            fit.nets[0], fit.pipeline.to_dict(), self._plan.data.spec.classes, self._architecture, fitted=fitted
        )
        self._recorder.rows = fit.curves.rows[0]
        self._recorder.end(*status(fit, 0), {**fit.metrics[0], **tested}, probes=fit.probes[0], weights=weights)
        assert resources.checkpoints is not None
        resources.checkpoints.clear()

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        if self._writes:
            self._recorder.interval(rows[0])

    def state_dict(self) -> Json:
        return {"rows": self._recorder.rows}

    def load_state_dict(self, state: Json) -> None:
        self._recorder.rows = list(state["rows"])
