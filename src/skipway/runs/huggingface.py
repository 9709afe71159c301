"""`skipway.watch` as a callback of Hugging Face's Trainer; needs the extra ``transformers``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from numbers import Real
from typing import Any

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(
        "HuggingFaceWatch needs the package transformers: pip install 'skipway[transformers]'."
    ) from error

from skipway.runs.watch import Watched, watch

_OF_TIME = ("_runtime", "_per_second")


class HuggingFaceWatch(TrainerCallback):  # type: ignore[misc]
    """Watch a Trainer's training.

    ::

        Trainer(model, arguments, train_dataset=data, callbacks=[HuggingFaceWatch(every=100)]).train()

    The Trainer tells a loss when it logs one, the mean over its ``logging_steps``: with more of them than ``every``,
    some rows of the curve have none. What it calls ``eval_loss`` becomes ``validation_loss``, and so on. It tells no
    callback of an exception: a training that ends by one leaves the status "running".

    Args:
        every: as in `skipway.watch`.
        out: likewise.
        name: likewise.
        save: likewise.

    Attributes:
        run: the training that is being watched, or was watched last.
    """

    def __init__(
        self,
        *,
        every: int = 100,
        out: str | os.PathLike[str] | None = None,
        name: str | None = None,
        save: bool = False,
    ) -> None:
        self.run = Watched()
        self._settings: dict[str, Any] = {"every": every, "out": out, "name": name, "save": save}
        self._open = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        watching = watch(kwargs["model"], kwargs["optimizer"], **self._settings)
        self.run = self._open.enter_context(watching)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.run.step(logs["loss"])

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.run.log(**_told(metrics or {}))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._open.close()


def _told(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        name.replace("eval_", "validation_", 1): float(value)
        for name, value in metrics.items()
        if name.startswith("eval_") and isinstance(value, Real) and not name.endswith(_OF_TIME)
    }
