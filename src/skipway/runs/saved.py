"""A trained net that answers for inputs as people have them, in the targets' own unit."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from skipway.batch.trees import Tree, call, tree_map
from skipway.data.inputs import inputs_for
from skipway.nets import weights
from skipway.tasks.make import restored_task
from skipway.tasks.task import Task


@dataclass(frozen=True)
class TrainedNet(weights.SavedNet):
    """A saved net with its task."""

    @property
    def task(self) -> Task | None:
        """The task with what it found in the training targets, such as a regression's mean and deviation.

        None where the file tells none (a net of a watched training, or of an earlier version), or one of somebody's
        own that is not defined here.
        """
        if self.fitted is not None:
            with suppress(ValueError):
                return restored_task(self.fitted)
        return None

    def predict(self, x: Any) -> Tree:
        """Answers for samples as they were before any preprocessing.

        They pass through the preprocessing that was fitted in training, the net, and the task: of a regression the
        answers are in the targets' unit, of other tasks they are the net's outputs, such as scores of the classes. All
        samples pass at once, on the net's device, in evaluation mode and without gradients.

        Args:
            x: (N, ...): arrays or tensors as they were given to train; of a table a DataFrame or an Arrow table with
                the columns that the net was trained on; of images uint8, (N, C, H, W).

        Returns:
            (N, ...), shaped as the net answers, on its device.

        Raises:
            ValueError: if these are other inputs than the net was trained on, its file tells no preprocessing, or it
                was trained for a loss of one's own that is not defined here.
        """
        task = self.task
        if task is None and self.fitted is not None:
            raise ValueError(
                f"the net was trained for {self.fitted['spec']}, which is not defined here: nobody can tell what its "
                "outputs mean. Import the module that defines it, or call .net yourself."
            )
        device = next((parameter.device for parameter in self.net.parameters()), torch.device("cpu"))
        inputs = tree_map(lambda leaf: leaf.to(device), inputs_for(self.preprocess, x))
        was_training = self.net.training
        try:
            with torch.no_grad():
                outputs = call(self.net.eval(), inputs)
        finally:
            self.net.train(was_training)
        return outputs if task is None else task.answers(outputs)
