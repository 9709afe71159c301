"""What a study asks for that is told its body and nothing else: the recipe and the depths of that body's papers."""

from __future__ import annotations

from skipway.nets.registry import FAMILIES, check_body
from skipway.studies.config import StudyConfig
from skipway.training.recipe import RECIPES


def default_config(body: str) -> StudyConfig:
    """The study of a body with its family's own depths and recipe.

    Raises:
        ValueError: if there is no such body or setting.
    """
    family = FAMILIES[check_body(body).name]
    return StudyConfig(body=body, depths=family.study_depths, recipe=RECIPES[family.recipe])
