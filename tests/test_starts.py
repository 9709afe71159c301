"""How bodies by hand start: by the order of calls, through what weights are made of, each body of a row once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

import skipway as sw
from helpers import body
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, Flow, Gate
from skipway.skip.placement import Placement

# Old weight norm says that the new one is to be preferred; people's nets have it all the same.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
SCALED = ("residual", "shortcut-only", "stochastic-depth")  # rules that scale a body's last layer
COUNT, FACTOR = 16, 0.25  # blocks, and 1 / sqrt of their number


class Layers(nn.Module):
    """Linear layers that are called in an order of their own, with a tanh between them."""

    def __init__(self, defined: str, called: str, width: int = 4) -> None:
        super().__init__()
        self.called = called
        for name in defined:
            self.add_module(name, nn.Linear(width, width))

    def forward(self, z: Tensor) -> Tensor:
        *others, last = (self.get_submodule(name) for name in self.called)
        for layer in others:
            z = layer(z).tanh()
        return last(z)


def started(spec: str, inner: nn.Module) -> dict[str, float]:
    """By which factor each weight of a body starts, where it stands in one of many blocks."""
    before = {name: value.detach().clone() for name, value in inner.named_parameters()}
    Skip(spec, inner, index=0, count=COUNT)
    after = {name: value.detach() for name, value in inner.named_parameters()}
    factors = {name: (after[name].norm() / start.norm()).item() for name, start in before.items() if start.any()}
    for name, factor in factors.items():
        torch.testing.assert_close(after[name], before[name] * factor)
    return factors


# -- the order of calls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SCALED)
def test_the_last_layer_is_the_one_that_is_called_last(spec):
    factors = started(spec, Layers("cab", "abc"))
    assert factors.pop("c.weight") == pytest.approx(FACTOR)
    assert set(factors.values()) == {1.0}


def test_fixup_goes_by_the_order_of_calls():
    factors = started("fixup", Layers("cab", "abc"))
    inner = COUNT ** (-1 / 4)  # three layers: L^(-1/(2m-2))
    weights = {name: factor for name, factor in factors.items() if name.endswith("weight")}
    assert weights == pytest.approx({"c.weight": 0.0, "a.weight": inner, "b.weight": inner})


def test_a_layer_that_is_called_twice_counts_twice_and_is_scaled_once():
    factors = started("fixup", Layers("ba", "aab"))
    assert factors["a.weight"] == pytest.approx(COUNT ** (-1 / 4))
    assert factors["b.weight"] == 0
    factors = started("residual", Layers("ba", "aab"))
    assert (factors["a.weight"], factors["b.weight"]) == (1, pytest.approx(FACTOR))


@pytest.mark.parametrize("spec", ["fixup", *SCALED])
def test_a_last_layer_with_a_second_place_in_the_body_is_refused(spec):
    """Its factor would act twice; and from zero, fixup's, no gradient would come."""
    inner = Layers("ab", "bab")
    before = [parameter.detach().clone() for parameter in inner.parameters()]
    with pytest.raises(ValueError, match=r"last layer of the body, 'b', whose weights stand in an earlier.*rezero"):
        Skip(spec, inner, index=0, count=COUNT)
    assert all(torch.equal(a, b) for a, b in zip(before, inner.parameters(), strict=True))


def test_layers_that_are_two_modules_with_one_weight_are_scaled_once():
    inner = Layers("abc", "abc")
    inner.b.weight = inner.a.weight
    before = inner.a.weight.detach().clone()
    Skip("fixup", inner, index=0, count=COUNT)
    torch.testing.assert_close(inner.a.weight, before * COUNT ** (-1 / 4))


class SideBySide(Layers):
    def forward(self, z: Tensor) -> Tensor:
        return self.a(z) + self.b(z)


class Around(Layers):
    """It has a skip of its own."""

    def forward(self, z: Tensor) -> Tensor:
        return z + self.b(self.a(z))


class Mixed(Layers):
    """A weight matrix that is in no layer comes last."""

    def __init__(self, defined: str, called: str) -> None:
        super().__init__(defined, called)
        self.mix = nn.Parameter(torch.randn(4, 4))

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) @ self.mix


class PerChannel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.scale


class Told(Layers):
    """It cannot be tried: its mask is not known."""

    def forward(self, z: Tensor, *, mask: Tensor) -> Tensor:
        return super().forward(z) * mask


