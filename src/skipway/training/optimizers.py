"""Optimizers by name: what moves a single net's weights. No torch here until one is made.

One class an optimizer. A subclass that names itself is registered, and `--optimizer` takes it. Stacks of nets are moved
by the same rules on a matrix (`skipway.training.optim`), where there is such a rule; with one of your own, nets are
trained one after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from skipway.settings.registry import Named, Registry

if TYPE_CHECKING:
    import torch

    from skipway.training.recipe import Recipe

OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")


class Optimizer(Named, ABC):
    """What makes one of torch's optimizers.

    A subclass that names itself is registered; it defines `make`::

        class Adamax(sw.Optimizer, name="adamax"):
            def __init__(self, *, eps: float = 1e-8):
                self.eps = eps

            def make(self, groups, recipe):
                return torch.optim.Adamax(groups, betas=(recipe.momentum, recipe.beta2), eps=self.eps)

    Keyword-only arguments are its settings, ``adamax:eps=1e-6``. The gradient is clipped already when it steps.
    """

    registry = OPTIMIZERS

    @abstractmethod
    def make(self, groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
        """The optimizer of a net's parameters.

        Args:
            groups: as torch's optimizers take them: each has `params` and `weight_decay`. Their `lr` is set before
                every step, by the recipe's schedule; they must stay as many, in their order.
            recipe: has momentum, beta2 and what else it may ask for.
        """


class SGD(Optimizer, name="sgd"):
    """Stochastic gradient descent with momentum."""

    def make(self, groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
        from torch.optim import SGD

        return SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=recipe.nesterov)


class AdamW(Optimizer, name="adamw"):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    def make(self, groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
        from torch.optim import AdamW

        return AdamW(groups, lr=0.0, betas=(recipe.momentum, recipe.beta2))
