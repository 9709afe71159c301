"""A net of somebody's own, tried before it is trained: on two samples, and made a second time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from skipway.batch.specification import Specification
from skipway.batch.trees import Tree, leaves, tree_map
from skipway.data.dataset import Data, evenly
from skipway.skip.gate import FlowError
from skipway.tasks.classification import Classification
from skipway.tasks.next_token import NextToken
from skipway.tasks.regression import Regression
from skipway.tasks.task import Task
from skipway.training.replicas import Single

_SAMPLES = 2
_OF_ONE_TENSOR = (Classification, Regression, NextToken)


def check_net(
    spec: str, net: nn.Module, again: Callable[[], nn.Module], data: Data, task: Task, about: Specification
) -> None:
    """Hold a net to what a study rests on.

    Args:
        spec: how its maker is called.
        net: as it was made.
        again: makes it once more, of the same seed.
        data: its batches are what it must take.
        task: its losses are what its outputs must fit.
        about: what nets are built for.

    Raises:
        ValueError: if it does not take the data, its outputs do not fit the task, or it is another net each time.
    """
    for (name, ours), theirs in zip(net.state_dict().items(), again().state_dict().values(), strict=True):
        if not torch.equal(ours, theirs):
            raise ValueError(
                f"net {spec}: made twice of one seed, {name} differs. Draw initial weights from torch's global "
                "generator alone, which is seeded before each call, and from no generator of another seed."
            )
    x, y = next(data.pipeline().batches(evenly(data.train, _SAMPLES), _SAMPLES))
    inputs, targets = (tree_map(lambda leaf: leaf[None], tree) for tree in (x, y))
    was_training = net.training
    try:
        with torch.no_grad():
            outputs = Single(net.eval())(inputs)
    except FlowError as error:
        raise ValueError(f"net {spec}: {error}") from error
    except Exception as error:  # whatever somebody's net makes of it
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves(x))
        raise ValueError(
            f"net {spec}: it does not take a batch of these data, {shapes}: {type(error).__name__}: {error}"
        ) from error
    finally:
        net.train(was_training)
    _check_form(spec, outputs, about, task)
    try:
        with torch.no_grad():
            losses = task.losses(outputs, targets)
    except (IndexError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        shapes = ", ".join(str(tuple(leaf.shape[1:])) for leaf in leaves(outputs) if isinstance(leaf, torch.Tensor))
        raise ValueError(
            f"net {spec}: its outputs for a batch of {_SAMPLES}, {shapes or type(outputs).__name__}, do not fit "
            f"the task {task.name or 'of your own'}: {error}"
        ) from error
    assert losses.shape == (1, _SAMPLES)


def _check_form(spec: str, outputs: Tree, about: Specification, task: Task) -> None:
    """Hold outputs to what the losses would not notice, or would tell in their own words.

    Raises:
        ValueError: if they are several tensors and the task takes one, or are scores of another number of classes.
    """
    if not isinstance(task, _OF_ONE_TENSOR):
        return
    if not isinstance(outputs, torch.Tensor):
        raise ValueError(
            f"net {spec}: it returns a {type(outputs).__name__}, and the task {task.name} takes one tensor: return "
            "that alone, or give a loss of your own, which takes whatever the net returns: task=function."
        )
    shape = tuple(outputs.shape[1:])
    if isinstance(task, Classification) and about.outputs and shape != (_SAMPLES, about.outputs):
        raise ValueError(
            f"net {spec}: its outputs for a batch of {_SAMPLES}, {shape}, do not fit the task {task.name}: one score "
            f"for each class is asked for, {(_SAMPLES, about.outputs)}. What makes it may take `specification`, and "
            "give its last layer `specification.outputs` units."
        )
