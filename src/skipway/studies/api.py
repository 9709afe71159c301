"""`skipway.study`: the Python way to ask for a study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from skipway.rundir import Study
from skipway.studies.config import StudyConfig
from skipway.studies.runner import run_study
from skipway.training.recipe import RECIPES, Recipe

_DEFAULT = StudyConfig()


def study(
    data: str | os.PathLike[str] = _DEFAULT.data,
    *,
    body: str = _DEFAULT.body,
    gates: Sequence[str] = _DEFAULT.gates,
    depths: Sequence[int] = _DEFAULT.depths,
    learning_rates: Sequence[float] | None = None,
    seeds: Sequence[int] = _DEFAULT.seeds,
    width: int | None = None,
    recipe: Recipe | str = "dense",
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    device: str = "auto",
) -> Study:
    """Train gates x depths x learning rates x seeds on a data set; go on with what is in the directory already.

    Args:
        data: "digits", "mnist", "cifar10", another name on the Hugging Face Hub, or a local folder.
        body: the family of nets, with settings if need be: "dense", "dense:activation=tanh".
        gates: gate rules, with settings if need be: "highway", "highway:bias=-4".
        depths: as the body's family counts them.
        learning_rates: those to try; None is the recipe's.
        seeds: each decides initial weights, the order of the data, and every other random draw of a run.
        width: units of a dense layer; None is the family's own choice.
        recipe: a `Recipe`, or the name of one.
        out: the study's directory; None is ``studies/<data>-<body>``.
        workers: processes that train at the same time; None is one a processor core, or one on a GPU.
        device: "auto", "cpu", "cuda" or another of torch's.

    Returns:
        The study on disk. `skipway.write_report` writes its page.

    Raises:
        ValueError: if a setting or the data is not valid; the message says what would be.
    """
    chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe
    if learning_rates is not None:
        chosen = replace(chosen, learning_rates=tuple(learning_rates))
    config = StudyConfig(
        data=os.fspath(data),
        body=body,
        gates=tuple(gates),
        depths=tuple(depths),
        seeds=tuple(seeds),
        width=width,
        recipe=chosen,
    )
    return run_study(config, out, workers=workers, device=device)