@pytest.mark.parametrize("kind", [SideBySide, Around, Mixed, Told])
@pytest.mark.parametrize("spec", ["fixup", *SCALED])
def test_a_body_that_does_not_end_in_one_layer_is_refused(spec, kind):
    with pytest.raises(ValueError, match=rf"not seen of {kind.__name__}.*'a', 'b'.*residual:scale=1"):
        Skip(spec, kind("ab", "ab"), features=4, kind="linear", index=0, count=COUNT)
    Skip("residual:scale=1", kind("ab", "ab"), index=0, count=COUNT)


@pytest.mark.parametrize("kind", [SideBySide, Around])
def test_so_is_one_of_a_single_feature(kind):
    with pytest.raises(ValueError, match="not seen of"):
        Skip("residual", kind("ab", "ab", width=1), index=0, count=COUNT)


def test_a_layer_without_weights_is_named_where_no_trial_tells_the_last_one():
    inner = Told("ab", "ab")
    inner.b = nn.LazyLinear(4)
    with pytest.raises(ValueError, match="LazyLinear has none before its first call: call the body once before"):
        Skip("residual", inner, index=0, count=COUNT)


def test_what_mixes_no_features_may_follow_the_last_layer():
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.PReLU(4), nn.AvgPool2d(1))
    assert started("residual", inner)["1.weight"] == pytest.approx(FACTOR)
    scaled = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), PerChannel())
    assert started("residual", scaled)["1.weight"] == pytest.approx(FACTOR)
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    factors = started("residual", attention)
    assert factors["out_proj.weight"] == pytest.approx(FACTOR)
    assert factors["in_proj_weight"] == 1


def test_fixup_names_the_weights_that_are_in_no_layer():
    class Scores(Layers):
        def __init__(self) -> None:
            super().__init__("ab", "ab")
            self.table = nn.Parameter(torch.ones(4, 4))

        def forward(self, z: Tensor) -> Tensor:
            return self.b(self.a(z) @ self.table)

    inner = Scores()
    with pytest.raises(ValueError, match="in none that ran: table"):
        Skip("fixup", inner, index=0, count=COUNT)
    assert inner.b.weight.all()


def test_fixup_sees_a_relu_that_is_a_function():
    class Ends(Layers):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z).relu()

    with pytest.raises(ValueError, match="a ReLU after it passes no gradient"):
        Skip("fixup", Ends("ab", "ab"), index=0, count=COUNT)


def test_layers_inside_of_attention_and_of_parametrizations_are_none_of_the_bodys():
    class Masked(nn.Module):
        """It cannot be tried."""

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, z: Tensor, *, mask: Tensor) -> Tensor:
            return self.attention(z, z, z, attn_mask=mask)[0]

    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, weight: Tensor) -> Tensor:
            return self.layer(weight)

    assert Placement.of(Masked()).layers == ("attention.out_proj",)
    inner = body("vector", 4)
    register_parametrization(inner[0], "weight", Mixes())
    assert Placement.of(inner).layers == ("0", "2")


# -- weights that are computed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("normed", [weight_norm, parametrizations.weight_norm], ids=["hook", "parametrization"])
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(4, 4), lambda: nn.Conv2d(4, 4, 3, padding=1)], ids=["linear", "conv"]
)
def test_a_start_reaches_the_weight_that_a_weight_norm_computes(make, normed):
    x = torch.randn(3, 4, 5, 4)[..., :4, :]
    for spec, first, last in (("residual", 1, FACTOR), ("fixup", COUNT**-0.5, 0)):
        torch.manual_seed(0)
        inner = nn.Sequential(normed(make()), nn.Tanh(), normed(make()))
        torch.manual_seed(0)
        start = nn.Sequential(make(), nn.Tanh(), make())
        Skip(spec, inner, index=0, count=COUNT)
        for _ in range(2):  # before and after a call, which computes it
            torch.testing.assert_close(inner[0].weight, start[0].weight * first)
            torch.testing.assert_close(inner[2].weight, start[2].weight * last)
            y = inner(x)
        y.square().sum().backward() if last else y.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in inner[2].parameters())


