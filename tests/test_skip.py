"""The block: the equation, its short forms, and what it spares."""

from __future__ import annotations

import pytest
import torch
import torch.fx
from torch import nn

from helpers import KINDS, body, inputs, placement, scramble
from skipway.nets.stack import named
from skipway.probe.handles import override_flows
from skipway.probe.lesion import lesion
from skipway.skip.block import Highway, Residual, Skip
from skipway.skip.gate import GATES, Flow, Gate, make_gate
from skipway.skip.row import skip_row
from skipway.skip.shortcuts import make_shortcut


class Forbidden(nn.Module):
    """A branch that must not run."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a branch times 0 was computed")


def whole_block(gate: str, kind: str = "vector", *, stride: int = 1) -> Skip:
    """A block with all its parts; float64, with random weights."""
    torch.manual_seed(1)
    inner = body(kind, 2, 4, stride=stride)
    shortcut = make_shortcut("B", placement(inner))
    block = Skip(make_gate(gate, placement(inner)), inner, shortcut, pre=nn.Tanh(), post=nn.Sigmoid())
    return scramble(block).double().eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate", GATES)
def test_every_gate_in_a_block_with_all_its_parts(gate, kind):
    block = whole_block(gate, kind, stride=1 if kind in ("vector", "sequence") else 2)
    x = inputs(kind).double()
    z = torch.tanh(x)
    t, c = block.gate(z).t, block.gate(z).carry()
    expected = torch.sigmoid(t * block.body(z) + c * block.shortcut(z))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("gate", GATES)
def test_a_lesion_leaves_post_of_the_shortcut(gate):
    block = whole_block(gate)
    x = inputs("vector").double()
    with lesion(block, [""]):
        found = block(x)
    assert torch.equal(found, torch.sigmoid(block.shortcut(torch.tanh(x))))


@pytest.mark.parametrize("zero", [0.0, torch.zeros(1, dtype=torch.float64)], ids=["number", "tensor"])
@pytest.mark.parametrize("gate", GATES)
def test_t_0_of_a_coupled_flow_is_the_identity(gate, zero):
    torch.manual_seed(0)
    block = Skip(gate, body("vector"), index=1, count=4).double().eval()
    x = inputs("vector").double()
    with override_flows(block, {"": Flow(zero, None)}):
        assert torch.equal(block(x), x)
        (jacobian,) = torch.autograd.functional.jacobian(lambda row: block(row), (x[:1],))
    assert torch.equal(jacobian[0, :, 0], torch.eye(2, dtype=x.dtype))


@pytest.mark.parametrize("one", [1.0, torch.ones(1, dtype=torch.float64)], ids=["number", "tensor"])
@pytest.mark.parametrize("gate", GATES)
def test_t_1_of_a_coupled_flow_is_the_body(gate, one):
    torch.manual_seed(0)
    block = Skip(gate, body("vector"), index=1, count=4).double().eval()
    x = inputs("vector").double()
    with override_flows(block, {"": Flow(one, None)}):
        assert torch.equal(block(x), block.body(x))


def test_a_coupled_number_is_an_interpolation():
    block = Skip("plain", body("vector"))
    x = inputs("vector")
    with override_flows(block, {"": Flow(0.25, None)}):
        torch.testing.assert_close(block(x), 0.25 * block.body(x) + 0.75 * x)


def test_what_is_multiplied_by_the_number_0_is_not_computed():
    x = inputs("vector")
    gate = make_gate("constant:transform=0,carry=1", placement(body("vector")))
    assert Skip(gate, Forbidden())(x) is x
    gate = make_gate("constant:transform=1,carry=0", placement(body("vector")))
    inner = body("vector")
    assert torch.equal(Skip(gate, inner, Forbidden())(x), inner(x))
    assert torch.equal(Skip("plain", inner, Forbidden())(x), inner(x))
    block = Residual(Forbidden())
    with lesion(block, [""]):
        assert block(x) is x
    with pytest.raises(AssertionError, match="was computed"):
        block(x)


def test_a_dropped_block_of_stochastic_depth_does_not_run():
    block = Skip(
        make_gate("stochastic-depth:p_last=0.01", placement(body("vector"), index=99, count=100)), Forbidden()
    ).train()
    torch.manual_seed(0)
    x = inputs("vector")
    assert all(block(x) is x for _ in range(20))


def test_both_numbers_0_give_zeros_of_the_outputs_shape():
    block = Skip("plain", body("vector", 2, 3))
    with override_flows(block, {"": Flow(0.0, 0.0)}):
        assert torch.equal(block(torch.ones(4, 2)), torch.zeros(4, 3))


def test_residual_is_x_plus_f_and_leaves_the_body_alone():
    inner = body("sequence", 3)
    before = [p.detach().clone() for p in inner.parameters()]
    block = Residual(inner)
    x = inputs("sequence", 3)
    torch.testing.assert_close(block(x), x + inner(x))
    assert all(torch.equal(old, new) for old, new in zip(before, block.parameters(), strict=True))


@pytest.mark.parametrize("bias", [-2.0, -3, -1.3579])
def test_highway_takes_its_bias(bias):
    block = Highway(nn.Linear(3, 3), gate_bias=bias)
    x = torch.randn(5, 3)
    torch.testing.assert_close(block.gate.transform.bias, torch.full((3,), float(bias)))
    t = torch.sigmoid(x @ block.gate.transform.weight.T + bias)
    torch.testing.assert_close(block(x), t * block.body(x) + (1 - t) * x)


@pytest.mark.parametrize("short", [Residual, Highway])
def test_short_forms_take_all_the_parts(short):
    inner = body("image", 2, 4, stride=2)
    shortcut = make_shortcut("A", placement(inner))
    block = short(inner, shortcut, pre=nn.Tanh(), post=nn.ReLU())
    x = inputs("image")
    z = torch.tanh(x)
    t, c = block.gate(z).t, block.gate(z).carry()
    torch.testing.assert_close(block(x), torch.relu(t * inner(z) + c * shortcut(z)))


def test_highway_on_a_body_without_layers_needs_to_know_features_and_kind():
    x = torch.randn(2, 3)
    assert Highway(nn.Tanh(), features=3, kind="linear")(x).shape == x.shape
    assert Highway(nn.Tanh(), features=3, kind="conv2d").gate.transform.weight.shape == (3, 3, 1, 1)
    with pytest.raises(
        ValueError, match=r"give kind=, 'linear' for \(batch, \.\.\., features\), or 'conv1d'.* and features="
    ):
        Highway(nn.Tanh())


def test_a_specification_needs_a_body_to_fit():
    with pytest.raises(ValueError, match="give the body"):
        Skip("highway")


def test_a_subclass_may_be_its_own_body_and_shortcut():
    class Block(Skip):
        def __init__(self) -> None:
            super().__init__(make_gate("constant:transform=0.5,carry=2", placement(body("vector"))))
            self.fc1 = nn.Linear(2, 2)

        def transform(self, z):
            return self.fc1(z)

        def carry(self, z):
            return -z

    block = Block()
    x = inputs("vector")
    torch.testing.assert_close(block(x), 0.5 * block.fc1(x) - 2 * x)
    assert list(block.state_dict()) == ["fc1.weight", "fc1.bias"]


def test_names_in_the_state_dict_follow_the_equation():
    block = Skip("highway", named(linear=nn.Linear(2, 2)), count=1)
    assert list(block.state_dict()) == [
        "body.linear.weight",
        "body.linear.bias",
        "gate.transform.weight",
        "gate.transform.bias",
    ]


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_runs_under_autocast_on_inputs_of_full_precision(gate):
    torch.manual_seed(0)
    block = Skip(gate, body("vector", 4), index=1, count=4)
    x = torch.randn(8, 4)
    expected = block.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = block(x)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)  # bfloat16 has three digits
    found.sum().backward()


@pytest.mark.parametrize("gate", GATES)
def test_a_compiled_graph_is_not_broken_by_a_block(gate):
    """Tracing sees one graph: nothing in a block asks Python about a tensor's values."""
    if GATES[gate].random:
        pytest.skip("draws a number and decides with it which branches run")
    block = Skip(gate, body("vector"), index=1, count=4).eval()
    x = inputs("vector")
    exported = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(exported(x), block(x))


