"""What one training asks for, as data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from skipway.rundir.layout import Json
from skipway.settings.fields import read_fields
from skipway.settings.limits import DEPTH, PIXELS, SEED, WIDTH
from skipway.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One net on a data set: all that decides a training's numbers."""

    net: str = "residual-dense-20"
    """A net by name, with settings of its family if need be: resnet-56, resnet-56:shortcut=B (`skipway nets` lists);
    or, with a depth and a gate, a family (dense) or a function of your own (package.module:function)."""
    data: str = "digits"
    """digits, mnist, cifar10, another name on the Hugging Face Hub, or a local folder of parquet or image files; a
    table, table.csv:target=price,drop=id; texts, corpus.txt:length=64 or reviews.csv:text=body,target=label; data that
    are made, ring-transfer:n=16."""
    task: str | None = None
    """How the net is judged: classification, regression, next-token; None is what such data are usually for."""
    gate: str | None = None
    """The gate, with settings if need be: highway:bias=-4. A net's name says one already."""
    depth: int | None = None
    """As the nets' family counts it. A net's name says it already."""
    width: int | None = None
    """Units of a dense layer, channels of the first stage; None is the family's own choice."""
    weights: str | None = None
    """A file to start from, as `skipway.load_weights` takes it; a head for other classes starts anew."""
    seed: int = 0
    """Decides initial weights, the order of the data, and every other random draw."""
    validation: float = 0.1
    """Share of the training data held out, where the data set does not say."""
    split_seed: int = 0
    """Decides which samples are held out."""
    image_size: int | None = None
    """For images of any size, and more of them than memory holds: cut to so many pixels, and read while training."""
    recipe: Recipe = field(default_factory=Recipe)
    """How the net is trained."""

    @property
    def learning_rate(self) -> float:
        """The recipe's; of several, which are for a study to choose from, one a third of the way up.

        A rate that is too low costs steps, one that is too high the training.
        """
        rates = sorted(self.recipe.learning_rates)
        return rates[len(rates) // 3]

    def problems(self) -> list[str]:
        """Everything out of range that can be told without torch, a sentence each."""
        found = []
        if not self.data:
            found.append("data is the name of a data set or a folder; it is empty.")
        found += DEPTH.problems("depth", self.depth)
        found += WIDTH.problems("width", self.width)
        found += PIXELS.problems("image_size", self.image_size)
        found += SEED.problems("seed", self.seed)
        found += SEED.problems("split_seed", self.split_seed)
        if not 0 < self.validation < 1:
            found.append(f"validation is a share between 0 and 1; it is {self.validation}.")
        return [*found, *self.recipe.problems()]

    def to_dict(self) -> Json:
        """As run.json holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunConfig:
        """Read what `to_dict` wrote; fields left out take their defaults.

        Raises:
            ValueError: if a field is unknown or of the wrong type; the message names it.
        """
        content = dict(content)
        recipe = content.pop("recipe", {})
        if not isinstance(recipe, Mapping):
            raise ValueError(f"config field 'recipe' must hold fields of a recipe; it is {recipe!r}.")
        return cls(**read_fields(cls, content), recipe=Recipe(**read_fields(Recipe, recipe)))
