"""Handles go by block and call: what is read, overridden or lesioned is that call of that block, and nothing else."""

from __future__ import annotations

import copy
import io
import threading
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from helpers import body, scramble
from skipway.probe.handles import find_skips, override_flows, read_flows
from skipway.probe.lesion import LESION, lesion
from skipway.skip.block import Residual, Skip
from skipway.skip.eager import as_written, eager
from skipway.skip.gate import Flow, make_gate
from skipway.skip.placement import Placement

CONTEXTS = {
    "read": read_flows,
    "override": lambda net: override_flows(net, {"0": LESION}),
    "lesion": lambda net: lesion(net, "0"),
}


def highway(features: int = 4) -> Skip:
    return scramble(Skip("highway:bias=-1", nn.Linear(features, features)))


def two_blocks() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(highway(), highway())


class Twice(nn.Module):
    """Calls one block as often as it is told, the way a recurrent highway net does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block, self.times = highway(), 2

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.block(x)
        return x


X = torch.linspace(-1, 1, 12).view(3, 4)


# -- calls -------------------------------------------------------------------------------------------------------------


def test_every_call_of_a_block_is_read():
    net = Twice()
    with read_flows(net) as flows:
        net(X)
    assert list(flows) == ["block", "block#2"]
    assert torch.equal(flows["block"].t, net.block.gate(X).t)
    assert torch.equal(flows["block#2"].t, net.block.gate(net.block(X)).t)


def test_a_pass_begins_with_nothing_of_the_one_before():
    net = Twice()
    with read_flows(net) as flows:
        net.times = 3
        net(X)
        assert list(flows) == ["block", "block#2", "block#3"]
        net.times = 1
        net(X)
        assert list(flows) == ["block"]
        net.times = 0
        net(X)
        assert not flows


def test_a_pass_that_fails_is_over():
    net = Twice()
    with read_flows(net) as flows:
        with pytest.raises(RuntimeError, match="shapes"):
            net(torch.ones(2, 5))
        for _ in range(2):
            net(X)
    assert list(flows) == ["block", "block#2"]


def test_a_block_that_is_called_by_hand_is_read_as_in_its_first_call():
    net = Twice()
    with read_flows(net) as flows:
        for _ in range(3):
            net.block(X)
    assert list(flows) == ["block"]


def test_what_was_read_of_every_call_can_be_put_back():
    net = Twice()
    with read_flows(net) as flows:
        before = net(X)
    scramble(net.block.gate)
    assert not torch.equal(net(X), before)
    with override_flows(net, flows):
        assert torch.equal(net(X), before)


@pytest.mark.parametrize(
    ("names", "calls"), [(["block"], 0), (["block#1"], 1), (["block#2"], 1), (["block#1", "block#2"], 0)]
)
def test_a_lesion_is_of_all_calls_or_of_those_that_are_named(names, calls):
    net = Twice()
    once, twice = net.block(X), net(X)
    with lesion(net, names):
        found = net(X)
    assert torch.equal(found, (X, once, twice)[calls])


def test_the_calls_that_are_lesioned_are_not_the_others():
    net = Twice()
    net.times = 3
    with lesion(net, "block#2"), read_flows(net) as flows:
        net(X)
    assert [flow is LESION for flow in flows.values()] == [False, True, False]


def test_a_call_that_no_pass_came_to_is_told():
    net = Twice()
    with (
        pytest.raises(ValueError, match="'block#3': no forward pass called the block so often"),
        lesion(net, "block#3"),
    ):
        net(X)
    with lesion(net, "block#3"):  # nothing ran
        pass


def test_a_call_by_hand_has_no_number_that_could_be_lesioned():
    net = Twice()
    with pytest.raises(ValueError, match="this is outside"), lesion(net, "block#2"):
        net.block(X)


@pytest.mark.parametrize("name", ["block#0", "block#", "block#two", "block#-1", "gate#2"])
def test_what_is_no_call_is_refused(name):
    with (
        pytest.raises(ValueError, match="no block is named .* The blocks: block; a block's second call"),
        lesion(Twice(), name),
    ):
        pass


def test_a_block_whose_name_has_the_mark_is_that_block():
    net = nn.ModuleDict({"a#2": highway(), "a": highway()})
    with lesion(net, "a#2"):
        assert net["a#2"](X) is X
        assert net["a"](X) is not X


def test_a_block_in_two_places_is_one_block_called_twice():
    shared = highway()
    net = nn.Sequential(shared, nn.Tanh(), shared)
    assert [(handle.name, handle.skip) for handle in find_skips(net)] == [("0", shared)]
    once = torch.tanh(shared(X))
    with lesion(net, "0#2"):
        assert torch.equal(net(X), once)


def test_blocks_within_blocks_are_counted_each_by_itself():
    inner = highway()
    outer = Residual(nn.Sequential(inner, inner))
    with read_flows(nn.Sequential(outer)) as flows:
        outer(X)
    assert list(flows) == ["0", "0.body.0"]
    model = nn.Sequential(outer)
    with read_flows(model) as flows:
        model(X)
    assert list(flows) == ["0", "0.body.0", "0.body.0#2"]


def test_what_is_computed_again_is_lesioned_again():
    """By torch's checkpointing, in the backward pass, while the lesion holds."""
    net = two_blocks()
    with lesion(net, "1"):
        x = X.clone().requires_grad_()
        net(x).sum().backward()
        again = X.clone().requires_grad_()
        checkpoint(net, again, use_reentrant=False).sum().backward()
    assert torch.equal(x.grad, again.grad)


