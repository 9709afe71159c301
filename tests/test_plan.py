"""The name of one training: everything that decides its numbers changes it, and another way to write it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skipway.runs.config import RunConfig
from skipway.runs.plan import plan_run
from skipway.training.recipe import Recipe

CONFIG = RunConfig(net="highway-dense-4", recipe=Recipe(learning_rates=(0.1,)))


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": "highway:bias=-4"},
        {"width": 12},
        {"seed": 1},
        {"net": "highway-dense-5"},
        {"net": "highway-dense-4:activation=tanh"},
        {"recipe": Recipe(learning_rates=(0.2,))},
        {"recipe": Recipe(learning_rates=(0.1,), momentum=0.8)},
    ],
    ids=str,
)
def test_what_decides_the_numbers_decides_the_name(changes):
    assert plan_run(replace(CONFIG, **changes)).id != plan_run(CONFIG).id


@pytest.mark.parametrize(
    "changes",
    [{"gate": "highway"}, {"gate": " highway:bias=auto"}, {"net": "highway-dense-4:activation=relu"}],
    ids=str,
)
def test_another_way_to_write_it_does_not(changes):
    assert plan_run(replace(CONFIG, **changes)).id == plan_run(CONFIG).id
