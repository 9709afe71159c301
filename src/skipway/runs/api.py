"""`skipway.fit`: the Python way to train one net."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

from torch import Tensor, nn

from skipway.data.load import settings_of
from skipway.nets.factory import use, use_module
from skipway.rundir.run import Run
from skipway.runs.config import RunConfig
from skipway.runs.defaults import default_config
from skipway.runs.plan import fitted_batch
from skipway.runs.run import make_resources, run_training
from skipway.runs.trackers import tracker
from skipway.tasks.make import use_loss
from skipway.training.changes import RecipeSettings, asks_for_batch_size, changed
from skipway.training.loop import Hook
from skipway.training.recipe import Recipe
from skipway.training.world import world

_DEFAULT = RunConfig()


def fit(
    net: str | nn.Module | Callable[..., nn.Module],
    data: Any = _DEFAULT.data,
    recipe: Recipe | str | None = None,
    *,
    task: str | Callable[..., Tensor] | None = None,
    gate: str | None = None,
    depth: int | None = None,
    width: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    learning_rate: float | None = None,
    seed: int = _DEFAULT.seed,
    validation: float | None = None,
    split_seed: int | None = None,
    image_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    memory: str = "store",
    precision: str = "float32",
    accumulate: int = 1,
    save_every: float | None = None,
    track: str | None = None,
    hooks: Sequence[Hook] = (),
    **settings: Unpack[RecipeSettings],
) -> Run:
    """Train a net on a data set; go on with it where it was begun before, to the same bits.

    Args:
        net: by name, with settings of its family if need be: "resnet-56", "resnet-56:shortcut=B"; or any module, which
            is copied; or a function that makes one, of depth, gate, width, seed and specification
            (`skipway.nets.factory`).
        data: "digits", "mnist", "cifar10", another name on the Hugging Face Hub, a local file or folder, arrays (x, y),
            or whatever else `skipway.load` takes or returns.
        recipe: a `Recipe`, or the name of one; None is that of the net's papers.
        task: "classification", "regression", "next-token", or a loss of your own, a function of outputs and targets
            that gives one number a sample; None is what such data are usually for.
        gate: the gate of the net's name with settings, "highway:bias=-4"; or of the net that a function makes.
        depth: of the net that a function or a family makes; a net's name says it already.
        width: units of a dense layer, channels of the first stage; None is the family's own choice.
        weights: a file to start from, as `skipway.load_weights` takes it.
        learning_rate: None is the recipe's; of several, one a third of the way up.
        seed: decides initial weights, the order of the data, and every other random draw.
        validation: share of the training data held out, where the data do not say; 0.1.
        split_seed: decides which samples are held out; 0.
        image_size: cut images of any size to so many pixels, and read them while training.
        out: the run's directory; None is ``runs/<id>``.
        device: "auto", "cpu", "cuda" or another of torch's.
        memory: "store", or "recompute" for deep nets in little memory.
        precision: "float32" or "bfloat16".
        accumulate: parts of a batch that pass one after another.
        save_every: seconds between two checkpoints; None is half a minute.
        track: a tracker that is told the curves, too: "tensorboard", "wandb", "mlflow", or one of your own.
        hooks: are told how the training goes on.
        settings: fields of the recipe to replace: ``steps=50``, ``batch_size=32``, ``optimizer="adamw"``. Where no
            batch size is asked for, and the usual one is more than the training samples, the largest power of two that
            fits is taken.

    Returns:
        The run on disk.

    Raises:
        ValueError: if a setting or the data is not valid; the message says what would be.
        BusyError: if another process is training it in the same directory; the message says which one.
    """
    default = default_config(_named(net))
    chosen = changed(recipe, default.recipe, settings, beside=inspect.signature(fit).parameters)
    if learning_rate is not None:
        chosen = replace(chosen, learning_rates=(learning_rate,))
    own_task = task if task is None or isinstance(task, str) else use_loss(task)
    config = replace(
        default,
        **settings_of(data, task=own_task, image_size=image_size, validation=validation, split_seed=split_seed),
        gate=gate,
        depth=depth,
        width=width,
        weights=None if weights is None else os.fspath(weights),
        seed=seed,
        recipe=chosen,
    )
    loaded = None
    if not asks_for_batch_size(recipe, settings):
        config, loaded = fitted_batch(config)
    own = world()
    resources = make_resources(
        device=device, memory=memory, precision=precision, accumulate=accumulate, save_every=save_every, world=own
    )
    tracked = [tracker(track, config)] if track and own.rank == 0 else []
    return run_training(config, out, resources=resources, hooks=[*hooks, *tracked], data=loaded)


def _named(net: str | nn.Module | Callable[..., nn.Module]) -> str:
    """What a config calls a net."""
    if isinstance(net, str):
        return net
    return use_module(net) if isinstance(net, nn.Module) else use(net)
