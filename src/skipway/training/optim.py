"""Updates: clip the gradient, move the weights. torch's optimizers for one net; for a stack, their rules on a matrix.

A stack's weights are one matrix with a row for each replica (`skipway.training.replicas.Joined`), so a learning rate
and a largest gradient norm for each replica are a column beside it. The arithmetic is torch's, which the tests hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skipway.settings.registry import checked
from skipway.training.groups import ParameterGroup, parameter_groups
from skipway.training.optimizers import OPTIMIZERS
from skipway.training.recipe import Recipe
from skipway.training.replicas import Joined, Replicas

# Columns updated at a time: what they touch stays in a core's cache from one operation to the next.
_CHUNK_BYTES = 2**18
_KEPT = (bool, int, float, str, Tensor)  # what a checkpoint holds


class Update(Protocol):
    """One step from gradients to weights."""

    def step(self, rates: Tensor) -> None:
        """Clip each replica's gradient, move its weights by its learning rate, and drop the gradient.

        Args:
            rates: (replicas,), on the CPU.
        """

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from step to step: tensors, and what JSON can hold."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""


def make_update(net: Replicas, recipe: Recipe) -> Update:
    """The recipe's optimizer and clipping for a stack, or for a single net of any kind."""
    if not isinstance(net, Joined):
        return SingleUpdate(net, recipe)
    return _STACKED[recipe.optimizer](net, recipe)


def moves_stacks(recipe: Recipe) -> bool:
    """Whether there is a rule for stacks of the recipe's optimizer; where there is none, nets are trained singly."""
    return recipe.optimizer in _STACKED


class SingleUpdate:
    """One net, by torch's own optimizers."""

    def __init__(self, net: Replicas, recipe: Recipe) -> None:
        self._parameters, self._clip = list(net.parameters()), recipe.clip
        of = parameter_groups(net.template, recipe)
        groups: dict[ParameterGroup, list[nn.Parameter]] = {}
        for name, parameter in net.template.named_parameters():
            groups.setdefault(of[name], []).append(parameter)
        self._rates = [treatment.rate for treatment in groups]
        parts = [{"params": own, "weight_decay": treatment.decay} for treatment, own in groups.items()]
        self.optimizer = _made(parts, recipe)

    def step(self, rates: Tensor) -> None:
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        for group, times in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = float(rates[0]) * times
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameters": [dict(self.optimizer.state.get(p, {})) for p in self._parameters],
            # Some keep a count or an estimate with the group.
            "groups": [{k: v for k, v in g.items() if isinstance(v, _KEPT)} for g in self.optimizer.param_groups],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for group, saved in zip(self.optimizer.param_groups, state.get("groups", ()), strict=False):
            group.update(saved)
        for parameter, saved in zip(self._parameters, state["parameters"], strict=True):
            self.optimizer.state[parameter] = {key: _placed(value, parameter) for key, value in saved.items()}


