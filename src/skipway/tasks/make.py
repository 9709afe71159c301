"""Tasks by name: those that are registered, and losses of somebody's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skipway.settings.registry import Spec, check_settings
from skipway.tasks.own import LOSSES, OwnLoss
from skipway.tasks.task import TASKS, Task


def make_task(spec: str) -> Task:
    """The task that a specification names.

    Raises:
        ValueError: if there is no such task or setting.
    """
    if spec in LOSSES:
        return OwnLoss(LOSSES[spec])
    checked = Spec.parse(canonical(spec))
    return TASKS[checked.name](**dict(checked.settings))


def saved_task(spec: str, task: Task) -> dict[str, Any]:
    """A task with what it found in the training targets, as JSON can hold it beside the weights."""
    return {"spec": spec, "state": task.state()}


def restored_task(saved: Mapping[str, Any]) -> Task:
    """The task that `saved_task` wrote.

    Raises:
        ValueError: if there is no such task here: a loss of one's own, or a task that no module has registered.
    """
    return make_task(saved["spec"]).load_state(saved["state"])


def canonical(spec: str) -> str:
    """The one way to write a task's specification.

    Raises:
        ValueError: as `make_task`.
    """
    if spec in LOSSES:
        return spec
    parsed = Spec.parse(spec)
    return str(check_settings(parsed, TASKS[parsed.name], "task"))


def use_loss(function: Callable[..., Any]) -> str:
    """Let configs name a loss of one's own, by its module and name; the latest of a name counts."""
    name = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    LOSSES[name] = function
    return name
