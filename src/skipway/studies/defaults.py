"""What a study asks for that is told its nets and nothing else: the recipe and the depths of those nets' papers."""

from __future__ import annotations

from skipway.nets.factory import factory
from skipway.studies.config import StudyConfig
from skipway.training.recipe import RECIPES


def default_config(net: str) -> StudyConfig:
    """The study of a family, or of a function's nets, with their own depths and recipe.

    Raises:
        ValueError: if there is no such family, setting or function.
    """
    nets = factory(net)
    return StudyConfig(net=net, depths=nets.depths, recipe=RECIPES[nets.recipe])
