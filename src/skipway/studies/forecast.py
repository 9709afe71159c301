"""How much work a study is, before any of it is done: trainings, time, memory, disk."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from skipway.studies.config import AUTO
from skipway.studies.grid import CellStack, Pair
from skipway.studies.planned import PlannedStudy
from skipway.studies.rounds import Rounds
from skipway.studies.worker import compute

_STEPS = (4, 20)
"""Trainings of so many steps are timed: what the longer one takes more is its steps'."""
_START = 5.0
"""Seconds until workers train: they import torch and read the data."""
_CURVES = 60_000
"""Bytes of a run beside its weights, about."""


@dataclass(frozen=True)
class Forecast:
    """What a study is expected to take."""

    trainings: int
    """In all, about."""
    finished: int
    """Of them on disk already."""
    seconds: float
    """That the others take, about."""
    timed: tuple[Pair, ...]
    """By a few steps of these: the cheapest net and the dearest."""
    memory: int
    """Bytes that a process needed for the dearest; this one, in which Python and the data are, too."""
    disk: int
    """Bytes of all runs, about."""
    workers: int


@dataclass(frozen=True)
class _Pace:
    """What a training takes: seconds before its first step and after its last, and for each step."""

    cost: float
    fixed: float
    step: float


def forecast(planned: PlannedStudy) -> Forecast:
    """What a study is expected to take; nothing is written.

    Between the cheapest net and the dearest, time is taken to grow as the number of parameters does.
    """
    pairs = planned.pairs
    finished = sum(_replayed(rounds, planned) for rounds in pairs)
    by_cost = sorted((rounds for rounds in pairs if not rounds.ended), key=lambda rounds: rounds.pair.cost)
    timed = [by_cost[0], by_cost[-1]] if len(by_cost) > 1 else by_cost
    paces = [_pace(planned, rounds) for rounds in timed]
    steps = planned.plan.config.recipe.total_steps(len(planned.plan.data.train))
    left = [(max(0, rounds.expected - rounds.inside), rounds.pair) for rounds in by_cost]
    work = sum(number * _seconds(paces, pair.cost, steps) for number, pair in left)
    # Of the dearest pair, one round waits for the other.
    longest = max((number * _seconds(paces, pair.cost, steps) for number, pair in left), default=0.0)
    busy = any(number for number, _ in left)
    return Forecast(
        trainings=sum(rounds.expected for rounds in pairs),
        finished=finished,
        seconds=busy * _START + max(work / planned.workers, longest),
        timed=tuple(rounds.pair for rounds in timed),
        memory=_peak(),
        disk=sum(rounds.expected * (4 * rounds.pair.parameters + _CURVES) for rounds in pairs),
        workers=planned.workers,
    )


def told(planned: PlannedStudy, found: Forecast) -> list[str]:
    """The same in lines."""
    config = planned.plan.config
    depths = "depths that are searched" if config.depths == AUTO else f"depths {_listed(config.named_depths)}"
    done = f", {found.finished} of them on disk" if found.finished else ""
    at_least = " for the first depth of each gate" if config.depths == AUTO else ""
    by = " and ".join(f"{pair.gate} at depth {pair.depth}" for pair in found.timed)
    return [
        f"Gates {_listed(config.gates)}; {depths}; seeds {_listed(config.seeds)}; search: {config.search}.",
        f"About {found.trainings} trainings{at_least}{done}.",
        f"About {_clock(found.seconds)} on {found.workers} worker{'s' * (found.workers > 1)}, by a few steps of {by}."
        if found.timed
        else "Nothing is left to be trained.",
        f"About {found.memory / 2**30:.1f} GiB of memory for each worker, and {found.disk / 2**20:,.0f} MiB on disk in "
        f"{planned.study.path}.",
    ]


def _replayed(rounds: Rounds, planned: PlannedStudy) -> int:
    """Take in the rounds of a pair that are on disk. Returns the number of runs."""
    while not rounds.ended:
        ids = [own for stack in rounds.next() for own in stack.ids]
        there = [own for own in ids if planned.study.has(own)]
        rounds.take(planned.study, there)
        if len(there) < len(ids):
            break
    return rounds.inside


def _pace(planned: PlannedStudy, rounds: Rounds) -> _Pace:
    """How fast a pair's first round is trained, a training's share of it."""
    stack = rounds.pair.stacks(planned.plan, list(rounds.ids)[: rounds.pair.way.replicas])[0]
    _timed(planned, stack, 1)  # the first training of a process loads what torch loads late
    short, long = (_timed(planned, stack, steps) for steps in _STEPS)
    step = max(0.0, long - short) / (_STEPS[1] - _STEPS[0])
    return _Pace(rounds.pair.cost, max(0.0, short - _STEPS[0] * step), step)


def _timed(planned: PlannedStudy, stack: CellStack, steps: int) -> float:
    """Seconds that each training of a stack of so many steps takes."""
    job = planned.job(stack)
    recipe = replace(job.config.recipe, steps=steps, epochs=None)
    began = time.perf_counter()
    compute(replace(job, config=replace(job.config, recipe=recipe)))
    return (time.perf_counter() - began) / len(stack.cells)


def _seconds(paces: Sequence[_Pace], cost: float, steps: int) -> float:
    """What a training takes."""
    low, high = paces[0], paces[-1]
    place = (cost - low.cost) / (high.cost - low.cost) if high.cost > low.cost else 0.0
    fixed, step = low.fixed + place * (high.fixed - low.fixed), low.step + place * (high.step - low.step)
    return fixed + steps * step


def _peak() -> int:
    """The most memory that this process had, in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def _listed(values: Sequence[object]) -> str:
    return " ".join(map(str, values))


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