# -- blocks and gates --------------------------------------------------------------------------------------------------


def test_two_blocks_that_share_a_gate_are_read_and_lesioned_apart():
    gate = scramble(make_gate("highway:bias=-1", Placement.of(nn.Linear(4, 4))))
    net = nn.Sequential(*(Skip(gate, nn.Linear(4, 4)) for _ in range(2)))
    with read_flows(net) as flows:
        net(X)
    assert torch.equal(flows["0"].t, gate(X).t)
    assert torch.equal(flows["1"].t, gate(net[0](X)).t)
    with lesion(net, "0"):
        assert torch.equal(net(X), net[1](X))
    with lesion(net, "1"):
        assert torch.equal(net(X), net[0](X))


def test_what_a_hook_on_the_gate_says_is_what_is_read():
    net = two_blocks()
    net[0].gate.register_forward_hook(lambda gate, args, flow: Flow(0.25, 0.5))
    with read_flows(net) as flows:
        net(X)
    assert flows["0"] == Flow(0.25, 0.5)


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_copy_made_within_a_context_is_free_of_it(context):
    net = two_blocks()
    whole = net(X)
    with CONTEXTS[context](net) as flows:
        copied = copy.deepcopy(net)
        saved = io.BytesIO()
        torch.save(net, saved)
        assert torch.equal(copied(X), whole)
        assert not flows
    saved.seek(0)
    loaded = torch.load(saved, weights_only=False)
    assert torch.equal(copied(X), whole)
    assert torch.equal(loaded(X), whole)
    for each in (copied, loaded):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in each.modules())


# -- contexts that end in any order, in any thread ---------------------------------------------------------------------


def compiled_calls() -> int:
    """How often something that is to be compiled is compiled, from one call of it."""
    graphs = []
    torch._dynamo.reset()
    torch.compile(lambda x: x + 1, backend=lambda graph, inputs: graphs.append(graph) or graph)(X)
    return len(graphs)


def in_thread(function) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("context", [*CONTEXTS, "eager"])
def test_contexts_closed_in_any_order_leave_the_compiler_as_it_was(context):
    make = CONTEXTS.get(context, lambda net: eager())
    net = two_blocks()
    whole = net(X)
    assert compiled_calls() == 1
    first, second = make(net), make(net)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert as_written()
    assert compiled_calls() == 0
    second.__exit__(None, None, None)
    assert not as_written()
    assert compiled_calls() == 1
    assert torch.equal(net(X), whole)


