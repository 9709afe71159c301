"""What a study asks for, as data. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from skipway.rundir.layout import Json
from skipway.runs.config import RunConfig
from skipway.settings.fields import read_fields
from skipway.settings.limits import DEPTH, PIXELS, SEED, TRAININGS, WIDTH
from skipway.settings.registry import UnknownNameError
from skipway.studies.search.rules import SEARCHES
from skipway.training.recipe import Recipe

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Gates x depths x learning rates x seeds on a data set, and a search: all that decides a study's numbers."""

    data: str = "digits"
    """digits, mnist, cifar10, another name on the Hugging Face Hub, or a local folder of parquet or image files; a
    table, table.csv:target=price,drop=id; texts, corpus.txt:length=64 or reviews.csv:text=body,target=label; data that
    are made, ring-transfer:n=16."""
    net: str = "dense"
    """The family of nets, with settings if need be (dense, dense:activation=tanh), or a function of your own that makes
    them: package.module:function."""
    task: str | None = None
    """How nets are judged: classification, regression, next-token; None is what such data are usually for."""
    gates: tuple[str, ...] = ("plain", "residual", "highway")
    """Gate rules, with settings if need be: highway, highway:bias=-4. `skipway gates` lists them."""
    depths: tuple[int, ...] | Literal["auto"] = (5, 10, 20, 50, 100)
    """As the family counts them (`skipway nets` says how); or auto: for each gate they double until its nets stop
    training, and then the gap is halved."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each decides initial weights, the order of the data, and every other random draw of a run."""
    search: str = "race"
    """How learning rates are searched, for each gate and depth: race (all rates with the first seed, the best with the
    others, and rates beyond where the best is the lowest or highest), full (all with all), grid (only those named)."""
    width: int | None = None
    """Units of a dense layer, channels of the first stage; None is the family's own choice."""
    validation: float = 0.1
    """Share of the training data held out for choosing the learning rate, where the data set does not say."""
    split_seed: int = 0
    """Decides which samples are held out."""
    image_size: int | None = None
    """For images of any size, and more of them than memory holds: cut to so many pixels, and read while training."""
    recipe: Recipe = field(default_factory=Recipe)
    """How each net is trained."""

    @property
    def trainings(self) -> int:
        """How many a search of all rates with all seeds asks for."""
        depths = 1 if self.depths == AUTO else len(self.depths)
        return len(self.gates) * depths * len(self.seeds) * len(self.recipe.learning_rates)

    @property
    def named_depths(self) -> tuple[int, ...]:
        """Those that it names: none where they are searched."""
        return () if self.depths == AUTO else self.depths

    def problems(self) -> list[str]:
        """Everything out of range that can be told without torch, a sentence each."""
        found = [
            f"{name} must be one or more; none was given."
            for name in ("gates", "depths", "seeds")
            if not getattr(self, name)
        ]
        too_many = TRAININGS.problems("gates x depths x learning rates x seeds", self.trainings or None)
        found += too_many
        several = {"gates": self.gates, "depths": self.named_depths, "seeds": self.seeds}
        for name, values in ({} if too_many else several).items():
            if len(set(values)) != len(values):
                found.append(f"{name} must differ from each other; they are {' '.join(map(str, values))}.")
        if not self.data:
            found.append("data is the name of a data set or a folder; it is empty.")
        found += WIDTH.problems("width", self.width)
        found += PIXELS.problems("image_size", self.image_size)
        if self.search not in SEARCHES:
            found.append(str(UnknownNameError("search", self.search, SEARCHES)))
        found += SEED.problems("split_seed", self.split_seed)
        found += DEPTH.problems("depth", max(self.named_depths, default=None))  # the family knows the least
        for end in (min, max):
            found += SEED.problems("seed", end(self.seeds, default=None))
        if not 0 < self.validation < 1:
            found.append(f"validation is a share between 0 and 1; it is {self.validation}.")
        return [*found, *self.recipe.problems()]

    def to_dict(self) -> Json:
        """As study.json and run.json hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StudyConfig:
        """Read what `to_dict` wrote; fields left out take their defaults.

        Raises:
            ValueError: if a field is unknown or of the wrong type; the message names it.
        """
        content = dict(content)
        if "body" in content:  # as it was called before
            content["net"] = content.pop("body")
        if {"gate", "depth", "seed"} <= content.keys():  # a run's config: the study of its one cell
            content |= {f"{name}s": (content.pop(name),) for name in ("gate", "depth", "seed")}
            if content.pop("weights", None) is not None:
                raise ValueError("a study starts from fresh weights, and this config is of a run that does not.")
        recipe = content.pop("recipe", {})
        if not isinstance(recipe, Mapping):
            raise ValueError(f"config field 'recipe' must hold fields of a recipe; it is {recipe!r}.")
        return cls(**read_fields(cls, content), recipe=Recipe(**read_fields(Recipe, recipe)))

    def run(self, *, gate: str, depth: int, learning_rate: float, seed: int) -> RunConfig:
        """One of its trainings."""
        shared = {f.name: getattr(self, f.name) for f in fields(self) if f.name in _SHARED}
        recipe = replace(self.recipe, learning_rates=(learning_rate,))
        return RunConfig(**{**shared, "recipe": recipe}, gate=gate, depth=depth, seed=seed)


_SHARED = {f.name for f in fields(StudyConfig)} & {f.name for f in fields(RunConfig)}
