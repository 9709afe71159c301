"""What a training asks for that is told its net and nothing else: the recipe of that net's papers."""

from __future__ import annotations

from skipway.nets.factory import factory, is_function_name
from skipway.nets.registry import is_family, parse_name
from skipway.runs.config import RunConfig
from skipway.settings.registry import Spec
from skipway.training.recipe import RECIPES


def default_config(net: str) -> RunConfig:
    """The training of a net with its family's own recipe.

    Raises:
        ValueError: if there is no such net.
    """
    if is_function_name(net) or is_family(Spec.parse(net).name):
        return RunConfig(net=net, recipe=RECIPES[factory(net).recipe])
    family, _ = parse_name(Spec.parse(net).name)
    return RunConfig(net=net, recipe=RECIPES[family.recipe])
