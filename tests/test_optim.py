"""Updates of a stack against torch's optimizers on the single nets, on the same gradients, in float64.

Each net is trained by torch, and its gradients, kept to the bit, are given to the update under test. Through a product
of its own, a gradient would differ in its last bits from processor to processor, and Adam, which divides by the root of
squared gradients, makes any difference of it where they are near zero.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from helpers import dense, digits
from skipway.training.optim import SingleUpdate, StackAdamW, StackSGD, make_update
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, Single, Stack, stack

RECIPES = {
    "plain": Recipe(momentum=0.0, clip=None),
    "momentum": Recipe(momentum=0.9, clip=None),
    "nesterov": Recipe(momentum=0.9, nesterov=True, clip=None),
    "weight decay": Recipe(momentum=0.9, weight_decay=0.01, clip=None),
    "nesterov and weight decay": Recipe(momentum=0.8, nesterov=True, weight_decay=0.01, clip=None),
    "clipped": Recipe(momentum=0.9, clip=0.5),
    "clipped with weight decay": Recipe(momentum=0.9, clip=0.5, weight_decay=0.1),
    "biases twice as fast": Recipe(momentum=0.9, bias_rate=2.0, clip=None),
    "decay on weights alone": Recipe(momentum=0.9, weight_decay=0.1, decay_on="weights", clip=None),
    "the highway authors'": Recipe(nesterov=True, weight_decay=0.05, decay_on="weights", bias_rate=2.0, clip=None),
    "adamw": Recipe(optimizer="adamw", clip=None),
    "adamw, biases apart": Recipe(optimizer="adamw", weight_decay=0.1, decay_on="weights", bias_rate=3.0, clip=None),
    "adamw with weight decay": Recipe(optimizer="adamw", momentum=0.8, beta2=0.99, weight_decay=0.1, clip=None),
    "adamw, clipped": Recipe(optimizer="adamw", clip=0.5),
}
RATES = (0.3, 0.03, 0.003)
STEPS = 20


def nets_of(gate: str = "highway", width: int = 12, blocks: int = 3) -> list[nn.Module]:
    return [dense(gate, blocks=blocks, seed=seed, width=width).double() for seed in range(3)]


def batch(step: int, place: int) -> tuple[Tensor, Tensor]:
    """32 digits, others for each step and replica."""
    data, preprocess = digits()
    start = (step * 3 + place) * 32 % (len(data.train) - 32)
    part = slice(start, start + 32)
    return preprocess(data.train.images[part]).double(), data.train.labels[part]


def rate(step: int, place: int) -> float:
    """One that changes from step to step, as schedules make it."""
    return RATES[place] * (1 - step / STEPS)


def torch_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """One group for the weights and one for the biases, told apart by their names."""
    named = dict(net.named_parameters())
    biases = [p for name, p in named.items() if name.endswith(".bias")]
    weights = [p for name, p in named.items() if name.endswith(".weight")]
    assert biases
    assert len(biases) + len(weights) == len(named)
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": biases, "weight_decay": recipe.weight_decay if recipe.decay_on == "all" else 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, 1.0, recipe.momentum, nesterov=recipe.nesterov)
    return torch.optim.AdamW(groups, 1.0, (recipe.momentum, recipe.beta2))


Gradients = list[dict[str, Tensor]]  # a step's, by the parameters' names


def train_by_torch(net: nn.Module, place: int, recipe: Recipe) -> tuple[nn.Module, Gradients]:
    """The trained net, and the gradients of each step before they are clipped."""
    net, gradients = copy.deepcopy(net), []
    optimizer = torch_optimizer(net, recipe)
    for step in range(STEPS):
        x, y = batch(step, place)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters()})
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.param_groups[0]["lr"] = rate(step, place)
        optimizer.param_groups[1]["lr"] = rate(step, place) * recipe.bias_rate
        optimizer.step()
    return net, gradients


def train_by_update(net: Replicas, gradients: list[Gradients], recipe: Recipe) -> None:
    """The same steps on the gradients of each replica."""
    update, several = make_update(net, recipe), len(gradients) > 1
    for step in range(STEPS):
        for name, p in net.net.named_parameters():
            own = [steps[step][name] for steps in gradients]
            # A stack keeps weights as (replicas, in, out).
            p.grad = torch.stack([g.T if several and g.dim() == 2 else g for g in own]).reshape(p.shape)
        update.step(torch.tensor([rate(step, place) for place in range(net.count)], dtype=torch.float64))


# Each step rounds a few times: by u |w|, by the rate times u |g|, and in Adam by the rate times u max|m| / sqrt(v). A
# mean m of gradients may cancel, but sqrt(v) is at least max|g| / sqrt(t), so that is the rate times u sqrt(t) at most.
# Momentum adds ten steps' errors up. With u = 1.1e-16, rates of 0.3 and twenty steps: 20 x 10 x 0.3 x sqrt(20) u, and
# some factor for the operations in a step.
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}


def assert_equal_nets(found: nn.Module, expected: nn.Module, start: nn.Module) -> None:
    for (name, p), q, old in zip(found.named_parameters(), expected.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(p, q, **ROUNDING, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(q, old)


def assert_updated_as_by_torch(nets: list[nn.Module], recipe: Recipe) -> None:
    trained, gradients = zip(*(train_by_torch(net, place, recipe) for place, net in enumerate(nets)), strict=True)
    together = stack([copy.deepcopy(net) for net in nets])
    train_by_update(together, list(gradients), recipe)
    for place, net in enumerate(nets):
        assert_equal_nets(together.member(place), trained[place], net)


@pytest.mark.parametrize("name", RECIPES)
def test_a_stack_is_updated_as_torch_updates_each_net(name):
    assert_updated_as_by_torch(nets_of(), RECIPES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_a_single_net_is_updated_by_torch(name):
    assert_updated_as_by_torch(nets_of()[:1], RECIPES[name])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rows_longer_than_a_piece_are_updated_whole(optimizer):
    """Updates go over the matrix piece by piece; this net has weights for more than one piece."""
    nets, recipe = nets_of("plain", width=150, blocks=2), Recipe(optimizer=optimizer, weight_decay=0.01)
    together = stack(nets)
    assert together.rows.shape[1] > make_update(together, recipe)._chunk
    assert_updated_as_by_torch(nets, recipe)


def test_the_recipe_names_the_update():
    nets = nets_of("plain", blocks=1)
    assert isinstance(make_update(Stack(nets), Recipe()), StackSGD)
    assert isinstance(make_update(Stack(nets), Recipe(optimizer="adamw")), StackAdamW)
    assert isinstance(make_update(Single(nets[0]), Recipe()), SingleUpdate)


def test_each_row_is_clipped_by_its_own_norm():
    """A step of plain descent with rate 1 moves each row by its clipped gradient."""
    nets = nets_of("plain", blocks=1)
    together = stack(nets)
    scales = (1e-3, 1.0, 1e3)
    for p in together.parameters():
        p.grad = torch.stack([torch.full_like(row, scale) for row, scale in zip(p, scales, strict=True)])
    before = together.rows.clone()
    make_update(together, Recipe(momentum=0.0, clip=1.0)).step(torch.ones(3, dtype=torch.float64))
    for place, scale in enumerate(scales):
        parameter = nn.Parameter(before[place].clone())
        parameter.grad = torch.full_like(parameter, scale)
        nn.utils.clip_grad_norm_([parameter], 1.0)
        torch.testing.assert_close(before[place] - together.rows[place], parameter.grad, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_a_gradient_that_is_not_finite_spoils_its_own_row_alone(bad):
    together = stack(nets_of("plain", blocks=1))
    for p in together.parameters():
        p.grad = torch.full_like(p, 0.01)
        p.grad[1] = bad
    make_update(together, Recipe()).step(torch.full((3,), 0.1, dtype=torch.float64))
    assert torch.isfinite(together.rows[[0, 2]]).all()


def test_a_parameter_without_a_gradient_stays():
    together = stack(nets_of("plain", blocks=1))
    before = together.rows.clone()
    make_update(together, Recipe()).step(torch.ones(3, dtype=torch.float64))
    assert torch.equal(together.rows, before)
