"""Replicas: a net in a stack against the same net alone, through the real loop on real data.

The arithmetic is the same but for the order of sums inside a product, of 64 terms at most: a step may differ by 64 u,
with u the unit roundoff. What differs grows until the end: weights that are shifted by 1e-9 at the start differ by less
than ten times as much after the 40 steps here; with AdamW, which divides by gradients near zero, 4,000 times.
64 u x 40 steps x growth is the tolerance on every processor; rounding errors mostly cancel, so far less is seen. In
single precision nets are smooth: near a corner of ReLU, 1e-7 may decide whether a unit learns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from helpers import CLASSES, cross_entropy, dense, digits, error_rate, scramble
from skipway.anatomy.layers import layers_of_net
from skipway.data.images.batches import BatchStream
from skipway.nets.stack import SkipNet
from skipway.probe.signals import measure
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, Flow, Gate
from skipway.skip.placement import Placement
from skipway.training.evaluate import Scores
from skipway.training.loop import Curves, train
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, Single, Stack, stack, stack_size, why_not_stackable

STACKABLE = [name for name in GATES if why_not_stackable(dense(name, blocks=1)) is None]
RANDOM = [name for name in GATES if GATES[name].random]
SEEDS, RATES, STEPS = (0, 1, 2), (0.01, 0.03, 0.1), 40


def nets_of(gate: str, dtype: torch.dtype, **settings: object) -> list[SkipNet]:
    return [dense(gate, blocks=5, seed=seed, width=16, **settings).to(dtype) for seed in SEEDS]


def fit(
    nets: Sequence[nn.Module], seeds: Sequence[int], rates: Sequence[float], recipe: Recipe | None = None
) -> tuple[Replicas, Curves]:
    """Train on the digits by the real loop, in the precision of the nets; copies, so that nets can be trained again."""
    data, preprocess = digits()
    dtype = next(nets[0].parameters()).dtype
    recipe = recipe or Recipe(batch_size=64)
    x, y = preprocess(data.validation.images).to(dtype), data.validation.labels

    @torch.no_grad()
    def validate(net: Replicas) -> Scores:
        scores, labels = net(x.expand(net.count, *x.shape)), y.expand(net.count, -1)
        return Scores(cross_entropy(scores, labels), error_rate(scores, labels))

    stream = BatchStream(data.train, preprocess, batch_size=recipe.batch_size, seeds=seeds)
    net = stack(copy.deepcopy(list(nets)))
    curves = train(
        net,
        ((x.to(dtype), y) for x, y in stream),
        recipe,
        CLASSES,
        rates=rates,
        steps=STEPS,
        epoch_steps=len(data.train) / recipe.batch_size,
        validate=validate,
        intervals=4,
    )
    return net, curves


def losses(curves: Curves, index: int) -> Tensor:
    return torch.tensor(
        [[row["train_loss"], row["validation_loss"]] for row in curves.rows[index]], dtype=torch.float64
    )


def assert_agree(nets: Sequence[nn.Module], recipe: Recipe | None, tolerance: float) -> None:
    close = {"rtol": tolerance, "atol": tolerance}
    together, curves = fit(nets, SEEDS, RATES, recipe)
    assert isinstance(together, Stack)
    for place, (net, seed, rate) in enumerate(zip(nets, SEEDS, RATES, strict=True)):
        alone, own = fit([net], [seed], [rate], recipe)
        assert isinstance(alone, Single)
        torch.testing.assert_close(losses(curves, place), losses(own, 0), **close)
        found, expected = together.member(place).state_dict(), alone.member(0).state_dict()
        assert list(found) == list(expected)
        for name in expected:
            torch.testing.assert_close(
                found[name], expected[name], **close, msg=lambda text, name=name: f"{name}: {text}"
            )
            if expected[name].numel() > 20:
                assert not torch.equal(expected[name], net.state_dict()[name]), f"{name} was not trained"


@pytest.mark.parametrize("gate", STACKABLE)
def test_a_replica_trains_as_it_would_alone_in_double_precision(gate):
    assert_agree(nets_of(gate, torch.float64), None, tolerance=1e-11)


@pytest.mark.parametrize("gate", STACKABLE)
def test_a_replica_trains_as_it_would_alone_in_single_precision(gate):
    assert_agree(nets_of(gate, torch.float32, activation="tanh"), None, tolerance=1e-3)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(batch_size=64, clip=None, nesterov=True, weight_decay=1e-3, warmup_steps=5),
        Recipe(batch_size=64, optimizer="adamw", learning_rates=(0.001,), schedule="exponential"),
    ],
    ids=["nesterov", "adamw"],
)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_other_recipes_agree_too(recipe, activation):
    tolerance = 1e-8 if recipe.optimizer == "adamw" else 1e-11
    assert_agree(nets_of("highway", torch.float64, activation=activation), recipe, tolerance=tolerance)


def test_the_training_that_is_compared_learns():
    _, curves = fit(nets_of("residual", torch.float32), SEEDS, (0.1, 0.1, 0.1))
    for rows in curves.rows:
        assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]


# -- members -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", STACKABLE)
def test_a_member_is_an_ordinary_module_with_the_rows_weights(gate):
    nets = [scramble(net, 0.2) for net in nets_of(gate, torch.float32)]
    together = stack(nets)
    x = torch.randn(3, 7, 64)
    rows = together(x)
    for place, net in enumerate(nets):
        member = together.member(place)
        assert [(n, type(m)) for n, m in member.named_modules()] == [(n, type(m)) for n, m in net.named_modules()]
        assert all(torch.equal(member.state_dict()[name], value) for name, value in net.state_dict().items())
        torch.testing.assert_close(member(x[place]), rows[place], rtol=1e-5, atol=1e-5)
        assert member.architecture == net.architecture


def test_a_member_is_a_copy():
    together = stack(nets_of("highway", torch.float32))
    before = together.rows.clone()
    for p in together.member(1).parameters():
        p.data.zero_()
    assert torch.equal(together.rows, before)
    single = Single(dense("plain", blocks=1))
    next(single.member(0).parameters()).data.zero_()
    assert next(single.parameters()).any()


def test_a_single_net_has_one_member():
    with pytest.raises(IndexError, match="only member 0; 1 was asked for"):
        Single(dense("plain", blocks=1)).member(1)


def test_a_stack_leaves_the_nets_that_it_was_made_of_alone():
    nets = nets_of("layerscale", torch.float32)
    before = copy.deepcopy([net.state_dict() for net in nets])
    together = stack(nets)
    with torch.no_grad():
        together.rows.add_(1.0)
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_weights_are_one_matrix_whose_views_are_the_parameters():
    nets = nets_of("highway", torch.float32)
    together = Stack(nets)
    assert together.rows.shape == (3, sum(p.numel() for p in nets[0].parameters()))
    with torch.no_grad():
        together.rows.zero_()
    assert not any(p.any() for p in together.parameters())


def test_a_stack_that_changes_precision_keeps_its_matrix_and_its_members_follow():
    nets = nets_of("highway", torch.float32)
    together = Stack(nets).double()
    assert together.rows.dtype == torch.float64
    with torch.no_grad():
        together.rows.add_(1e-12)
    member = together.member(1)
    for name, value in nets[1].state_dict().items():
        assert torch.equal(member.state_dict()[name], value.double() + 1e-12)


# -- one that diverges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [1.0, None])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("gate", ["plain", "residual", "highway"])
def test_a_replica_that_diverges_does_not_touch_the_others(gate, optimizer, clip):
    nets = nets_of(gate, torch.float32)
    recipe = Recipe(batch_size=64, clip=clip, optimizer=optimizer, momentum=0.5)
    wild, wild_curves = fit(nets, SEEDS, (0.01, 1e36, 0.02), recipe)
    tame, tame_curves = fit(nets, SEEDS, (0.01, 0.001, 0.02), recipe)
    assert wild_curves.diverged_at[1] is not None
    assert not torch.isfinite(wild.rows[1]).all()
    for place in (0, 2):
        assert wild_curves.diverged_at[place] is None
        assert torch.equal(wild.rows[place], tame.rows[place])
        assert wild_curves.rows[place] == tame_curves.rows[place]


def test_a_learning_rate_of_a_million_ruins_its_own_replica_alone():
    nets = nets_of("highway", torch.float32)
    wild, wild_curves = fit(nets, SEEDS, (0.01, 1e6, 0.02), Recipe(batch_size=64, clip=None))
    tame, tame_curves = fit(nets, SEEDS, (0.01, 0.001, 0.02), Recipe(batch_size=64, clip=None))
    last = wild_curves.rows[1][-1]["train_loss"]
    assert not last < 1e3  # huge, or not a number
    for place in (0, 2):
        assert torch.equal(wild.rows[place], tame.rows[place])
        assert wild_curves.rows[place] == tame_curves.rows[place]


# -- what can be stacked -----------------------------------------------------------------------------------------------


def test_there_are_rules_of_both_kinds():
    assert {"plain", "residual", "highway", "layerscale", "rezero", "fixup"} <= set(STACKABLE)
    assert "stochastic-depth" in RANDOM
    assert set(STACKABLE).isdisjoint(RANDOM)


@pytest.mark.parametrize("gate", RANDOM)
def test_rules_that_draw_random_numbers_run_singly(gate):
    nets = [dense(gate, blocks=2, seed=seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match=r"cannot be stacked: blocks\.0\.gate .* draws random numbers"):
        stack(nets)
    assert isinstance(stack(nets[:1]), Single)


class Counting(Gate):
    """Keeps a buffer, which replicas would share."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, z: Tensor) -> Flow:
        self.seen += 1
        return Flow(1.0, 1.0)


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (nn.Dropout(0.5), "draws random numbers"),
        (nn.LayerNorm(4), "may mix its dimensions"),
        (nn.Conv1d(4, 4, 3, padding=1), "may mix its dimensions"),
        (nn.Softmax(dim=1), "may mix its dimensions"),
        (nn.BatchNorm1d(4), "keeps buffers"),
    ],
)
def test_what_a_replica_dimension_would_change_is_refused_with_the_reason(inner, reason):
    net = SkipNet(nn.Identity(), [Skip("plain", nn.Sequential(nn.Linear(4, 4), inner))], nn.Linear(4, 2))
    assert "blocks.0.body.1" in str(why_not_stackable(net))
    assert reason in str(why_not_stackable(net))
    with pytest.raises(ValueError, match=reason):
        stack([net, net])


