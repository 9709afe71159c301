"""The jobs of a study, round by round: which come first, what a failure costs, what a diverged training counts for."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch

import skipway as sw
from helpers import digits
from skipway.data.source import SOURCES
from skipway.rundir.study import Study
from skipway.runs.sending import packed
from skipway.studies import rounds, worker
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack, PairMaker, Plan, checked
from skipway.studies.observer import StudyObserver
from skipway.studies.rounds import Rounds
from skipway.studies.work import StudyWork
from skipway.studies.worker import Job, run_stack
from skipway.training.execution import Execution
from skipway.training.recipe import Recipe

CONFIG = checked(
    StudyConfig(
        gates=("plain",),
        depths=(2, 6, 4),
        seeds=(0, 1),
        width=4,
        search="grid",
        recipe=Recipe(steps=2, batch_size=8, learning_rates=(0.1, 0.3)),
    )
)


class Told(StudyObserver):
    def __init__(self):
        self.failed, self.found = [], []

    def on_found(self, runs):
        self.found.append(runs)

    def on_failure(self, stack, reason):
        self.failed.append((stack, reason))


class Case:
    """A study's work, and all that it tells."""

    def __init__(self, path, config=CONFIG):
        self.study, self.observer, self.failures, self.changes = Study(path), Told(), {}, 0
        self.plan = Plan.of(config, digits()[0])
        maker = PairMaker(self.plan, torch.device("cpu"))
        named = product(config.gates, config.named_depths)
        self.pairs = [Rounds(maker.make(gate, depth), self.plan) for gate, depth in named]
        self.work = StudyWork(
            self.study, self.pairs, lambda ended: (), self.job, self.observer, self.changed, self.failures
        )

    def job(self, stack: CellStack) -> Job:
        identities = tuple(self.plan.identity(cell) for cell in stack.cells)
        return Job(stack, self.plan.config, "cpu", 1, Execution(), identities, definitions=packed(()))

    def changed(self) -> None:
        self.changes += 1

    def train(self, fails=lambda job: False) -> None:
        while jobs := self.work.take(1):
            for job in jobs:
                if fails(job):
                    self.work.failed(job, "no memory")
                else:
                    assert run_stack(job, self.study.path) is None
                    self.work.done(job)


def test_the_longest_jobs_go_first_and_each_is_given_out_once(tmp_path):
    work = Case(tmp_path).work
    assert not work.take(0)
    assert not work.take(-1), "an executor may have fewer places than jobs"
    taken = [*work.take(2), *work.take(5)]
    assert [job.stack.cells[0].depth for job in taken] == [6, 4, 2]
    assert not work.take(5)


def test_a_failure_is_told_of_every_training_of_its_stack_and_stops_no_other(tmp_path):
    case = Case(tmp_path)
    case.train(fails=lambda job: job.stack.cells[0].depth == 4)
    ids = {pair.pair.depth: {*pair.ids.values()} for pair in case.pairs}
    assert len(ids[4]) == 4
    assert case.failures == dict.fromkeys(ids[4], "no memory")
    ((stack, reason),) = case.observer.failed
    assert ({*stack.ids}, reason) == (ids[4], "no memory")
    assert {run.id for run in case.study.runs()} == ids[2] | ids[6]
    assert {pair.pair.depth: (pair.ended, pair.open) for pair in case.pairs} == {
        2: (True, False),
        6: (True, False),
        4: (False, True),
    }
    again = Case(tmp_path)
    assert [job.stack.cells[0].depth for job in again.work.take(9)] == [4], "it is tried again, and nothing else is"


def test_runs_of_another_study_are_copied_once_and_never_in_place_of_its_own(tmp_path):
    config = replace(CONFIG, depths=(2,))
    first = Case(tmp_path / "studies" / "first", config)
    assert first.observer.found == []
    first.train()
    second = Case(tmp_path / "studies" / "second", config)
    assert second.observer.found == [4]
    assert not second.work.take(9)
    assert all(pair.ended for pair in second.pairs)
    assert Case(second.study.path, config).observer.found == []


