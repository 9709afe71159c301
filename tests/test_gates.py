"""Each gate rule against a few lines of plain tensor code, and what every registered rule must hold."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from helpers import KINDS, body, dense, flow_of, inputs, placement, scramble
from skipway.probe.handles import read_flows
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, Flow, Gate, canonical, make_gate
from skipway.skip.placement import Placement

RULES = list(GATES)


def affine(layer: nn.Module, z: Tensor) -> Tensor:
    """W z + b; for a convolution with a padding that keeps the size."""
    if isinstance(layer, nn.Linear):
        return z @ layer.weight.T + layer.bias
    conv = (F.conv1d, F.conv2d, F.conv3d)[layer.weight.dim() - 3]
    return conv(z, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def per_feature(scale: Tensor, kind: str) -> Tensor:
    space = {"conv1d": 1, "image": 2, "volume": 3}.get(kind, 0)
    return scale.reshape(1, -1, *(1,) * space) if space else scale


# (gate, z, kind) -> T, C; the gate is the second of four, in evaluation mode.
FORMULAS = {
    "plain": lambda g, z, kind: (1.0, 0.0),
    "residual": lambda g, z, kind: (1.0, 1.0),
    "constant": lambda g, z, kind: (0.5, 0.5),
    "constant:transform=0.25,carry=0.75": lambda g, z, kind: (0.25, 0.75),
    "highway": lambda g, z, kind: (t := sigmoid(affine(g.transform, z)), 1 - t),
    "highway:bias=-4,kernel=1": lambda g, z, kind: (t := sigmoid(affine(g.transform, z)), 1 - t),
    "highway-separate": lambda g, z, kind: (sigmoid(affine(g.transform, z)), sigmoid(affine(g.carry, z))),
    "exclusive": lambda g, z, kind: (t := sigmoid(affine(g.transform, z)), 1 - t),
    "shortcut-only": lambda g, z, kind: (1.0, 1 - sigmoid(affine(g.transform, z))),
    "stochastic-depth": lambda g, z, kind: (1 - 2 / 4 * (1 - 0.5), 1.0),
    "stochastic-depth:p_last=0.8": lambda g, z, kind: (1 - 2 / 4 * (1 - 0.8), 1.0),
    "rezero": lambda g, z, kind: (g.scale, 1.0),
    "layerscale": lambda g, z, kind: (per_feature(g.scale, kind), 1.0),
    "fixup": lambda g, z, kind: (1.0, 1.0),
}


def gated(spec: str, kind: str) -> tuple[Skip, Tensor]:
    """A block with this rule, the second of four, with random weights throughout, and an input; float64."""
    torch.manual_seed(0)
    inner = body(kind)
    block = Skip(make_gate(spec, placement(inner)), inner).double().eval()
    return scramble(block), inputs(kind).double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec", FORMULAS)
def test_a_rule_is_its_formula(spec, kind):
    block, x = gated(spec, kind)
    t, c = (torch.as_tensor(value, dtype=x.dtype) for value in FORMULAS[spec](block.gate, x, kind))
    found_t, found_c = flow_of(block.gate, x)
    torch.testing.assert_close(found_t.expand_as(x), t.expand_as(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(found_c.expand_as(x), c.expand_as(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(block(x), t * block.body(x) + c * x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_obeys_the_equation(name, kind):
    block, x = gated(name, kind)
    with read_flows(block) as flows:
        y = block(x)
    flow = flows[""]
    torch.testing.assert_close(y, flow.t * block.body(x) + flow.carry() * x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "volume"])
@pytest.mark.parametrize("name", RULES)
def test_gradients_of_every_rule(name, kind):
    block, x = gated(name, kind)
    names, values = zip(*block.named_parameters(), strict=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(block, dict(zip(names, values, strict=True)), x)

    leaves = [value.detach().clone().requires_grad_() for value in (x, *values)]
    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_builds_in_a_net_and_its_parameters_get_gradients(name):
    net = dense(name, blocks=3)
    scramble(net)
    net(torch.randn(4, 64)).square().mean().backward()
    for path, parameter in net.named_parameters():
        if ".gate." in path:
            assert parameter.grad is not None
            assert parameter.grad.norm() > 0


# -- highway and its kin: biases, kernels ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 9, 50, 1000])
def test_the_automatic_bias_follows_the_number_of_blocks(count):
    inner = body("vector")
    gate = make_gate("highway", placement(inner, index=0, count=count))
    expected = min(-math.log(count), -1.0)
    torch.testing.assert_close(gate.transform.bias, torch.full((2,), expected))
    separate = make_gate("highway-separate", placement(inner, index=0, count=count))
    torch.testing.assert_close(separate.transform.bias, torch.full((2,), expected))
    torch.testing.assert_close(separate.carry.bias, torch.full((2,), -expected))


def test_a_dense_net_counts_its_gated_blocks_for_the_bias():
    net = dense("highway", blocks=49)
    for block in net.blocks:
        torch.testing.assert_close(block.gate.transform.bias, torch.full((12,), -math.log(49)))


@pytest.mark.parametrize("name", ["exclusive", "shortcut-only"])
def test_gates_of_he_2016_are_1x1_and_start_at_minus_6(name):
    gate = make_gate(name, placement(body("image", 3, kernel=5)))
    assert gate.transform.weight.shape == (3, 3, 1, 1)
    torch.testing.assert_close(gate.transform.bias, torch.full((3,), -6.0))
    assert make_gate(f"{name}:bias=-3", placement(body("image"))).transform.bias[0] == -3


def test_a_given_bias_is_taken():
    assert make_gate("highway:bias=-4", placement(body("vector"))).transform.bias.tolist() == [-4, -4]


def test_the_gate_of_a_convolution_has_the_bodys_kernel_unless_told():
    inner = body("image", 3, kernel=5)
    assert make_gate("highway", placement(inner)).transform.weight.shape == (3, 3, 5, 5)
    assert make_gate("highway:kernel=1", placement(inner)).transform.weight.shape == (3, 3, 1, 1)


def test_a_gate_cannot_have_an_even_kernel():
    with pytest.raises(ValueError, match="must be odd"):
        make_gate("highway:kernel=2", placement(body("image")))


def test_the_carry_of_a_shortcut_only_gate_keeps_its_digits_near_zero():
    gate = make_gate("shortcut-only", placement(body("vector")))
    with torch.no_grad():
        gate.transform.weight.zero_()
        gate.transform.bias.fill_(30.0)  # 1 - sigmoid(30) is 0 in float32
        c = gate(torch.zeros(1, 2)).c
    torch.testing.assert_close(c, torch.full((1, 2), math.exp(-30)), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "spec", ["highway:bias=often", "highway:kernel=big", "layerscale:init=some", "residual:scale=x"]
)
def test_a_word_where_a_number_belongs_is_refused(spec):
    setting = spec.partition(":")[2].partition("=")[0]
    with pytest.raises(ValueError, match=f"{setting} is a number or 'auto'"):
        make_gate(spec, placement(body("image")))


# -- T = 0 and T = 1 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["highway", "exclusive"])
def test_a_coupled_gate_shut_is_the_identity_and_open_the_body(name):
    """By the gate's own weights; test_skip.py does the same to every rule from outside."""
    block, x = gated(name, "vector")
    with torch.no_grad():
        block.gate.transform.weight.zero_()
        block.gate.transform.bias.fill_(-1000.0)
        assert torch.equal(block(x), x)
        (jacobian,) = torch.autograd.functional.jacobian(lambda row: block(row), (x[:1],))
        assert torch.equal(jacobian[0, :, 0], torch.eye(2, dtype=x.dtype))
        block.gate.transform.bias.fill_(1000.0)
        assert torch.equal(block(x), block.body(x))


