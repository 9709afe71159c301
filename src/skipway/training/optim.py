"""Optimizers for a stack of replicas, each with a learning rate and a clipping of its own.

torch's own optimizers know one learning rate a parameter group; here it is a vector over the replicas. The arithmetic is
theirs, step for step, which the tests hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, Stack


def make_optimizer(net: Replicas, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer: torch's for a single net, this file's for a stack. `set_rates` gives learning rates."""
    parameters = list(net.parameters())
    if isinstance(net, Stack):
        kind = StackSGD if recipe.optimizer == "sgd" else StackAdamW
        return kind(parameters, net.count, recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=0.0,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
    betas = (recipe.momentum, recipe.beta2)
    return torch.optim.AdamW(parameters, lr=0.0, betas=betas, weight_decay=recipe.weight_decay)


def set_rates(optimizer: torch.optim.Optimizer, rates: Tensor) -> None:
    """Give every replica its learning rate for the next step, (replicas,)."""
    for group in optimizer.param_groups:
        group["lr"] = rates if isinstance(optimizer, _StackOptimizer) else float(rates[0])


@torch.no_grad()
def clip_gradients(net: Replicas, largest: float) -> Tensor:
    """Scale each replica's gradient to at most a norm, as `torch.nn.utils.clip_grad_norm_` does for one net.

    Returns:
        The norms before, (replicas,). A replica whose norm is not finite is left as it is, and its neighbours too.
    """
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    if not isinstance(net, Stack):
        return nn.utils.clip_grad_norm_(net.parameters(), largest).reshape(1)
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]).norm(dim=0)
    factors = (largest / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, [_spread(factors, g) for g in gradients])
    return norms


class _StackOptimizer(torch.optim.Optimizer):
    def __init__(self, parameters: list[nn.Parameter], count: int, recipe: Recipe) -> None:
        defaults = {"lr": torch.zeros(count), "weight_decay": recipe.weight_decay}
        super().__init__(parameters, defaults)
        self.recipe = recipe

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, [cast(Tensor, p.grad) for p in parameters], group)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        raise AssertionError("a subclass gives the rule")

    def _buffers(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        for p in parameters:
            self.state[p].setdefault(name, torch.zeros_like(p))
        return [self.state[p][name] for p in parameters]


class StackSGD(_StackOptimizer):
    """`torch.optim.SGD` with a learning rate for each replica."""

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momentum = self.recipe.momentum
        if group["weight_decay"]:
            gradients = _list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        if momentum:
            velocity = self._buffers("momentum_buffer", parameters)
            torch._foreach_mul_(velocity, momentum)
            torch._foreach_add_(velocity, gradients)
            if self.recipe.nesterov:
                gradients = _list(torch._foreach_add(gradients, velocity, alpha=momentum))
            else:
                gradients = velocity
        rates = [_spread(-group["lr"], p) for p in parameters]
        torch._foreach_addcmul_(parameters, gradients, rates)


class StackAdamW(_StackOptimizer):
    """`torch.optim.AdamW` with a learning rate for each replica."""

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2, epsilon = self.recipe.momentum, self.recipe.beta2, 1e-8
        group["step"] = step = group.get("step", 0) + 1
        mean = self._buffers("exp_avg", parameters)
        square = self._buffers("exp_avg_sq", parameters)
        torch._foreach_lerp_(mean, gradients, 1 - beta1)
        torch._foreach_mul_(square, beta2)
        torch._foreach_addcmul_(square, gradients, gradients, value=1 - beta2)
        root = _list(torch._foreach_sqrt(square))
        torch._foreach_div_(root, (1 - beta2**step) ** 0.5)
        torch._foreach_add_(root, epsilon)
        rates = [_spread(group["lr"], p) for p in parameters]
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, [1 - rate * group["weight_decay"] for rate in rates])
        update = _list(torch._foreach_div(mean, root))
        torch._foreach_mul_(update, [rate / (1 - beta1**step) for rate in rates])
        torch._foreach_sub_(parameters, update)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """(replicas,) as (replicas, 1, 1, ...), to broadcast against a stacked parameter."""
    return values.view(-1, *(1,) * (like.dim() - 1))


def _list(tensors: Any) -> list[Tensor]:
    return list(tensors)
