"""The identity of a training: all that decides its numbers, and so its name.

Equal ids promise the same training: data, net, recipe, seed, initial weights, and the code of what a user defined. They
promise equal bits only where it is computed in the same way, as run.json's ``computed`` says (`computed`): the order of
sums is another in another stack, with other threads, or on another processor, and training amplifies that.

What stands at its default is left out, so that a setting that is added later changes no id. Where a default of ours, or
the numbers of a rule, change, its version is raised; tests/test_golden.py notices when that was forgotten.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from skipway.data.dataset import Data
from skipway.nets.checkpoints import find_file
from skipway.rundir.layout import Json
from skipway.runs.config import RunConfig
from skipway.runs.definitions import called


def identity(config: RunConfig, data: Data, versions: Json, *, bfloat16: bool = False) -> Json:
    """All that decides a training's numbers; device, processes and accumulation are not in it.

    Args:
        config: in canonical form (`skipway.runs.plan`).
        data: what it learns from.
        versions: of the definitions that it uses (`skipway.runs.definitions.versions`).
        bfloat16: whether products have three digits: that is another training, and no order of sums.
    """
    net = {"net": called(config.net), "gate": config.gate, "depth": config.depth, "width": config.width}
    about: Json = {
        "data": of_data(data, config.image_size),
        "net": {name: value for name, value in net.items() if value is not None},  # the rest is the factory's choice
        "recipe": config.recipe.identity(),
        "learning_rate": config.learning_rate,
        "seed": config.seed,
    }
    optional: Json = {
        "task": config.task and called(config.task),
        "versions": versions,
        "weights": None if config.weights is None else _digest(find_file(config.weights)),
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
