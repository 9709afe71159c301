"""Studies on a Ray cluster of two machines, both of them this one; one is lost in the middle."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys

import pytest

from skipway.nets.factory import FUNCTIONS, use
from skipway.rundir.study import Study
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack
from skipway.studies.observer import StudyObserver
from skipway.studies.runner import run_study
from skipway.training.recipe import Recipe

ray = pytest.importorskip("ray")
# Ray's own, on leaving a socket or a subprocess to the operating system.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning:ray.*")

CONFIG = StudyConfig(
    gates=("plain", "highway"),
    depths=(10, 20),
    seeds=(0, 1),
    recipe=Recipe(learning_rates=(0.03, 0.1), steps=100),
)
# A machine that is lost is noticed after 5 unanswered questions, one a second and not one every 3 seconds.
SOON = {"health_check_period_ms": 1000}
NETS = """
from torch import nn
import skipway as sw

def activation(x):
    return x.relu()

class Layer(nn.Linear):
    def forward(self, x):
        return activation(super().forward(x))

def mlp(depth, gate, specification, width=8):
    blocks = sw.skip_row(gate, [Layer(width, width) for _ in range(depth)])
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *blocks, nn.Linear(width, specification.outputs))
"""


class Loses(StudyObserver):
    """Takes a machine away when the first stack is done, and counts what is reported."""

    def __init__(self, lose) -> None:
        self._lose, self.stacks = lose, []

    def on_stack(self, stack: CellStack, *, trained: bool) -> None:
        if not self.stacks:
            self._lose()
        self.stacks.append(stack.name)


@pytest.fixture(scope="module")
def two_cores():
    """With more, a study without Ray would give a stack more than one thread, and the last bits depend on that."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("cores are given out by Linux's means")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """Where the files lie that all machines know."""
    return tmp_path_factory.mktemp("code")


@pytest.fixture(scope="module")
def machines(two_cores, code):
    """One cluster for all tests: to start it takes ten seconds."""
    from ray.cluster_utils import Cluster

    before = signal.getsignal(signal.SIGTERM)  # which a cluster replaces by its own, for good
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
        cluster = Cluster(initialize_head=True, head_node_args={**small, "_system_config": SOON})
        second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_workers_refuse_a_file_that_was_edited_after_it_was_imported(machines, code, tmp_path, monkeypatch):
    file = code / "nets_on_machines.py"
    file.write_text(NETS)
    monkeypatch.syspath_prepend(str(code))
    make = importlib.import_module("nets_on_machines").mlp
    file.write_text(NETS.replace("x.relu()", "x.tanh()") + "# longer than before\n")
    config = StudyConfig(
        net=use(make), gates=("plain",), depths=(2, 3), seeds=(0,), recipe=Recipe(learning_rates=(0.1,), steps=3)
    )
    try:
        found = run_study(config, tmp_path, workers=1, ray=machines[0].address)
    finally:
        del sys.modules["nets_on_machines"]
        FUNCTIONS.pop("nets_on_machines:mlp")
    failures = [*found.info()["failures"].values()]
    assert len(failures) == 2
    assert all(re.search(rf"differ at {file}: \S*activation\. A run's name", text) for text in failures), failures


@pytest.mark.slow
def test_a_machine_that_is_lost_costs_no_cell(machines, tmp_path):
    """The last to use the second machine."""
    cluster, second = machines
    watch = Loses(lambda: cluster.remove_node(second, allow_graceful=False))
    lost = run_study(CONFIG, tmp_path / "lost", ray=cluster.address, observer=watch)
    whole = run_study(CONFIG, tmp_path / "whole")
    assert lost.info()["status"] == "done"
    assert not lost.info()["failures"]
    assert sorted(watch.stacks) == sorted(set(watch.stacks))
    ours, theirs = (told(study) for study in (whole, lost))
    assert len(ours) == len(lost.info()["cells"])
    assert theirs == ours


def told(study: Study) -> dict[str, tuple]:
    """All that does not depend on the clock, by run."""
    kept = {}
    for run in study.runs():
        metrics = {name: value for name, value in run.info()["metrics"].items() if name != "seconds"}
        kept[run.id] = (metrics, run.metrics(), run.weights.read_bytes())
    return kept


def test_no_cluster_is_told_with_what_is_valid(tmp_path):
    with pytest.raises(ValueError, match="ray start"):
        run_study(CONFIG, tmp_path / "none", ray="127.0.0.1:1")