@pytest.mark.parametrize("gate", ["residual", "highway", "constant"])
def test_a_body_that_changes_the_shape_needs_a_shortcut(gate):
    block = Skip(gate, nn.Linear(8, 4), count=1)
    with pytest.raises(ValueError) as error:
        block(torch.randn(2, 8))
    assert "must give its body's output shape, (2, 4); this one gives (2, 8)" in str(error.value)
    assert "shortcut='A'" in str(error.value)
    assert Skip("plain", nn.Linear(8, 4))(torch.randn(2, 8)).shape == (2, 4)


def test_a_shape_that_torch_would_broadcast_is_refused_too():
    with pytest.raises(ValueError, match=r"output shape, \(2, 1\); this one gives \(2, 8\)"):
        Residual(nn.Linear(8, 1))(torch.randn(2, 8))


@pytest.mark.parametrize("name", ["B", "C", "A"])
def test_a_shortcut_is_named_as_a_gate_is(name):
    wide = 4 if name != "A" else 12
    block = Residual(nn.Linear(8, wide), name)
    x = torch.randn(2, 8)
    torch.testing.assert_close(block(x), block.shortcut(x) + block.body(x))
    with pytest.raises(ValueError, match="'B' is built to fit a body"):
        Skip(make_gate("residual", placement(nn.Linear(8, 8))), None, "B")
    with pytest.raises(ValueError, match="shortcut"):
        Residual(nn.Linear(8, 8), "nothing")


