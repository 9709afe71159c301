"""Probes against plain autograd code; handles and lesions leave a model as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from helpers import body, cross_entropy, dense, digits, scramble
from skipway.anatomy.layers import layers_of_net
from skipway.anatomy.skips import find_skips
from skipway.nets.stack import SkipNet
from skipway.probe.handles import override_flows, read_flows
from skipway.probe.lesion import lesion
from skipway.probe.signals import measure
from skipway.rundir.layout import PROBE_COLUMNS
from skipway.skip import block as skip
from skipway.skip.block import Residual, Skip
from skipway.skip.gate import GATES, Flow
from skipway.skip.shortcuts import make_shortcut
from skipway.training.replicas import stack, why_not_stackable

RULES = list(GATES)
STACKABLE = [name for name in RULES if why_not_stackable(dense(name, blocks=1)) is None]


def batch(size: int = 64, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    data, preprocess = digits()
    return preprocess(data.train.images[:size]).to(dtype), data.train.labels[:size]


def net_of(gate: str, seed: int = 0) -> SkipNet:
    return scramble(dense(gate, blocks=3, seed=seed, width=8), 0.4).double()


def one_loss(labels: Tensor):
    return lambda scores: nn.functional.cross_entropy(scores, labels)[None]


def numbers(row: dict) -> dict:
    """What was measured, without what says where; -1 stands for nothing."""
    return {name: -1 if row[name] is None else row[name] for name, kind in PROBE_COLUMNS.items() if kind == "float64"}


def hooks_on(model: nn.Module) -> int:
    """On its modules, and on all modules of the process."""
    holders = [*model.modules(), torch.nn.modules.module, skip]
    return sum(
        len(value)
        for holder in holders
        for key, value in vars(holder).items()
        if "hooks" in key and hasattr(value, "__len__")
    )


# -- measuring ---------------------------------------------------------------------------------------------------------


def by_hand(net: SkipNet, x: Tensor, labels: Tensor) -> list[dict[str, float | None]]:
    """The same quantities by a forward pass written out and `Tensor.grad`."""
    outputs, flows = [net.stem(x)], [None]
    for block in net.blocks:
        z = outputs[-1]
        flow = block.gate(z)
        t, c = flow.t, flow.carry()
        outputs.append(t * block.body(z) + c * z)
        flows.append((torch.as_tensor(t, dtype=x.dtype).mean().item(), torch.as_tensor(c, dtype=x.dtype).mean().item()))
    outputs.append(net.head(outputs[-1]))
    flows.append(None)
    for output in outputs:
        output.retain_grad()
    net.zero_grad()
    nn.functional.cross_entropy(outputs[-1], labels).backward()
    rows = []
    for output, flow, layer in zip(outputs, flows, (net.stem, *net.blocks, net.head), strict=True):
        spread = output.detach() - output.detach().mean()
        grads = [p.grad for p in layer.parameters() if p.grad is not None]
        rows.append(
            {
                "activation_std": (spread.square().sum() / (output.numel() - 1)).sqrt().item(),
                "gradient_norm": output.grad.square().sum().sqrt().item(),
                "weight_gradient_norm": sum(g.square().sum() for g in grads).sqrt().item(),
                "transform_mean": flow and flow[0],
                "carry_mean": flow and flow[1],
            }
        )
    net.zero_grad()
    return rows


@pytest.mark.parametrize("gate", [name for name in RULES if not GATES[name].random])
def test_every_column_is_what_autograd_says(gate):
    net = net_of(gate)
    x, labels = batch()
    (found,) = measure(net, x, one_loss(labels), layers=layers_of_net(net))
    expected = by_hand(net, x, labels)
    kinds = ["stem", "block", "block", "block", "head"]
    names = ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]
    for place, (row, by_autograd) in enumerate(zip(found, expected, strict=True)):
        assert {"moment": "", "step": 0, **row}.keys() == PROBE_COLUMNS.keys()
        assert (row["layer"], row["name"], row["kind"]) == (place, names[place], kinds[place])
        assert numbers(row) == pytest.approx(numbers(by_autograd), rel=1e-9)


@pytest.mark.parametrize("gate", STACKABLE)
def test_a_stacks_rows_are_those_of_the_single_nets(gate):
    nets = [net_of(gate, seed) for seed in (0, 1, 2)]
    x, labels = batch()
    together = stack(nets).net
    found = measure(
        together,
        x.expand(3, *x.shape),
        lambda scores: cross_entropy(scores, labels.expand(3, -1)),
        layers=layers_of_net(together),
        replicas=3,
    )
    for rows, net in zip(found, nets, strict=True):
        (alone,) = measure(net, x, one_loss(labels), layers=layers_of_net(net))
        for row, expected in zip(rows, alone, strict=True):
            assert row["name"] == expected["name"]
            assert numbers(row) == pytest.approx(numbers(expected), rel=1e-9)


def test_a_dropped_block_and_a_kept_one_are_both_measured():
    net = dense("stochastic-depth:p_last=0.5", blocks=12).double().eval()
    x, labels = batch()
    (found,) = measure(net, x, one_loss(labels), layers=layers_of_net(net))
    kept = [row["transform_mean"] for row in found if row["kind"] == "block"]
    assert set(kept) == {0.0, 1.0}  # as a training step sees the net
    for row in found[1:-1]:
        assert (row["weight_gradient_norm"] > 0) == (row["transform_mean"] == 1)


def test_what_is_not_finite_is_none():
    net = dense("plain", blocks=2).double()
    with torch.no_grad():
        net.blocks[1].body.linear.weight.fill_(float("inf"))
    x, labels = batch()
    (found,) = measure(net, x, one_loss(labels), layers=layers_of_net(net))
    assert found[0]["activation_std"] > 0
    assert found[2]["activation_std"] is None
    assert found[0]["gradient_norm"] is None


def test_a_layer_that_is_called_twice_is_measured_in_its_first_call():
    stem, block = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), Skip("highway:bias=-1", nn.Linear(8, 8))
    net = scramble(SkipNet(stem, [block, block], nn.Identity())).double()
    x = batch()[0]
    (found,) = measure(net, x, lambda scores: scores.square().mean()[None], layers=layers_of_net(net))
    assert found[1]["activation_std"] == pytest.approx(block(stem(x)).std().item(), rel=1e-9)
    assert found[1]["transform_mean"] == pytest.approx(block.gate(stem(x)).t.mean().item(), rel=1e-9)


class Messy(SkipNet):
    """A net with everything that a measurement could disturb: running statistics, dropout, modes that differ."""

    def __init__(self) -> None:
        blocks = [Residual(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))) for _ in range(2)]
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), blocks, nn.Linear(8, 10))
        self.blocks[1].eval()


def test_a_net_is_left_as_it_was():
    torch.manual_seed(0)
    net = Messy().double()
    x, labels = batch()
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = {name: module.training for name, module in net.named_modules()}
    random = torch.random.get_rng_state()
    first = measure(net, x, one_loss(labels), layers=layers_of_net(net))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert len(set(modes.values())) == 2
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in net.parameters())
    assert all(p.requires_grad for p in net.parameters())
    assert hooks_on(net) == 0
    torch.manual_seed(99)  # its random draws are its own
    assert measure(net, x, one_loss(labels), layers=layers_of_net(net)) == first


def test_a_measurement_that_fails_leaves_the_net_as_it_was_too():
    net = Messy().double()
    random, modes = torch.random.get_rng_state(), [module.training for module in net.modules()]

    def fail(scores: Tensor) -> Tensor:
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        measure(net, batch()[0], fail, layers=layers_of_net(net))
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not net.blocks[0].body[1].running_mean.any()
    assert hooks_on(net) == 0


def test_measuring_inside_no_grad_works():
    net = net_of("highway")
    x, labels = batch()
    with torch.no_grad():
        (found,) = measure(net, x, one_loss(labels), layers=layers_of_net(net))
    assert found[0]["gradient_norm"] > 0


# -- handles -----------------------------------------------------------------------------------------------------------


def same_draws(net: nn.Module, x: Tensor) -> Tensor:
    torch.manual_seed(7)
    return net(x)


@pytest.mark.parametrize("gate", RULES)
def test_reading_changes_nothing_and_leaves_nothing(gate):
    net = net_of(gate)
    x, _ = batch()
    before = same_draws(net, x)
    with read_flows(net) as flows:
        during = same_draws(net, x)
        assert hooks_on(net) > 0
    assert torch.equal(before, during)
    assert torch.equal(before, same_draws(net, x))
    assert hooks_on(net) == 0
    assert list(flows) == ["blocks.0", "blocks.1", "blocks.2"]
    assert all(isinstance(flow, Flow) for flow in flows.values())


@pytest.mark.parametrize("gate", RULES)
def test_overriding_with_what_was_read_changes_nothing_and_leaves_nothing(gate):
    net = net_of(gate)
    x, _ = batch()
    with read_flows(net) as flows:
        before = same_draws(net, x)
    with override_flows(net, flows):
        assert torch.equal(net(x), before)
    assert torch.equal(same_draws(net, x), before)
    assert hooks_on(net) == 0


def test_the_last_forward_pass_is_the_one_that_was_read():
    net = net_of("highway")
    x, _ = batch()
    with read_flows(net) as flows:
        net(x[:5])
        first = flows["blocks.0"].t
        net(x[5:12])
    assert first.shape == (5, 8)
    torch.testing.assert_close(flows["blocks.0"].t, net.blocks[0].gate(net.stem(x[5:12])).t)


def test_reading_sees_what_is_overridden():
    net = net_of("highway")
    with override_flows(net, {"blocks.1": Flow(0.5, 0.25)}), read_flows(net) as flows:
        net(batch()[0])
    assert flows["blocks.1"] == Flow(0.5, 0.25)


def test_handles_are_put_back_when_the_block_fails():
    net = net_of("highway")
    with pytest.raises(RuntimeError), read_flows(net), lesion(net, ["blocks.0"]):
        net(torch.randn(2, 63).double())
    assert hooks_on(net) == 0


def test_skips_are_found_wherever_they_are():
    inner = Residual(nn.Linear(4, 4))
    model = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"deep": nn.Sequential(inner)})["deep"], nn.Tanh())
    (handle,) = find_skips(model)
    assert (handle.name, handle.skip) == ("1.0", inner)
    assert [handle.name for handle in find_skips(inner)] == [""]
    assert find_skips(nn.Linear(2, 2)) == []


# -- lesions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", RULES)
def test_a_lesion_takes_blocks_out_of_a_net(gate):
    net = net_of(gate).eval()
    x, _ = batch()
    whole = net(x)
    with lesion(net, ["blocks.0", "blocks.2"]):
        found = net(x)
    assert torch.equal(found, net.head(net.blocks[1](net.stem(x))))
    assert torch.equal(net(x), whole)
    with lesion(net, "blocks.1"):
        assert torch.equal(net(x), net.head(net.blocks[2](net.blocks[0](net.stem(x)))))
    with lesion(net, []):
        assert torch.equal(net(x), whole)
    with lesion(net, (f"blocks.{place}" for place in range(3))):
        assert torch.equal(net(x), net.head(net.stem(x)))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_lesion_is_refused_where_the_shape_changes_and_there_is_no_shortcut(stride):
    changing = body("image", 2, 3 if stride == 1 else 2, stride=stride)
    model = nn.Sequential(Skip("plain", body("image")), Skip("plain", changing))
    with lesion(model, ["0"]):
        pass
    with (
        pytest.raises(ValueError, match=r"block '1' changes its input's shape and has no shortcut"),
        lesion(model, ["0", "1"]),
    ):
        pass
    assert hooks_on(model) == 0


def test_a_lesion_of_a_block_with_a_shortcut_carries_through_it():
    inner = body("image", 2, 4, stride=2)
    block = Skip("plain", inner, make_shortcut("A", find_placement(inner)))
    x = torch.randn(1, 2, 6, 6)
    with lesion(block, [""]):
        assert torch.equal(block(x)[:, :2], x[:, :, ::2, ::2])


def find_placement(inner: nn.Module):
    from skipway.skip.placement import Placement

    return Placement.of(inner)


def test_a_name_that_is_no_block_is_refused_with_those_that_are():
    net = net_of("plain")
    for context in (lambda: lesion(net, ["blocks.7"]), lambda: override_flows(net, {"blocks.7": Flow(0.0, 1.0)})):
        with (
            pytest.raises(ValueError, match=r"no block is named 'blocks\.7'\. The blocks: blocks\.0, blocks\.1"),
            context(),
        ):
            pass
    assert hooks_on(net) == 0