@pytest.mark.parametrize("context", [*CONTEXTS, "eager"])
def test_a_context_may_be_closed_by_another_thread(context):
    net, stack = two_blocks(), ExitStack()
    whole = net(X)
    compiled_calls()  # the compiler is loaded
    stack.enter_context(CONTEXTS.get(context, lambda net: eager())(net))
    in_thread(stack.close)
    assert not as_written()
    assert compiled_calls() == 1
    assert torch.equal(net(X), whole)


def test_a_lesion_holds_in_every_thread():
    net, found = two_blocks(), []
    with lesion(net, ["0", "1"]):
        in_thread(lambda: found.append(net(X)))
    assert found[0] is X


def test_a_stance_of_ones_own_is_put_back():
    compiled_calls()
    with torch.compiler.set_stance("fail_on_recompile"):
        with eager():
            pass
        assert torch._dynamo.eval_frame._stance.stance == "fail_on_recompile"


# -- the caller's input ------------------------------------------------------------------------------------------------


class View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view_as(x)


class FunctionalReLU(nn.Module):
    """Works in place, and does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(x)


POSTS = {
    "relu": nn.ReLU(inplace=True),
    "sequence": nn.Sequential(nn.Identity(), nn.SiLU(inplace=True)),
    "function": FunctionalReLU(),
}
HANDS_ON = {
    "nothing transformed": lambda post: Skip("constant:transform=0,carry=1", body("vector", 4), post=post),
    "a body that does nothing": lambda post: Skip("plain", nn.Identity(), post=post, features=4),
    "a body in evaluation": lambda post: Skip("plain", nn.Dropout(), post=post, features=4).eval(),
    "a body that is a view": lambda post: Skip("plain", View(), post=post, features=4),
    "a shortcut that is a view": lambda post: Skip(
        "constant:transform=0,carry=1", body("vector", 4), View(), post=post
    ),
}
VIEWS = ("a body that is a view", "a shortcut that is a view")


# That a branch is a view, and that a module works in place and does not say so: nothing tells both.
@pytest.mark.parametrize(
    ("case", "post"), [(case, post) for case in HANDS_ON for post in POSTS if case not in VIEWS or post != "function"]
)
def test_what_comes_after_the_sum_does_not_overwrite_the_input(case, post):
    block = HANDS_ON[case](POSTS[post])
    x = X.clone()
    expected = torch.relu(X) if post != "sequence" else nn.functional.silu(X)
    assert torch.equal(block(x), expected)
    assert torch.equal(x, X)


def test_a_lesion_and_a_dropped_block_do_not_overwrite_the_input():
    x = X.clone()
    block = Residual(nn.Linear(4, 4), post=nn.ReLU(inplace=True))
    with lesion(block, ""):
        assert torch.equal(block(x), torch.relu(X))
    last = Placement.of(nn.Linear(4, 4), index=3, count=4)
    gate = make_gate("stochastic-depth:p_last=1e-9", last)
    dropped = Skip(gate, nn.Linear(4, 4), post=nn.ReLU(inplace=True)).train()
    assert torch.equal(dropped(x), torch.relu(X))
    assert torch.equal(x, X)


def test_nothing_is_copied_where_nothing_is_overwritten():
    block = Skip("constant:transform=0,carry=1", nn.Linear(4, 4), post=nn.Identity())
    assert torch.equal(block(X), X)
    plain = Skip("plain", nn.Linear(4, 4), post=nn.ReLU())
    with torch.profiler.profile() as profile:
        plain(X)
    assert "aten::clone" not in {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("gate", ["plain", "residual:scale=1", "highway:bias=-1"])
def test_a_block_with_a_post_in_place_is_compiled_and_exported_whole(gate):
    block = scramble(Skip(gate, nn.Linear(4, 4), post=nn.ReLU(inplace=True)))
    for run in (torch.compile(block, fullgraph=True, backend="eager"), torch.export.export(block, (X,)).module()):
        torch.testing.assert_close(run(X), block(X))
    torch.testing.assert_close(torch.fx.symbolic_trace(block)(X), block(X))
