"""A net of somebody's own, tried before it is trained: on two samples, and made a second time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skipway.batch.specification import Specification
from skipway.batch.trees import Tree, leaves, map_tensors, tree_map
from skipway.data.dataset import Data, evenly
from skipway.skip.gate import FlowError
from skipway.tasks.classification import Classification
from skipway.tasks.next_token import NextToken
from skipway.tasks.regression import Regression
from skipway.tasks.task import Task
from skipway.training.replicas import Single

_SAMPLES = 2
_OF_ONE_TENSOR = (Classification, Regression, NextToken)
# Rows of whole numbers are tokens, unless somebody says otherwise.
_HINTS = {"next-token": " If the targets are quantities and no tokens, give task='regression'."}


def check_net(
    spec: str, net: nn.Module, again: Callable[[], nn.Module], data: Data, task: Task, about: Specification
) -> None:
    """Hold a net to what a study rests on. It is not run: the one that is made again is, and is thrown away.

    Args:
        spec: how its maker is called.
        net: as it was made.
        again: makes it once more, of the same seed.
        data: its batches are what it must take.
        task: its losses are what its outputs must fit.
        about: what nets are built for.

    Raises:
        ValueError: if it does not take the data, its outputs do not fit the task, it is another net each time, or
            nothing in it can be trained.
    """
    if not any(p.requires_grad for p in net.parameters()):
        held = "all its parameters are frozen" if next(net.parameters(), None) is not None else "it has no parameters"
        raise ValueError(
            f"net {spec}: {held}, so there is nothing to train. At least one parameter must have requires_grad=True."
        )
    other = again()
    for (name, ours), theirs in zip(net.state_dict().items(), other.state_dict().values(), strict=True):
        if not torch.equal(ours, theirs):
            raise ValueError(
                f"net {spec}: made twice of one seed, {name} differs. Draw initial weights from torch's global "
                "generator alone, which is seeded before each call, and from no generator of another seed."
            )
    check_outputs(spec, other, data, task, about)


def check_outputs(spec: str, net: nn.Module, data: Data, task: Task, about: Specification) -> None:
    """Run a net on two samples, and the task on what it puts out.

    Args:
        spec: how its maker is called.
        net: one that is thrown away: the run may change its buffers, and whatever else it keeps.
        data: as of `check_net`.
        task: likewise.
        about: likewise.

    Raises:
        ValueError: if the net does not take the data, its outputs do not fit the task, or the losses cannot be trained.
    """
    x, y = next(data.pipeline().batches(evenly(data.train, _SAMPLES), _SAMPLES))
    inputs, targets = (tree_map(lambda leaf: leaf[None], tree) for tree in (x, y))
    try:
        with torch.no_grad(), torch.random.fork_rng():
            outputs = Single(net.eval())(inputs)
    except FlowError as error:
        raise ValueError(f"net {spec}: {error}") from error
    except Exception as error:  # whatever somebody's net makes of it
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves(x))
        raise ValueError(
            f"net {spec}: it does not take a batch of these data, {shapes}: {type(error).__name__}: {error}"
        ) from error
    _check_form(spec, outputs, about, task)
    try:
        with torch.enable_grad(), torch.random.fork_rng():
            losses = task.losses(map_tensors(_trainable, outputs), targets)
    except (IndexError, RuntimeError, ValueError, AttributeError, TypeError) as error:
        shapes = ", ".join(str(tuple(leaf.shape[1:])) for leaf in leaves(outputs) if isinstance(leaf, torch.Tensor))
        raise ValueError(
            f"net {spec}: its outputs for a batch of {_SAMPLES}, {shapes or type(outputs).__name__}, do not fit "
            f"the task {task.name or 'of your own'}: {error}{_HINTS.get(task.name, '')}"
        ) from error
    assert losses.shape == (1, _SAMPLES)
    _check_losses(losses, task)


def _trainable(output: Tensor) -> Tensor:
    """An output as a training has it: what is computed from it can be followed back to it."""
    return output.detach().requires_grad_(output.is_floating_point())


def _check_losses(losses: Tensor, task: Task) -> None:
    rule = "Losses must be floating-point numbers that torch computes from the outputs, so that it can find gradients"
    remedy = (
        "leave out detach(), no_grad(), numpy and counts such as argmax; what only tells how good a net is, is no loss"
    )
    named = f"task {task.name!r}" if task.name else "the loss of your own"
    if not losses.is_floating_point():
        raise ValueError(f"{named} gives numbers of type {str(losses.dtype).removeprefix('torch.')}. {rule}: {remedy}.")
    if not losses.requires_grad:
        raise ValueError(f"{named} gives numbers that are detached from the net's outputs. {rule}: {remedy}.")


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
