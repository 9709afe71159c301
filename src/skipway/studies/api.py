"""`skipway.study`: the Python way to ask for a study."""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal, TypeVar, Unpack

from torch import Tensor, nn

from skipway.data.load import settings_of
from skipway.nets.factory import use
from skipway.rundir.study import Study
from skipway.runs.plan import load_data, with_batch_that_fits
from skipway.studies.config import StudyConfig
from skipway.studies.defaults import default_config
from skipway.studies.grid import checked
from skipway.studies.runner import run_study
from skipway.tasks.make import use_loss
from skipway.training.changes import RecipeSettings, asks_for_batch_size, changed
from skipway.training.recipe import Recipe

_DEFAULT = StudyConfig()

T = TypeVar("T")


def study(
    data: Any = _DEFAULT.data,
    *,
    net: str | Callable[..., nn.Module] = _DEFAULT.net,
    task: str | Callable[..., Tensor] | None = None,
    gates: str | Iterable[str] = _DEFAULT.gates,
    depths: int | Iterable[int] | Literal["auto"] | None = None,
    learning_rates: float | Iterable[float] | None = None,
    seeds: int | Iterable[int] = _DEFAULT.seeds,
    search: str = _DEFAULT.search,
    width: int | None = None,
    validation: float | None = None,
    split_seed: int | None = None,
    image_size: int | None = None,
    recipe: Recipe | str | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    device: str = "auto",
    memory: str = "store",
    ray: str | None = None,
    budget: float | str | None = None,
    **settings: Unpack[RecipeSettings],
) -> Study:
    """Train nets of all gates and depths on a data set, and search learning rates; go on with what is there already.

    Gates, depths, learning rates and seeds may each be one or several.

    Args:
        data: "digits", "mnist", "cifar10", another name on the Hugging Face Hub, a local file or folder, arrays (x, y),
            or whatever else `skipway.load` takes or returns.
        net: the family of nets, with settings if need be ("dense", "cifar:order=pre"), or a function of your own that
            makes them: it may take depth, gate, skip, width, seed and specification (`skipway.nets.factory`).
        task: "classification", "regression", "next-token", or a loss of your own: a function of outputs and targets
            that gives one number a sample; None is what such data are usually for.
        gates: gate rules, with settings if need be: "highway", "highway:bias=-4".
        depths: as the nets' family counts them; None is its own choice. "auto": for each gate they double until its
            nets stop training, and then the gap is halved.
        learning_rates: those to try; None is the recipe's.
        seeds: each decides initial weights, the order of the data, and every other random draw of a run.
        search: how learning rates are searched, for each gate and depth: "race" (all rates with the first seed, the
            best with the others, and rates beyond where the best is the lowest or highest), "full" (all rates with all
            seeds, and rates beyond), "grid" (only those named); `skipway.studies.search.rules`.
        width: units of a dense layer, channels of the first stage; None is the family's own choice.
        validation: share of the training data held out for choosing the learning rate, where the data do not say; 0.1.
        split_seed: decides which samples are held out; 0.
        image_size: cut images of any size to so many pixels, and read them while training.
        recipe: a `Recipe`, or the name of one; None is that of the nets' papers.
        out: the study's directory; None is ``studies/<data>-<net>``, of a function with a digest.
        workers: processes that train at the same time; None is one a processor core, or one on a GPU.
        device: "auto", "cpu", "cuda" or another of torch's.
        budget: with depths "auto": no net is begun that is expected to end later, "10m" or in seconds; None is
            ten minutes.
        ray: train on a Ray cluster: its address, "auto" for the one that is running, "local" for one of this machine.
        memory: "store", or "recompute" for deep nets in little memory: slower, to the same bits.
        settings: fields of the recipe to replace: ``steps=50``, ``batch_size=32``, ``optimizer="adamw"``. Where no
            batch size is asked for, and the usual one is more than the training samples, the largest power of two that
            fits is taken.

    Returns:
        The study on disk. `skipway.write_report` writes its page.

    Raises:
        ValueError: if a setting or the data is not valid; the message says what would be.
        BusyError: if another process is running this study; the message says which one.
        StudyFailedError: if a training ended by an exception, after all others are done; it holds the study.
    """
    if isinstance(net, nn.Module):
        raise ValueError(
            f"net is one {type(net).__name__}, and a study varies depth: give a function of depth that makes nets, "
            "such as the class itself, where it takes depth. skipway.fit(net, data) trains one module as it is."
        )
    named = net if isinstance(net, str) else use(net)
    default = default_config(named)
    chosen = changed(recipe, default.recipe, settings, beside=inspect.signature(study).parameters)
    if learning_rates is not None:
        chosen = replace(chosen, learning_rates=_several(learning_rates))
    own_task = task if task is None or isinstance(task, str) else use_loss(task)
    config = StudyConfig(
        **settings_of(data, task=own_task, image_size=image_size, validation=validation, split_seed=split_seed),
        net=named,
        gates=_several(gates),
        depths=default.depths if depths is None else depths if isinstance(depths, str) else _several(depths),
        seeds=_several(seeds),
        search=search,
        width=width,
        recipe=chosen,
    )
    loaded = load_data(checked(config))
    if not asks_for_batch_size(recipe, settings):
        config = with_batch_that_fits(config, loaded)
    found = run_study(config, out, workers=workers, device=device, memory=memory, ray=ray, budget=budget, data=loaded)
    if found.info()["failures"]:
        raise StudyFailedError(found)
    return found


class StudyFailedError(RuntimeError):
    """Trainings of a study ended by an exception. The others are on disk; the same call tries the failed ones again.

    Attributes:
        study: the study as far as it is.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        info = study.info()
        reasons = Counter(info["failures"].values())
        told = (
            f"{reasons.total()} of {len(info['cells'])} trainings failed in {study.path}. The others are on disk, and "
            "the same call tries these again; `study` of this error is the study as far as it is.",
            *(f"- {count} of them: {reason}" for reason, count in sorted(reasons.items())),
        )
        super().__init__("\n".join(told))

    def __reduce__(self) -> tuple[type[StudyFailedError], tuple[Study]]:
        return type(self), (self.study,)


def _several(values: T | Iterable[T]) -> tuple[T, ...]:
    """Several values as a tuple; a single one, which a string is too, as a tuple of one. NumPy's become Python's."""
    values = _plain(values)
    if isinstance(values, str) or not isinstance(values, Iterable):
        return (values,)
    return tuple(map(_plain, values))


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