def test_a_rule_with_buffers_is_refused():
    net = SkipNet(nn.Identity(), [Skip(Counting(Placement.of(nn.Linear(4, 4))), nn.Linear(4, 4))], nn.Linear(4, 2))
    assert "keeps buffers (seen)" in str(why_not_stackable(net))


def test_nets_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same names and shapes"):
        stack([dense("plain", blocks=1, width=4), dense("plain", blocks=1, width=5)])
    with pytest.raises(ValueError, match="same names and shapes"):
        stack([dense("plain", blocks=1), dense("plain", blocks=2)])


@pytest.mark.parametrize(
    "flatten", [nn.Flatten(), nn.Flatten(1, 2), nn.Flatten(-3), nn.Flatten(-3, -1), nn.Flatten(1, -1)]
)
def test_flattening_leaves_the_replica_dimension_alone(flatten):
    x = torch.randn(2, 5, 3, 4, 4)
    nets = [SkipNet(copy.deepcopy(flatten), [], nn.Identity()) for _ in range(2)]
    expected = torch.stack([net(row) for net, row in zip(nets, x, strict=True)])
    assert torch.equal(Stack(with_weight(nets))(x), expected)


def with_weight(nets: Sequence[SkipNet]) -> list[SkipNet]:
    """A net needs one parameter to be a stack."""
    for net in nets:
        net.gate = Skip("rezero", nn.Identity()).gate
    return list(nets)


