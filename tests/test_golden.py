"""Numbers of ours change with a version, so that an id never answers with those of other code."""

from __future__ import annotations

import json

import pytest

import golden
from skipway.training.recipe import Recipe

KEPT = json.loads(golden.FILE.read_text())
CASES = golden.cases()


def test_every_rule_of_ours_has_its_numbers_kept():
    assert KEPT.keys() == {*CASES, "defaults"}, "run python tests/golden.py"


@pytest.mark.parametrize("name", CASES)
def test_numbers_change_with_a_version(name):
    case, kept = CASES[name], KEPT[name]
    assert case.versions == kept["versions"], "a version was raised: run python tests/golden.py"
    assert golden.agree(case.losses(), kept["losses"]), (
        f"the numbers of {name} are others than before. If that is meant, raise the version of one of "
        f"{', '.join(case.versions)}, and run python tests/golden.py: else runs on disk pass for the new ones."
    )


def test_defaults_change_with_the_recipes_version():
    kept = KEPT["defaults"]
    assert Recipe.version == kept["version"], "a version was raised: run python tests/golden.py"
    assert golden.defaults() == kept["fields"], (
        "an identity leaves defaults out: where one changes, raise Recipe.version; then, and where a field is new, run "
        "python tests/golden.py."
    )
