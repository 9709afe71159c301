"""What a training asks for that is told its net and nothing else: the recipe of that net's papers."""

from __future__ import annotations

from skipway.nets.registry import parse_name
from skipway.runs.config import TrainConfig
from skipway.settings.registry import Spec
from skipway.training.recipe import RECIPES


def default_config(net: str) -> TrainConfig:
    """The training of a net with its family's own recipe.

    Raises:
        ValueError: if there is no such net.
    """
    family, _ = parse_name(Spec.parse(net).name)
    return TrainConfig(net=net, recipe=RECIPES[family.recipe])