def test_fixup_starts_a_block_at_zero_with_its_bias():
    """Zhang et al. 2019, section 3: the last layer of each branch starts at 0, so that the branch does."""
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    assert inner[2].bias.all()
    block, x = Skip("fixup", inner, index=0, count=COUNT), torch.randn(3, 4)
    assert torch.equal(block(x), x)
    assert not inner[2].bias.any()
    assert inner[0].bias.all()  # the others' stay
    Skip("fixup", nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False)), index=0, count=COUNT)


@pytest.mark.parametrize(
    "normed",
    [spectral_norm, parametrizations.spectral_norm, parametrizations.orthogonal],
    ids=["hook", "parametrization", "orthogonal"],
)
@pytest.mark.parametrize("place", [0, 2])
def test_a_weight_whose_size_is_fixed_is_refused(normed, place):
    inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    inner[place] = normed(inner[place])
    before = {name: value.clone() for name, value in inner.state_dict().items()}
    for spec in ("fixup", "residual") if place == 2 else ("fixup",):
        with pytest.raises(ValueError, match=r"weight of its \w*Linear is computed from other parameters.*scale=1"):
            Skip(spec, inner, index=0, count=COUNT)
    assert all(torch.equal(value, before[name]) for name, value in inner.state_dict().items())
    Skip("residual:scale=1", inner)
    if place == 0:
        Skip("residual", inner, index=0, count=COUNT)  # the first layer is not the rule's affair


# -- bodies that stand in several blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SCALED)
def test_a_body_of_several_blocks_starts_scaled_once(spec):
    shared, alone = body("vector", 4), body("vector", 4)
    starts = [inner[2].weight.detach().clone() for inner in (shared, alone)]
    row = sw.skip_row(spec, [shared, alone, shared, shared])
    assert row[0].body is row[2].body is row[3].body
    assert torch.equal(shared[2].weight, starts[0] * 0.5)
    assert torch.equal(alone[2].weight, starts[1] * 0.5)
    assert len({id(block.gate) for block in row}) == 4


def test_a_rule_initialises_each_body_once_and_is_told_that_it_is_shared():
    class Notes(Gate, name="test-notes"):
        def init_body(self, body: nn.Module) -> None:
            seen.append((body, self.placement.shared, self.placement.index, self.placement.count))

        def forward(self, z: Tensor) -> Flow:
            return Flow(1.0, 1.0)

    seen: list[tuple[nn.Module, bool, int, int]] = []
    try:
        for a, b in ((body("vector"), body("vector")), (nn.Tanh(), nn.ReLU())):
            seen.clear()
            sw.skip_row("test-notes", [a, b, a])
            assert seen == [(a, True, 0, 3), (b, False, 1, 3)]
    finally:
        GATES.remove("test-notes")


def test_fixup_refuses_a_row_of_shared_bodies():
    one, other = body("vector"), body("vector")
    before = one[0].weight.detach().clone()
    with pytest.raises(ValueError, match="derived for blocks with weights of their own.* another rule"):
        sw.skip_row("fixup", [one, other, one])
    assert torch.equal(one[0].weight, before)
    one[0].weight = other[0].weight  # two modules
    with pytest.raises(ValueError, match="derived for blocks with weights of their own"):
        sw.skip_row("fixup", [one, other])


def test_bodies_that_share_the_weight_that_a_rule_changes_are_refused():
    one, other = body("vector"), body("vector")
    one[2].weight = other[2].weight
    with pytest.raises(ValueError, match="body of block 2 shares weights .* another module.* residual:scale=1"):
        sw.skip_row("residual", [one, other])
    one, other = body("vector"), body("vector")
    one[0].weight = other[0].weight  # which residual leaves as it is
    starts = [inner[2].weight.detach().clone() for inner in (one, other)]
    sw.skip_row("residual", [one, other])
    for inner, start in zip((one, other), starts, strict=True):
        torch.testing.assert_close(inner[2].weight, start * 2**-0.5)


@pytest.mark.parametrize("gate", ["highway", "highway-deep", "layerscale", "rezero", "plain"])
def test_blocks_of_a_shared_body_have_gates_of_their_own(gate):
    inner = body("vector")
    before = [parameter.detach().clone() for parameter in inner.parameters()]
    row = sw.skip_row(gate, [inner] * 3)
    assert all(torch.equal(a, b) for a, b in zip(before, inner.parameters(), strict=True))
    gates = [parameter for block in row for parameter in block.gate.parameters()]
    assert len(gates) == len(set(gates))
    assert [block.gate.placement.count for block in row] == [3] * 3
