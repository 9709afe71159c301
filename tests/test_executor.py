"""Worker processes that die: what trained in them is tried again, and who is to blame fails alone."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest

from skipway.rundir.study import Study
from skipway.studies import executor
from skipway.studies.executor import LocalExecutor

WORKERS = 2


class Pools:
    """Pools of workers, one after another. Their processes are made up: who dies, and who is slow, is known.

    Args:
        deaths: how often a job's worker dies.
        slow: jobs that end some time after they were started.
        wrong: jobs that end with a reason.
    """

    def __init__(self, deaths=(), slow=(), wrong=()):
        self.deaths, self.slow, self.wrong = Counter(dict(deaths)), slow, wrong
        self.started, self.most, self.refused, self.pool = [], 0, 0, None

    def __call__(self, workers, **settings):
        assert workers == WORKERS
        self.pool = Pool(self)
        return self.pool


class Pool:
    def __init__(self, pools):
        self._pools, self._running, self._broken = pools, {}, False

    def submit(self, function, job, folder):
        if self._broken:
            self._pools.refused += 1
            raise BrokenProcessPool("a worker was killed")
        pools, name, future = self._pools, job.stack.name, Future()
        pools.started.append(name)
        self._running = {other: own for other, own in self._running.items() if not own.done()} | {name: future}
        pools.most = max(pools.most, len(self._running))
        if pools.deaths[name] > 0:
            pools.deaths[name] -= 1
            self._broken = True
            future.set_exception(BrokenProcessPool("a worker was killed"))
        elif name not in pools.slow:
            future.set_result("KeyError: 'x'" if name in pools.wrong else None)
        return future

    def end_slow_ones(self):
        for own in self._running.values():
            if not own.done() and self._broken:
                own.set_exception(BrokenProcessPool("a worker was killed"))
            elif not own.done():
                own.set_result(None)

    def shutdown(self, **settings):
        raise AssertionError("nothing was interrupted")


class Asked:
    """Work that has so many jobs."""

    def __init__(self, names, pools):
        self._pools = pools
        self.left = [SimpleNamespace(stack=SimpleNamespace(name=name)) for name in names]
        self.ended, self.failures = [], {}

    def take(self, most):
        assert most >= 0
        taken, self.left = self.left[:most], self.left[most:]
        return taken

    def done(self, job):
        self.ended.append(job.stack.name)

    def failed(self, job, reason):
        self.failures[job.stack.name] = reason

    def waiting(self, jobs):
        assert len(jobs) <= WORKERS
        self._pools.pool.end_slow_ones()


def run(pools, names, tmp_path, monkeypatch):
    monkeypatch.setattr(executor.loky, "get_reusable_executor", pools)
    work = Asked(names, pools)
    LocalExecutor(WORKERS).run(work, Study(tmp_path))
    assert not work.left
    return work


def test_a_job_whose_worker_died_is_tried_again(tmp_path, monkeypatch):
    pools = Pools(deaths={"b": 2})
    work = run(pools, "abcd", tmp_path, monkeypatch)
    assert sorted(work.ended) == [*"abcd"], "each is done once"
    assert not work.failures
    assert Counter(pools.started)["b"] == 3
    assert pools.most <= WORKERS


def test_a_job_whose_workers_die_three_times_fails_and_no_other_does(tmp_path, monkeypatch):
    pools = Pools(deaths={"b": 99})
    work = run(pools, "abcd", tmp_path, monkeypatch)
    assert sorted(work.ended) == [*"acd"]
    assert work.failures == {"b": "a worker process died, for lack of memory perhaps"}
    assert Counter(pools.started)["b"] == 3


@pytest.mark.parametrize("names", [("bad", "slow"), ("slow", "bad")], ids=" ".join)
def test_who_trained_beside_it_each_time_is_not_to_blame(names, tmp_path, monkeypatch):
    pools = Pools(deaths={"bad": 99}, slow=("slow",))
    work = run(pools, names, tmp_path, monkeypatch)
    assert work.ended == ["slow"]
    assert list(work.failures) == ["bad"]


def test_nothing_is_started_in_a_pool_of_which_a_worker_died(tmp_path, monkeypatch):
    """Its other jobs may take a moment to hear of it."""
    pools = Pools(deaths={"b": 1}, slow=("a",))
    work = run(pools, "abcd", tmp_path, monkeypatch)
    assert sorted(work.ended) == [*"abcd"]
    assert pools.refused == 0


def test_a_pool_that_breaks_while_it_is_given_jobs_is_followed_by_another(tmp_path, monkeypatch):
    pools = Pools(deaths={"a": 1})
    work = run(pools, "abc", tmp_path, monkeypatch)
    assert sorted(work.ended) == [*"abc"]
    assert pools.refused == 1, "b was to be started in the pool in which a had just died"


def test_an_exception_is_told_and_not_tried_again(tmp_path, monkeypatch):
    pools = Pools(wrong=("b",))
    work = run(pools, "abc", tmp_path, monkeypatch)
    assert sorted(work.ended) == [*"ac"]
    assert work.failures == {"b": "KeyError: 'x'"}
    assert Counter(pools.started) == Counter("abc")
