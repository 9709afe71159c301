"""Curves told to TensorBoard, Weights & Biases or MLflow, by Accelerate's trackers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from skipway.runs.config import RunConfig
from skipway.settings.registry import UnknownNameError
from skipway.training.loop import Hook, Row
from skipway.training.replicas import Replicas

TRACKERS = ("tensorboard", "wandb", "mlflow")


def tracker(name: str, config: RunConfig) -> Hook:
    """A hook that tells a training's rows to a tracker; TensorBoard's files go to ``tracking/``.

    Raises:
        ValueError: if there is no such tracker, or if it is not installed.
    """
    if name not in TRACKERS:
        raise UnknownNameError("tracker", name, TRACKERS)
    if find_spec(name) is None:
        raise ValueError(f"--track {name} needs the package {name}: pip install 'skipway[{name}]'.")
    return _Tracker(name, config)


class _Tracker(Hook):
    def __init__(self, name: str, config: RunConfig) -> None:
        from accelerate import Accelerator

        self._accelerator = Accelerator(log_with=name, project_dir="tracking")
        about = {**config.to_dict(), **config.to_dict()["recipe"]}
        plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in about.items()}
        self._accelerator.init_trackers("skipway", plain)

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        self._accelerator.log({key: value for key, value in rows[0].items() if key != "step"}, step=step)

    def on_end(self, net: Replicas, step: int) -> None:
        self._accelerator.end_training()