class StackUpdate:
    """What the rules for stacks share: gradients gathered into a matrix, clipped row by row, applied piece by piece."""

    def __init__(self, net: Joined, recipe: Recipe) -> None:
        self._net, self._recipe = net, recipe
        # Listed once: to walk a deep net's modules takes milliseconds.
        self._parameters = list(net.parameters())
        self._gradient = torch.zeros_like(net.rows)
        self._chunk = max(1, _CHUNK_BYTES // (4 * net.count))
        of = parameter_groups(net.template, recipe)
        sizes = [(of[name], parameter[0].numel()) for name, parameter in net.net.named_parameters()]
        self._times = self._columns([(treatment.rate, size) for treatment, size in sizes])
        self._decay = self._columns([(treatment.decay, size) for treatment, size in sizes])
        self.steps = 0

    def _columns(self, parts: Sequence[tuple[float, int]]) -> float | Tensor:
        """A number for each column of the matrix; one number where all are equal, as they mostly are."""
        values = {value for value, _ in parts}
        if len(values) == 1:
            return values.pop()
        return torch.cat([self._net.rows.new_full((size,), value) for value, size in parts])

    @torch.no_grad()
    def step(self, rates: Tensor) -> None:
        self.steps += 1
        torch.cat([_gradient(p).flatten(1) for p in self._parameters], dim=1, out=self._gradient)
        factors, rates = self._factors(), rates.to(self._gradient.device, non_blocking=True)[:, None]
        for start in range(0, self._gradient.shape[1], self._chunk):
            columns = slice(start, start + self._chunk)
            gradient = self._gradient[:, columns]
            if factors is not None:
                gradient.mul_(factors)
            own_rates, decay = rates * _part(self._times, columns), _part(self._decay, columns)
            self._rule(self._net.rows[:, columns], gradient, own_rates, decay, columns)
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "moments": self._moments()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        for moment, saved in zip(self._moments(), state["moments"], strict=True):
            moment.copy_(saved)

    def _moments(self) -> list[Tensor]:
        """What a rule remembers, of the shape of the weights."""
        raise AssertionError("a subclass gives the rule")

    def _factors(self) -> Tensor | None:
        """As `torch.nn.utils.clip_grad_norm_`, a row at a time: a norm that is not finite spoils its own row alone."""
        if self._recipe.clip is None:
            return None
        norms = torch.linalg.vector_norm(self._gradient, dim=1, keepdim=True)
        return torch.clamp(self._recipe.clip / (norms + 1e-6), max=1.0)

    def _rule(self, weights: Tensor, gradient: Tensor, rates: Tensor, decay: float | Tensor, columns: slice) -> None:
        raise AssertionError("a subclass gives the rule")


class StackSGD(StackUpdate):
    """`torch.optim.SGD` with a learning rate for each row."""

    def __init__(self, net: Joined, recipe: Recipe) -> None:
        super().__init__(net, recipe)
        self.velocity = torch.zeros_like(net.rows)

    def _moments(self) -> list[Tensor]:
        return [self.velocity]

    def _rule(self, weights: Tensor, gradient: Tensor, rates: Tensor, decay: float | Tensor, columns: slice) -> None:
        recipe = self._recipe
        if recipe.weight_decay:
            gradient.add_(weights * decay)
        if recipe.momentum:
            velocity = self.velocity[:, columns].mul_(recipe.momentum).add_(gradient)
            gradient = gradient.add_(velocity, alpha=recipe.momentum) if recipe.nesterov else velocity
        weights.addcmul_(gradient, rates, value=-1)


class StackAdamW(StackUpdate):
    """`torch.optim.AdamW` with a learning rate for each row."""

    def __init__(self, net: Joined, recipe: Recipe) -> None:
        super().__init__(net, recipe)
        self.mean, self.square = torch.zeros_like(net.rows), torch.zeros_like(net.rows)

    def _moments(self) -> list[Tensor]:
        return [self.mean, self.square]

    def _rule(self, weights: Tensor, gradient: Tensor, rates: Tensor, decay: float | Tensor, columns: slice) -> None:
        beta1, beta2, epsilon = self._recipe.momentum, self._recipe.beta2, 1e-8
        mean = self.mean[:, columns].lerp_(gradient, 1 - beta1)
        square = self.square[:, columns].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = square.sqrt().div_((1 - beta2**self.steps) ** 0.5).add_(epsilon)
        if self._recipe.weight_decay:
            weights.mul_(1 - rates * decay)
        weights.addcmul_(mean / root, rates, value=-1 / (1 - beta1**self.steps))


_STACKED: dict[str, type[StackUpdate]] = {"sgd": StackSGD, "adamw": StackAdamW}


def _made(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer for a single net.

    Raises:
        ValueError: if it makes none of torch's, or others than these groups.
    """
    spec = checked(recipe.optimizer, OPTIMIZERS)
    made: Any = OPTIMIZERS[spec.name](**dict(spec.settings)).make(groups, recipe)
    if not isinstance(made, torch.optim.Optimizer):
        raise ValueError(f"optimizer {spec}: make must return a torch.optim.Optimizer; it returned {made!r}.")
    if len(made.param_groups) != len(groups):
        raise ValueError(
            f"optimizer {spec}: it was given {len(groups)} groups of parameters, and has {len(made.param_groups)}: "
            "they must stay as many, in their order, for each has its own learning rate."
        )
    return made


def _part(values: float | Tensor, columns: slice) -> float | Tensor:
    return values[columns] if isinstance(values, Tensor) else values


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _placed(value: Any, parameter: nn.Parameter) -> Any:
    """An optimizer's saved value where it belongs: moments lie in memory as their parameter does, counters as saved."""
    if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
        return torch.empty_like(parameter).copy_(value)
    return value
