"""Flags over a file's or a recipe's settings: what must be read before the defaults of all other flags are known."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from skipway.report.printable import printable_content
from skipway.rundir.files import read_json
from skipway.rundir.layout import Json
from skipway.training.recipe import RECIPES, Recipe


def early(arguments: Sequence[str], *flags: str) -> argparse.Namespace:
    """The values of some flags, and of those that say how long a training is; None for those not given.

    Raises:
        ValueError: if steps and epochs are both given.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in (*flags, "--recipe", "--steps", "--epochs"):
        parser.add_argument(flag)
    found, _ = parser.parse_known_args([*arguments])
    if found.steps and found.epochs:
        raise ValueError(f"--steps {found.steps} and --epochs {found.epochs} were given; give one of them.")
    return found


def base_recipe(found: argparse.Namespace, usual: Recipe) -> Recipe:
    """The recipe whose fields flags replace: the named one, or the usual one.

    Raises:
        ValueError: if there is no recipe of that name.
    """
    recipe = RECIPES[found.recipe] if found.recipe else usual
    return replace(recipe, epochs=None) if found.steps else recipe


def asks_for_batch_size(arguments: Sequence[str]) -> bool:
    """Whether somebody chose the batch size: by its flag, or by a run or a study that the settings are taken from."""
    chosen = ("--batch-size", "--batch_size", "--config", "--resume")
    return any(argument.partition("=")[0] in chosen for argument in arguments)


def config_of(path: Path) -> Json:
    """The field `config` of a study.json or run.json.

    Raises:
        ValueError: if there is no such file, if it has no such field, or if it holds signs that a terminal would obey.
    """
    if not path.is_file():
        raise ValueError(f"--config {path}: there is no such file; give a study.json or a run.json.")
    content = read_json(path).get("config")
    if not isinstance(content, dict):
        raise ValueError(f"--config {path}: it has no field 'config'; give a study.json or a run.json.")
    if content != printable_content(content):  # help shows settings as they are
        raise ValueError(f"--config {path}: a name in it holds control characters; give that setting as a flag.")
    return content
