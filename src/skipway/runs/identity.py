"""The identity of a training: all that decides its numbers, and so its name.

Equal ids promise the same training: data, net, recipe, seed, initial weights, and the code of what a user defined. They
promise equal bits only where it is computed in the same way, as run.json's ``computed`` says (`computed`): the order of
sums is another in another stack, with other threads, or on another processor, and training amplifies that.

What stands at its default is left out, so that a setting that is added later changes no id. Where a default of ours, or
the numbers of a rule, change, its version is raised; tests/test_golden.py notices when that was forgotten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from skipway.data.splits import Data
from skipway.nets.checkpoints import find_file
from skipway.rundir.layout import Json
from skipway.runs.definitions import Definition, versions
from skipway.training.recipe import Recipe


def identity(
    data: Data,
    net: Mapping[str, object],
    recipe: Recipe,
    *,
    learning_rate: float,
    seed: int,
    named: Iterable[Definition],
    image_size: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    bfloat16: bool = False,
) -> Json:
    """All that decides a training's numbers; device, processes and accumulation are not in it.

    Args:
        data: what it learns from.
        net: what names the net; what is None is the family's own choice, and left out.
        recipe: all of it but its learning rates.
        learning_rate: at the schedule's height.
        seed: of initial weights, order of the data, and every other random draw.
        named: the definitions that it uses.
        image_size: in pixels, where images are cut while training.
        weights: those that it starts from: what `skipway.load_weights` takes. The file's content counts.
        bfloat16: whether products have three digits: that is another training, and no order of sums.
    """
    about: Json = {
        "data": of_data(data, image_size),
        "net": {name: value for name, value in net.items() if value is not None},
        "recipe": recipe.identity(),
        "learning_rate": learning_rate,
        "seed": seed,
    }
    optional: Json = {
        "versions": versions(named),
        "weights": None if weights is None else _digest(find_file(weights)),
        "precision": "bfloat16" if bfloat16 else None,
    }
    return {**about, **{name: value for name, value in optional.items() if value}}


def of_data(data: Data, image_size: int | None) -> Json:
    """The part of an identity that data decide."""
    about = {"fingerprint": data.fingerprint, "validation": data.validation_rule}
    return about if image_size is None else {**about, "image_size": image_size}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
