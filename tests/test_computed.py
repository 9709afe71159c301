"""The way in which runs were computed: recorded, and told where a table holds more than one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers import digits, stacks_of
from skipway.report.computed import differences, note
from skipway.report.summary import summarise
from skipway.report.table import markdown
from skipway.rundir.files import write_sealed
from skipway.rundir.run import RunContent
from skipway.rundir.study import Study
from skipway.runs.computed import computed
from skipway.runs.sending import packed
from skipway.studies.config import StudyConfig
from skipway.studies.grid import CellStack, Plan, checked
from skipway.studies.work import parts
from skipway.studies.worker import Job, compute
from skipway.training.execution import Execution
from skipway.training.recipe import Recipe
from study_folders import made

NINE = checked(
    StudyConfig(
        gates=("highway",), depths=(5,), seeds=(0, 1, 2), recipe=Recipe(learning_rates=(0.03, 0.1, 0.3), steps=10)
    )
)
ALONE = replace(NINE, seeds=(1,), recipe=replace(NINE.recipe, learning_rates=(0.1,)))


def trained(config: StudyConfig) -> dict[str, RunContent]:
    """A study's runs by id, trained in this process."""
    data, _ = digits()
    found = {}
    for stack in stacks_of(Plan.of(config, data)):
        identities = tuple(Plan.of(config, data).identity(cell) for cell in stack.cells)
        job = Job(stack, config, "cpu", 1, Execution(), identities, definitions=packed(()))
        found.update({run.id: run for run in compute(job)})
    return found


def test_alone_and_in_a_stack_of_nine_one_id_means_one_training_computed_in_two_ways():
    """Float32's rounding, 6e-8, and what ten steps make of it; LOG.md says what more of them make."""
    nine = trained(NINE)
    ((own, alone),) = trained(ALONE).items()
    stacked = nine[own]
    for name in ("train_loss", "validation_loss"):
        assert alone.info["metrics"][name] == pytest.approx(stacked.info["metrics"][name], rel=1e-5)
    ways = [run.info["computed"] for run in (alone, stacked)]
    assert [way["replicas"] for way in ways] == [1, 9]
    assert ways[0]["grid"] == {"learning_rates": [0.1], "seeds": [1]}
    assert differences(ways) == ("2 grids of learning rates and seeds, since the study grew",)
    assert differences(run.info["computed"] for run in nine.values()) == ()


WAY = computed("cpu", 2, Execution(), grid={"learning_rates": [0.1], "seeds": [0]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 1}, "threads: 2 and 1"),
        ({"torch": "9.9"}, "torch: "),
        ({"processor": "AVX"}, "instruction set: "),
        ({"model": "another"}, "processor: "),
        ({"device": "cuda"}, "device: cpu and cuda"),
        ({"bfloat16": True}, "bfloat16: False and True"),
        ({"processes": 2}, "processes: 1 and 2"),
        ({"accumulate": 3}, "parts of a batch: 1 and 3"),
        ({"skipway": "9.9"}, "skipway: "),
        ({"grid": {"learning_rates": [0.1], "seeds": [0, 1]}}, "2 grids"),
    ],
)
def test_each_difference_is_told(changes, words):
    (difference,) = differences([WAY, {**WAY, **changes}, WAY])
    assert difference.startswith(words)


def test_one_way_is_not_worth_a_word():
    assert note([WAY, dict(WAY)]) == note([]) == note([{}, {}]) == ""
    assert "threads: 2 and unknown" in note([WAY, {}])
    # Nets differ in these by what they are.
    assert note([WAY, {**WAY, "compiled": True, "channels_last": True, "replicas": 4, "stack": "x"}]) == ""


def test_a_table_says_where_its_rows_were_computed_in_different_ways(tmp_path):
    study = made(tmp_path, gates=("plain",), depths=(5,), rates=(0.1,), seeds=(0, 1))
    assert "computed in different ways" not in markdown(summarise(study))
    for run, threads in zip(study.runs(), (1, 2), strict=True):
        write_sealed(run.path / "run.json", {**run.info(), "computed": {**WAY, "threads": threads}})
    assert "computed in different ways (threads: " in markdown(summarise(study))


# -- what is trained of a stack that is there in part ------------------------------------------------------------------


def folder(tmp_path, done: CellStack, stack: str | None) -> Study:
    study = Study(tmp_path)
    batch = study.batch("some")
    for identifier in done.ids:
        batch.add(RunContent(identifier, {"computed": {"stack": stack}}, [], [], b""))
    batch.commit()
    return study


def test_of_a_grid_that_grew_only_what_is_new_is_trained(tmp_path):
    data, _ = digits()
    (whole,) = stacks_of(Plan.of(NINE, data))
    assert list(parts(Study(tmp_path / "none"), whole)) == [whole]
    old = whole.only(whole.ids[:4])
    done, new = parts(folder(tmp_path, old, "stack of before"), whole)
    assert done == old
    assert new.ids == whole.ids[4:]
    assert new.cells == whole.cells[4:]
    assert done.cost + new.cost == pytest.approx(whole.cost)


def test_where_a_run_was_lost_its_stack_is_trained_again_to_the_same_bits(tmp_path):
    data, _ = digits()
    (whole,) = stacks_of(Plan.of(NINE, data))
    assert list(parts(folder(tmp_path, whole.only(whole.ids[1:]), whole.name), whole)) == [whole]


def test_another_gate_or_depth_changes_no_stack():
    data, _ = digits()
    (before,) = stacks_of(Plan.of(NINE, data))
    grown = replace(NINE, gates=("plain", "highway"), depths=(3, 5))
    assert before in stacks_of(Plan.of(grown, data))
