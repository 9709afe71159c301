"""Single settings of a recipe given by name, in Python as at the prompt: `skipway.study(..., steps=50, clip=None)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypedDict

from skipway.training.recipe import RECIPES, Decayed, Recipe


class RecipeSettings(TypedDict, total=False):
    """The fields of `Recipe`, but for its learning rates."""

    optimizer: str
    momentum: float
    nesterov: bool
    beta2: float
    weight_decay: float
    decay_on: Decayed
    bias_rate: float
    batch_size: int
    steps: int | None
    epochs: float | None
    schedule: str
    milestones: float | Iterable[float]
    decay: float
    warmup_steps: int
    warmup_hold: float | None
    clip: float | None
    preprocess: str
    augment: str | Iterable[str]


def changed(
    recipe: Recipe | str | None, usual: Recipe, settings: Mapping[str, Any], *, beside: Iterable[str] = ()
) -> Recipe:
    """A recipe, its name, or None for the usual one, with single settings replaced.

    Args:
        recipe: what was asked for.
        usual: what counts where nothing was.
        settings: by their names.
        beside: the other arguments of the function that was called: one of them may have been meant.

    Raises:
        ValueError: if there is no recipe of that name, or if steps and epochs are both given.
        TypeError: if a setting is none of a recipe's; the message names those there are.
    """
    chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe or usual
    valid = RecipeSettings.__annotations__
    unknown = [name for name in settings if name not in valid]
    if unknown:
        near = [match for name in unknown for match in get_close_matches(name, [*beside, *valid], n=1, cutoff=0.75)]
        hint = f" Did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
        raise TypeError(
            f"there is no setting {', '.join(unknown)}.{hint} Beside the arguments that the documentation lists, valid "
            f"are those of a recipe: {', '.join(valid)}."
        )
    given: dict[str, Any] = {name: _several(value) if name in _LISTS else value for name, value in settings.items()}
    if given.get("steps") and given.get("epochs"):
        raise ValueError(f"steps={given['steps']} and epochs={given['epochs']} were given; give one of them.")
    if given.get("steps"):
        given["epochs"] = None  # of the recipe: a number of epochs counts where both are there
    return replace(chosen, **given)


def asks_for_batch_size(recipe: Recipe | str | None, settings: Mapping[str, Any]) -> bool:
    """Whether somebody chose the batch size: by a setting, or a recipe of one's own."""
    return "batch_size" in settings or isinstance(recipe, Recipe)


_LISTS = ("milestones", "augment")


def _several(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
