"""`skipway.watch` as a callback of Lightning's Trainer; needs the extra ``lightning``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError("LightningWatch needs the package lightning: pip install 'skipway[lightning]'.") from error

from skipway.runs.watch import Watched, watch


class LightningWatch(Callback):  # type: ignore[misc]
    """Watch a Trainer's training.

    ::

        Trainer(callbacks=[LightningWatch(every=100)]).fit(module, batches)

    Losses are those that ``training_step`` returns; what a validation logs as ``val_loss`` becomes ``validation_loss``,
    and so on. Where a module has several optimizers, a batch after which any of them has stepped counts as a step.

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
        self._step = 0
        self._loss: Tensor | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._step, self._loss = trainer.global_step, None
        optimizer = trainer.optimizers[0] if len(trainer.optimizers) == 1 else None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.run = self._open.enter_context(watch(pl_module, optimizer, scaler=scaler, **self._settings))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):  # of a batch in parts, Lightning has divided it by their number
            self._loss = loss if self._loss is None else self._loss + loss
        if trainer.global_step > self._step:
            self.run.step(self._loss)
            self._step, self._loss = trainer.global_step, None

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        logged = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        if not trainer.sanity_checking:
            self.run.log(**{name.replace("val_", "validation_", 1): value for name, value in logged.items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._open.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)