@pytest.mark.parametrize("gate", ["residual", "highway"])
def test_the_shapes_are_checked_at_no_cost_to_a_compiled_graph(gate):
    """One graph without a break, for batches of several sizes."""
    block = Skip(gate, body("image", 2, 4, stride=2), "B", count=1)
    explained = torch._dynamo.explain(block)(inputs("image"))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    compiled = torch.compile(block, fullgraph=True, backend="eager", dynamic=True)
    for batch in (2, 3, 5):
        x = inputs("image", batch=batch)
        torch.testing.assert_close(compiled(x), block(x))


# -- the body's precision and device, shapes of T and C ----------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
def test_what_is_built_for_a_body_has_its_precision_and_device(gate):
    for inner in (body("image").double(), body("image").bfloat16(), body("image").to("meta")):
        block = Skip(gate, inner, "C", index=1, count=4)
        assert {(p.dtype, p.device) for p in block.parameters()} == {(inner[0].weight.dtype, inner[0].weight.device)}
    assert skip_row(gate, [body("image").double()], "C")[0](inputs("image").double()).dtype == torch.float64


class Given(Gate):
    """T and C as they are given."""

    def __init__(self, t: torch.Tensor | float, c: torch.Tensor | float | None) -> None:
        super().__init__(placement(body("vector")))
        self.flow = Flow(t, c)

    def forward(self, z):
        return self.flow


@pytest.mark.parametrize("shape", [(2, 5), (3, 2, 8), (4, 8), (2, 1, 8)])
@pytest.mark.parametrize("letter", ["T", "C"])
@pytest.mark.parametrize("other", [0.0, 0.5, 1.0])
def test_a_factor_that_does_not_broadcast_to_the_output_is_refused(letter, shape, other):
    factor = torch.ones(shape)
    block = Skip(Given(*((factor, other) if letter == "T" else (other, factor))), nn.Identity())
    for rows in (2, 1):  # torch would add a batch of 1 to a factor of 4
        with pytest.raises(ValueError) as error:
            block(torch.ones(rows, 8))
        assert f"{letter} is a number" in str(error.value)
        assert f"{shape} for an output of shape {(rows, 8)}" in str(error.value)


@pytest.mark.parametrize("shape", [(), (1,), (8,), (1, 8), (2, 1), (2, 8)])
@pytest.mark.parametrize("coupled", [True, False])
def test_factors_that_broadcast_are_taken(shape, coupled):
    t, x = torch.full(shape, 0.25), torch.randn(2, 8)
    block = Skip(Given(t, None if coupled else t), nn.Tanh())
    torch.testing.assert_close(block(x), 0.25 * x.tanh() + (0.75 if coupled else 0.25) * x)


