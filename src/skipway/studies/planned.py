"""What must be known before a study's first training: its pairs, its workers, its directory."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from skipway.data.dataset import Data
from skipway.nets.factory import FUNCTIONS, OWN, factory
from skipway.rundir.files import refuse_links
from skipway.rundir.integrity import read_study
from skipway.rundir.layout import STUDY, Json
from skipway.rundir.study import Study
from skipway.runs.definitions import Definition, read
from skipway.runs.plan import load_data
from skipway.runs.sending import packed
from skipway.settings.duration import seconds
from skipway.settings.limits import workers as most_workers
from skipway.settings.registry import UnknownNameError
from skipway.studies.cluster import Cluster
from skipway.studies.config import AUTO, StudyConfig
from skipway.studies.depths import Depths, depths_of
from skipway.studies.executor import Executor, LocalExecutor
from skipway.studies.grid import Cell, CellStack, PairMaker, Plan, checked
from skipway.studies.rounds import Rounds
from skipway.studies.trials import Trials
from skipway.studies.worker import Job
from skipway.training.execution import Execution
from skipway.training.machine import cores, usable_device

_LOG = logging.getLogger("skipway")
_MEMORY = ("store", "recompute")
_DIGITS = 8  # of a digest
_LEAST_BUDGET = 10.0  # seconds: to read data and start workers takes some
_USUAL_BUDGET = 600.0


@dataclass(frozen=True)
class PlannedStudy:
    """A study that is checked, of which nothing is trained yet."""

    study: Study
    plan: Plan
    pairs: list[Rounds]
    depths: Depths
    workers: int
    threads: int
    device: str
    recompute: bool
    definitions: bytes
    executor: Executor
    replicas: Json  # what trials of replicas showed, by the id of a gate's and depth's first cell; filled

    @property
    def ids(self) -> dict[Cell, str]:
        """The cells that were asked for so far."""
        return {cell: own for pair in self.pairs for cell, own in pair.ids.items()}

    def choices(self) -> Json:
        """What changes no number, as study.json tells it."""
        told: Json = {"workers": self.workers, "threads": self.threads}
        if self.replicas:
            told["replicas"] = self.replicas
        if self.depths.ends:
            told["depths"] = self.depths.ends
        return told

    def job(self, stack: CellStack) -> Job:
        """All that a worker must know to train a stack."""
        return Job(
            stack=stack,
            config=self.plan.config,
            device=self.device,
            threads=self.threads,
            asked=Execution(recompute=self.recompute),
            identities=tuple(self.plan.identity(cell) for cell in stack.cells),
            definitions=self.definitions,
        )


def default_out(config: StudyConfig) -> Path:
    """Where a study goes that is not told: ``studies/<data>-<net>``; with some of the code's digest, of a function's.

    Two functions may be called alike, as all that are written with `lambda` are.

    Raises:
        UnreadableError: if a function reaches what cannot be read.
    """
    address, options = re.fullmatch(r"(.*?)((?::\w+=.*)?)", config.data, flags=re.DOTALL).groups()  # type: ignore[union-attr]
    name = f"{Path(address).name}{options}-{config.net}"
    if config.net in FUNCTIONS:
        name = name.rstrip(">") + f"-{read(Definition('net', config.net, FUNCTIONS[config.net])).digest[:_DIGITS]}"
    return Path("studies") / re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def plan_study(
    config: StudyConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    device: str = "auto",
    memory: str = "store",
    budget: float | str | None = None,
    joined: Cluster | None = None,
    data: Data | None = None,
) -> PlannedStudy:
    """Check all of a study and find out who trains it; nothing is written.

    Args:
        config: what the study asks for.
        out: its directory; None is ``studies/<data>-<net>``, of a function with a digest.
        workers: processes that train at the same time; None is one a processor core, or one on a GPU.
        device: "auto", "cpu", "cuda" or another of torch's.
        memory: "store" or "recompute".
        budget: where depths are searched: no net is begun that is expected to end later. None is ten minutes.
        joined: the Ray cluster that trains; None is this machine.
        data: the config's, where they are read already.

    Raises:
        ValueError: if something is not valid.
    """
    if budget is not None and config.depths != AUTO:
        raise ValueError("a budget is for a study that searches depths: give it with --depths auto.")
    limit = _USUAL_BUDGET if budget is None else seconds(budget, "budget", least=_LEAST_BUDGET)
    if memory not in _MEMORY:
        raise UnknownNameError("memory", memory, _MEMORY)
    asked, config = config.gates, checked(config)
    if config.gates == (OWN,) != tuple(asked):
        _LOG.warning(
            "the net %s takes no gate, so %s %s not varied: this study is of one net at several depths.",
            *(
                config.net,
                " and ".join(filter(None, (", ".join(asked[:-1]), asked[-1]))),
                "was" if len(asked) == 1 else "were",
            ),
        )
    if config.depths == AUTO and not factory(config.net).takes_depth:
        raise ValueError(
            f"net {config.net} takes no depth, so --depths auto has nothing to search: let it take `depth`."
        )
    study = Study(Path(out) if out is not None else default_out(config))
    refuse_links(study.path)
    plan = Plan.of(config, data or load_data(config))
    own = packed(found for gate in plan.config.gates for found in plan.definitions(gate))
    device = joined.device(device) if joined else usable_device(device)
    tried = Trials(torch.device(device), recompute=memory == "recompute", decided=_decided(study))
    maker = PairMaker(plan, torch.device(device), tried)
    depths = depths_of(plan, maker, study, limit, workers or (cores() if device == "cpu" else 1))
    pairs = [Rounds(pair, plan) for pair in depths.first()]
    first = sum(len(Rounds(rounds.pair, plan).next()) for rounds in pairs)
    for sentence in most_workers(cores()).problems("workers", workers):
        raise ValueError(sentence)
    executor: Executor
    if joined:
        workers, threads, executor = min(joined.places(device), workers or first, first), 1, joined
    else:
        workers = workers or (min(cores(), first) if device == "cpu" else 1)
        threads, executor = max(1, cores() // workers), LocalExecutor(workers)
    return PlannedStudy(
        study, plan, pairs, depths, workers, threads, device, memory == "recompute", own, executor, tried.decided
    )


def _decided(study: Study) -> dict[str, Json]:
    """What trials of replicas showed when the study was started before."""
    if not os.path.lexists(study.path / STUDY):
        return {}
    return dict(read_study(study)["choices"].get("replicas", {}))