# -- stochastic depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p_last", [0.5, 0.8, 1.0])
def test_the_linear_rule_of_stochastic_depth(p_last):
    blocks = 6
    net = dense(f"stochastic-depth:p_last={p_last}", blocks=blocks).eval()
    with read_flows(net) as flows:
        net(torch.randn(2, 64))
    for place in range(1, blocks + 1):
        expected = 1 - place / blocks * (1 - p_last)  # 1 - p_l = l/L (1 - p_L)
        assert flows[f"blocks.{place - 1}"] == (pytest.approx(expected, abs=1e-12), 1.0)


def test_stochastic_depth_lets_blocks_through_as_often_as_the_rule_says():
    blocks, draws = 4, 4000
    gates = [
        make_gate("stochastic-depth", placement(body("vector"), index=i, count=blocks)).train() for i in range(blocks)
    ]
    torch.manual_seed(0)
    z = torch.zeros(1, 2)
    for place, gate in enumerate(gates, 1):
        p = 1 - place / blocks * 0.5
        seen = [gate(z).t for _ in range(draws)]
        assert set(seen) == {0.0, 1.0}
        # Five standard deviations of a mean of Bernoulli draws.
        assert sum(seen) / draws == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / draws))


def test_stochastic_depth_draws_once_a_batch_and_again_from_the_same_seed():
    net = dense("stochastic-depth", blocks=8).train()
    x = torch.randn(16, 64)

    def drawn(seed: int) -> list[float]:
        torch.manual_seed(seed)
        with read_flows(net) as flows:
            net(x)
        return [flow.t for flow in flows.values()]

    assert all(isinstance(t, float) for t in drawn(1))
    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("p_last", [0, -0.5, 1.5])