def test_stack_sizes():
    cpu = torch.device("cpu")
    sizes = [stack_size(4 * 128 * 50 * blocks, cpu) for blocks in (5, 20, 50, 100, 1000)]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) >= 4
    assert stack_size(0, cpu) >= 4
    assert stack_size(10**9, torch.device("cuda")) == 256


class Centred(nn.Sequential):
    """Of torch's kind, with a forward of its own: a mean that would go over the replicas."""

    def forward(self, x):
        y = super().forward(x)
        return y - y.mean(0)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("net", [Centred(nn.Linear(4, 4)), nn.Sequential(Doubled(4, 4))])
def test_a_kind_of_torchs_with_a_forward_of_its_own_is_not_stacked(net):
    assert "may mix its dimensions" in why_not_stackable(net)


def test_modules_with_hooks_are_not_stacked():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    assert why_not_stackable(net) is None
    for register in (
        net[1].register_forward_hook,
        net[1].register_forward_pre_hook,
        net[1].register_full_backward_hook,
    ):
        handle = register(lambda *told: None)
        assert why_not_stackable(net) == "1 (Linear) has hooks, which a stack would not call"
        handle.remove()


def frozen(net):
    net[1].bias.requires_grad_(False)


def hooked(net):
    net[1].weight.register_hook(lambda gradient: 2 * gradient)