def test_whole_numbers_are_numbers_too():
    x = torch.randn(2, 8)
    assert torch.equal(Skip(Given(1, 0), nn.Tanh(), Forbidden())(x), x.tanh())
    assert torch.equal(Skip(Given(0, 1), Forbidden())(x), x)
    assert torch.equal(Skip(Given(1, None), nn.Tanh(), Forbidden())(x), x.tanh())


# -- bodies of several inputs and outputs ------------------------------------------------------------------------------


class Decoder(nn.Module):
    """F and how often it was computed, or F alone in a tuple."""

    def __init__(self, *, count: bool = True) -> None:
        super().__init__()
        self.linear, self.count = nn.Linear(4, 4), count

    def forward(self, z, memory, *, mask=None):
        y = self.linear(z) + memory
        y = y if mask is None else y * mask
        return (y, len(z)) if self.count else (y,)


def test_further_arguments_reach_the_body():
    block = Residual(Decoder(), pre=nn.Tanh(), post=nn.ReLU())
    x, memory, mask = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1.0, 0, 1, 0])
    z = x.tanh()
    y, count = block(x, memory, mask=mask)
    torch.testing.assert_close(y, torch.relu(z + (block.body.linear(z) + memory) * mask))
    assert count == 3
    (alone,) = Residual(Decoder(count=False))(x, memory)
    assert alone.shape == x.shape


def test_attention_in_a_block_is_masked_and_hands_on_its_weights():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    block = Highway(attention)
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 3 + [True] * 2] * 2)
    y, weights = block(x, x, x, key_padding_mask=padding)
    f, expected = attention(x, x, x, key_padding_mask=padding)
    torch.testing.assert_close(y, torch.lerp(x, f, block.gate(x).t))
    assert torch.equal(weights, expected)
    assert not weights[..., 3:].any()


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_a_recurrent_state_goes_in_and_comes_out(make):
    body = make(8, 8, batch_first=True)
    block, x = Residual(body), torch.randn(2, 5, 8)
    y, state = block(x)
    again, _ = block(x, state)
    torch.testing.assert_close(y, x + body(x)[0])
    torch.testing.assert_close(again, x + body(x, state)[0])


def test_what_else_a_body_returns_comes_out_though_t_is_0():
    x = torch.randn(2, 5, 8)
    block = Skip("constant:transform=0,carry=1", nn.GRU(8, 8, batch_first=True))
    y, state = block(x)
    assert torch.equal(y, x)
    assert torch.equal(state, block.body(x)[1])


def test_a_lesion_keeps_what_else_a_body_is_known_to_return():
    class Masked(nn.Module):
        """A trial cannot tell; a call does. F is infinite, and 0 times it no number."""

        def forward(self, z, *, mask):
            return z / mask, "rest"

    block, x = Residual(Masked()), torch.ones(2, 4)
    block(x, mask=torch.ones(4))
    with lesion(block, [""]):
        y, rest = block(x, mask=torch.zeros(4))
    assert torch.equal(y, x)
    assert rest == "rest"


def test_a_body_that_gives_no_tensor_is_refused():
    class Named(nn.Linear):
        def forward(self, z):
            return {"hidden": super().forward(z)}

    with pytest.raises(ValueError, match="Named returns a dict: wrap it in a module that returns F"):
        Residual(Named(4, 4))(torch.randn(2, 4))


def test_a_block_of_several_outputs_is_one_graph():
    block = Residual(Decoder())
    x = torch.randn(3, 4)
    y, count = torch.compile(block, fullgraph=True, backend="eager")(x, x)
    torch.testing.assert_close((y, count), block(x, x))
    exported = torch.export.export(block, (x, x)).module()
    torch.testing.assert_close(exported(x, x), block(x, x))


def test_a_block_at_the_root_of_a_traced_graph_takes_its_input_alone():
    for block in (Residual(nn.Linear(4, 4)), Highway(nn.Linear(4, 4))):
        x = torch.randn(2, 4)
        torch.testing.assert_close(torch.fx.symbolic_trace(block)(x), block(x))