def test_a_survival_that_is_no_probability_is_refused(p_last):
    with pytest.raises(ValueError, match="p_last is a probability"):
        make_gate(f"stochastic-depth:p_last={p_last}", placement(body("vector")))


# -- starts ------------------------------------------------------------------------------------------------------------


def test_rezero_starts_as_the_identity():
    block = Skip("rezero", body("vector"))
    x = inputs("vector")
    assert torch.equal(block(x), x)
    assert make_gate("rezero:init=0.5", placement(block.body)).scale == 0.5


@pytest.mark.parametrize(("count", "start"), [(1, 0.1), (18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6), (100, 1e-6)])
def test_layerscale_starts_by_depth(count, start):
    gate = make_gate("layerscale", placement(body("vector"), index=0, count=count))
    torch.testing.assert_close(gate.scale, torch.full((2,), start), rtol=1e-6, atol=0)


def test_a_given_start_of_layerscale_is_taken():
    assert make_gate("layerscale:init=0.3", placement(body("image", 3))).scale.shape == (3, 1, 1)
    torch.testing.assert_close(make_gate("layerscale:init=0.3", placement(body("vector"))).scale, torch.full((2,), 0.3))


def linears(block: nn.Module) -> list[nn.Linear]:
    return [m for m in block.body.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(
    ("spec", "factor"), [("residual", 9**-0.5), ("residual:scale=0.25", 0.25), ("residual:scale=1", 1)]
)
def test_residual_scales_the_last_layer_of_each_body_at_the_start(spec, factor, layers):
    plain, net = dense("plain", blocks=9, layers=layers), dense(spec, blocks=9, layers=layers)
    for before, after in zip(plain.blocks, net.blocks, strict=True):
        *others, last = zip(linears(before), linears(after), strict=True)
        assert all(torch.equal(old.weight, new.weight) for old, new in others)
        torch.testing.assert_close(last[1].weight, factor * last[0].weight)
        assert torch.equal(last[1].bias, last[0].bias)


def test_residual_leaves_bodies_that_normalise_as_they_are():
    inner = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 3))
    before = inner[3].weight.detach().clone()
    gate = make_gate("residual", placement(inner, count=100))
    gate.init_body(inner)
    assert torch.equal(inner[3].weight, before)


