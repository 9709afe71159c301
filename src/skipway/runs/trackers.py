"""Trackers: a training's curves, told to somebody else while it goes on; ours go by Accelerate's.

One class a tracker. A subclass that names itself is registered, and `--track` takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from skipway.runs.config import RunConfig
from skipway.settings.registry import Named, Registry, Spec, check_settings
from skipway.training.loop import Hook, Row
from skipway.training.replicas import Replicas

TRACKERS: Registry[type[Tracker]] = Registry("tracker")


class Tracker(Named, Hook):
    """What a training's curves are told to.

    A subclass that names itself is registered::

        class Lines(sw.Tracker, name="lines"):
            def __init__(self, config, *, file: str = "lines.txt"):
                self.file = Path(file)

            def on_interval(self, step, steps, rows):
                with self.file.open("a") as file:
                    print(step, rows[0]["train_loss"], file=file)

    It is a `Hook`, whose methods it defines as it needs them; its keyword-only arguments are its settings,
    ``lines:file=mine.txt``. Of several processes, the first alone has one.

    Args:
        config: what is trained.
    """

    registry = TRACKERS

    def __init__(self, config: RunConfig) -> None:
        """Nothing is kept of the config."""


def tracker(spec: str, config: RunConfig) -> Tracker:
    """The tracker that a specification names, for a training.

    Raises:
        ValueError: if there is no such tracker or setting, or if it is not installed.
    """
    parsed = Spec.parse(spec)
    made = TRACKERS[parsed.name]
    return made(config, **dict(check_settings(parsed, made, "tracker").settings))


class _Accelerates(Tracker):
    """One of Accelerate's; TensorBoard's files go to ``tracking/``."""

    def __init__(self, config: RunConfig) -> None:
        if find_spec(self.name) is None:
            raise ValueError(f"--track {self.name} needs the package {self.name}: pip install 'skipway[{self.name}]'.")
        from accelerate import Accelerator

        self._accelerator = Accelerator(log_with=self.name, project_dir="tracking")
        about = {**config.to_dict(), **config.to_dict()["recipe"]}
        plain = {key: value if isinstance(value, int | float | str) else str(value) for key, value in about.items()}
        self._accelerator.init_trackers("skipway", plain)

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        self._accelerator.log({key: value for key, value in rows[0].items() if key != "step"}, step=step)

    def on_end(self, net: Replicas, step: int) -> None:
        self._accelerator.end_training()


class _TensorBoard(_Accelerates, name="tensorboard"):
    """TensorBoard."""


class _WandB(_Accelerates, name="wandb"):
    """Weights & Biases."""


class _MLflow(_Accelerates, name="mlflow"):
    """MLflow."""