def test_a_pairs_next_round_waits_for_no_other_pair_and_the_record_hears_of_it(tmp_path):
    config = replace(CONFIG, seeds=(0, 1), search="race", recipe=replace(CONFIG.recipe, learning_rates=(0.1, 0.3, 1.0)))
    case = Case(tmp_path, config)
    asked = {pair.pair.depth: len(pair.ids) for pair in case.pairs}
    assert asked == {2: 3, 4: 3, 6: 3}, "the first seed alone"
    (first,) = case.work.take(1)
    before = case.changes
    assert run_stack(first, tmp_path) is None
    case.work.done(first)
    assert case.changes == before + 1
    assert {pair.pair.depth: len(pair.ids) > 3 for pair in case.pairs} == {2: False, 4: False, 6: True}
    assert [job.stack.cells[0].depth for job in case.work.take(9)].count(6) == 1
    before = case.pairs[0]
    assert before.expected > len(before.ids), "more is to come"


def test_at_its_end_a_pair_expects_what_it_asked_for_and_lists_it_by_seed_and_rate(tmp_path):
    config = replace(CONFIG, depths=(2,), search="full", recipe=replace(CONFIG.recipe, learning_rates=(0.3, 0.1)))
    case = Case(tmp_path, config)
    case.train()
    (pair,) = case.pairs
    assert pair.ended
    assert pair.expected == len(pair.ids) == 2 * len({cell.learning_rate for cell in pair.ids})
    rates = [cell.learning_rate for cell in pair.ids if cell.seed == 0]
    assert rates[:2] == [0.3, 0.1], "as they were named; those beyond follow by size"
    assert len(rates) > 2
    assert rates[2:] == sorted(rates[2:])
    assert [(cell.seed, cell.learning_rate) for cell in pair.ids] == [(seed, rate) for seed in (0, 1) for rate in rates]


@pytest.mark.parametrize("status", ["done", "diverged"])
def test_a_diverged_training_has_no_scores_whatever_its_last_loss_was(status, tmp_path, monkeypatch):
    config = replace(CONFIG, depths=(2,), seeds=(0, 1), search="race")
    config = replace(config, recipe=replace(config.recipe, learning_rates=(0.01, 0.1, 0.3, 1.0)))
    case = Case(tmp_path, config)
    losses = {0.01: 4.0, 0.1: 1.0, 0.3: 2.0, 1.0: 3.0}

    def read(run):
        (cell,) = [cell for cell, own in pair.ids.items() if own == run.path.name]
        loss = losses.get(cell.learning_rate, 9.0)
        ended = status if (cell.learning_rate, cell.seed) == (0.1, 1) else "done"
        metrics = {"train_loss": loss, "validation_loss": loss, "validation_error": loss / 10}
        return {"status": ended, "metrics": metrics}

    monkeypatch.setattr(rounds, "read_run", read)
    pair = Rounds(case.pairs[0].pair, case.plan)
    while pair.next():
        pair.take(case.study, pair.ids.values())
    assert pair.expected == len(pair.ids), "fewer than a race takes as a rule"
    seconds = {cell.learning_rate for cell in pair.ids if cell.seed == 1}
    assert seconds == ({0.1, 0.3} if status == "done" else {0.1, 0.3, 1.0})


def test_a_worker_that_reads_other_data_than_were_planned_refuses(tmp_path):
    """Another machine's, or a file that was edited since."""
    (job,) = Case(tmp_path, replace(CONFIG, depths=(2,))).work.take(1)
    others = tuple({**own, "data": {**own["data"], "fingerprint": "of other data"}} for own in job.identities)
    reason = run_stack(replace(job, identities=others), tmp_path)
    assert reason.startswith("ValueError: digits holds other data on this machine than where the study was planned.")
    assert run_stack(job, tmp_path) is None


def shifted(shift: int) -> type[sw.Source]:
    class Shifted(sw.Source):
        def load(self):
            x = torch.arange(120.0).reshape(60, 2)
            return x, x.sum(1) + shift

    return Shifted


def test_a_worker_reads_data_once_until_their_code_or_content_is_another():
    job = SimpleNamespace(config=replace(CONFIG, data="shifted"), identities=({"data": {"fingerprint": "a"}},))
    edited = SimpleNamespace(config=job.config, identities=({"data": {"fingerprint": "b"}},))
    try:
        SOURCES.replace("shifted", shifted(0))
        first = worker._data(job)
        assert worker._data(job) is first
        SOURCES.replace("shifted", shifted(1))
        second = worker._data(job)
        assert not torch.equal(second.train.targets, first.train.targets)
        third = worker._data(edited)
        assert third is not second
        assert worker._data(edited) is third
    finally:
        SOURCES.remove("shifted")