@pytest.mark.parametrize("layers", [2, 3])
def test_fixup_scales_and_zeroes_as_the_paper_says(layers):
    blocks = 9
    plain, net = dense("plain", blocks=blocks, layers=layers), dense("fixup", blocks=blocks, layers=layers)
    factor = blocks ** (-1 / (2 * layers - 2))  # L^(-1/(2m-2))
    for before, after in zip(plain.blocks, net.blocks, strict=True):
        *others, last = zip(linears(before), linears(after), strict=True)
        for old, new in others:
            torch.testing.assert_close(new.weight, factor * old.weight)
        assert not last[1].weight.any()
    x = torch.randn(3, 64)
    assert torch.equal(net(x), net.head(net.stem(x)))


def test_fixup_is_refused_where_it_cannot_train():
    with pytest.raises(ValueError, match=r"fixup needs bodies of two layers or more.* has 1"):
        make_gate("fixup", placement(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="a ReLU after it passes no gradient"):
        make_gate("fixup", placement(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())))


# -- placements --------------------------------------------------------------------------------------------------------


def test_a_placement_reads_its_body():
    inner = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1, stride=2), nn.ReLU()
    )
    found = Placement.of(inner, index=2, count=7)
    assert found == Placement(
        features=3, out_features=6, kind="conv2d", kernel=5, stride=4, row=(2, 7),
        layers=("0", "3"), last="3", norm=nn.BatchNorm2d, ends_in_relu=True,
    )  # fmt: skip
    assert found.normalised
    assert (found.index, found.count, found.keeps_shape, found.body_layers) == (2, 7, False, 2)
    assert Placement.of(nn.Linear(4, 4)).keeps_shape
    assert not Placement.of(nn.Linear(4, 5)).keeps_shape
    assert not Placement.of(nn.Conv1d(4, 4, 3, stride=2)).keeps_shape


@pytest.mark.parametrize("kind", ["vector", "conv1d", "image", "volume"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_fits_a_body_that_changes_the_shape(name, kind):
    inner = body(kind, 2, 3, stride=1 if kind == "vector" else 2)
    x = inputs(kind)
    t, c = flow_of(make_gate(name, placement(inner)).eval(), x)
    shape = inner(x).shape
    assert torch.broadcast_shapes(t.shape, c.shape, shape) == shape


# -- a rule of one's own -----------------------------------------------------------------------------------------------


@pytest.fixture
def halves():
    class Halves(Gate, name="test-halves"):
        def __init__(self, placement: Placement, *, weight: float = 0.5) -> None:
            super().__init__(placement)
            self.weight = weight

        def forward(self, z: Tensor) -> Flow:
            return Flow(self.weight, 1 - self.weight)

    yield Halves
    GATES.remove("test-halves")


def test_one_class_is_a_rule_that_can_be_named(halves):
    assert canonical("test-halves:weight=0.50") == "test-halves"
    net = dense("test-halves:weight=0.25", blocks=2)
    z = net.stem(torch.randn(3, 64))
    torch.testing.assert_close(net.blocks[0](z), 0.25 * net.blocks[0].body(z) + 0.75 * z)
    assert net.architecture["gate"] == "test-halves:weight=0.25"


def test_a_rules_name_is_its_own(halves):
    with pytest.raises(ValueError, match="a gate named 'highway' exists already"):

        class Impostor(Gate, name="highway"):
            pass


def test_a_rule_without_forward_says_so():
    class Nothing(Gate):
        pass

    with pytest.raises(NotImplementedError, match="Nothing defines no forward"):
        Nothing(placement(body("vector")))(torch.zeros(1, 2))


def test_a_gate_that_a_tracer_takes_as_a_leaf_is_traced():
    class Leaves(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, Gate) or super().is_leaf_module(module, name)

    block = Skip("residual:scale=1", nn.Linear(4, 4))
    traced = torch.fx.GraphModule(block, Leaves().trace(block))
    x = torch.randn(3, 4)
    assert torch.equal(traced(x), block(x))
