"""`skipway.load_net`: the net of a run or of a weights file, held against the code that it was trained with."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from skipway.nets import weights
from skipway.rundir.files import DamagedError
from skipway.rundir.layout import RUN, STUDY
from skipway.rundir.run import Run
from skipway.runs.code.reading import UnreadableError, digest
from skipway.runs.saved import TrainedNet

_LOG = logging.getLogger("skipway")


def load_net(path: str | os.PathLike[str], net: Callable[..., nn.Module] | None = None) -> TrainedNet:
    """Rebuild a trained net from its weights file.

    Where `net` is not the code that the run was trained with, a warning says so: weights may fit a net that computes
    something else.

    Args:
        path: the file, a run's directory, or a `Run`.
        net: what made a net of one's own: a function of depth, gate and so on, as the study had it. Nothing is ever
            imported that a file names, so it must be given again.

    Returns:
        The net with what travels with its weights: ``.predict(x)`` answers for inputs as they were before any
        preprocessing, of a regression in the targets' unit; ``.net`` alone takes preprocessed inputs, and answers in
        standardised values.

    Raises:
        ValueError: if the file is damaged, or does not say what net its weights belong to; or the directory is a
            study's.
        OSError: if there is no such file.
    """
    path = Path(path)
    if (path / STUDY).is_file():
        raise ValueError(
            f"{path} is a study's directory, and holds many nets: give a run of it, such as one of "
            f"skipway.Study({os.fspath(path)!r}).runs(), or {path}/runs/<id>."
        )
    found = TrainedNet(**vars(weights.load_net(path, net)))
    if net is not None:
        _warn_of_other_code(path if path.is_dir() else path.parent, net)
    return found


def _warn_of_other_code(folder: Path, net: Callable[..., nn.Module]) -> None:
    told = _digest_of_net(folder)
    if told is None:
        return
    try:
        same = digest(net) == told
    except UnreadableError:
        same = False
    if not same:
        _LOG.warning(
            "%s was trained with other code of its net than the function that is given now, or with another version of "
            "Python: the weights fit, and the net may compute something else.",
            folder,
        )


def _digest_of_net(folder: Path) -> str | None:
    """What run.json tells of the function that made the net; None where it was no function, or nothing is told."""
    if not (folder / RUN).is_file():
        return None
    try:
        info: Any = Run(folder).info()
    except DamagedError:  # `skipway check` tells
        return None
    if str(info["net"].get("function", "module:")).startswith("module:"):  # a module is trained as it was given
        return None
    versions = info["identity"].get("versions", {})
    return next((str(version) for name, version in versions.items() if name.startswith("net ")), None)