def hooked_after(net):
    net[1].weight.register_post_accumulate_grad_hook(lambda parameter: None)


def with_an_extra_parameter(net):
    net[1].register_parameter("extra", nn.Parameter(torch.ones(())))


def with_an_extra_module(net):
    net[1].add_module("extra", nn.Linear(4, 4))


def with_a_module_twice(net):
    net.append(net[1])


def with_a_parameter_twice(net):
    net[2].weight = net[1].weight


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (frozen, "1.bias is not trained, and a stack's update moves all weights"),
        (hooked, "1.weight has hooks, which a stack would not call"),
        (hooked_after, "1.weight has hooks, which a stack would not call"),
        (with_an_extra_parameter, "1 (Linear) holds more than its weight and bias"),
        (with_an_extra_module, "1 (Linear) holds more than its weight and bias"),
        (with_a_module_twice, "1.weight and 3.weight are one parameter, of which a stack would make two"),
        (with_a_parameter_twice, "1.weight and 2.weight are one parameter, of which a stack would make two"),
    ],
)
def test_parameters_that_a_stack_would_treat_otherwise_are_not_stacked(change, reason):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    assert why_not_stackable(net) is None
    change(net)
    assert why_not_stackable(net) == reason
    with pytest.raises(ValueError, match="cannot be stacked"):
        stack([net, copy.deepcopy(net)])


def test_what_has_no_parameters_may_stand_in_two_places():
    relu = nn.ReLU()
    assert why_not_stackable(nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)) is None


class Constant(Gate):
    """T is a tensor that knows nothing of replicas."""

    value: Tensor = torch.tensor(0.5)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.value, None)


class OfFeatures(Constant):
    value = torch.tensor([0.1, 0.2, 0.3, 0.6])


class OfAll(Constant):
    """T is the mean of all weights that there are."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.weight.mean().sigmoid(), None)


def measured(gate: type[Gate], count: int) -> list[list[dict]]:
    def net(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(*(Skip(gate(Placement.of(body)), body) for body in (nn.Linear(4, 4), nn.Linear(4, 4))))

    together = stack([net(seed) for seed in range(count)])
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    replicas = count if count > 1 else None
    x = x.expand(count, 3, 4) if replicas else x
    return measure(
        together.net,
        x,
        lambda outputs: outputs.reshape(count, -1).square().mean(1),
        layers=layers_of_net(together.net, x),
        replicas=replicas,
    )


@pytest.mark.parametrize("gate", [Constant, OfFeatures])
def test_a_gate_whose_flow_is_a_constant_tensor_is_measured_in_a_stack(gate):
    (alone,) = measured(gate, 1)
    together = measured(gate, 2)
    assert len(together) == 2
    for own in together:
        for key in ("transform_mean", "carry_mean"):
            assert [row[key] for row in own] == [row[key] for row in alone]
    for row, expected in zip(together[0], alone, strict=True):
        assert row["activation_std"] == pytest.approx(expected["activation_std"])


def test_a_flow_that_was_taken_from_all_replicas_is_told():
    with pytest.raises(ValueError, match=r"of shape \(\) for 2 replicas, .* taken from all of them together"):
        measured(OfAll, 2)
