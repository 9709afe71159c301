"""Parts that work in place on their input: the carried x is right, or the block refuses; others cost nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from skipway.nets.registry import build_family
from skipway.probe.lesion import lesion
from skipway.skip.block import Residual, Skip
from skipway.skip.gate import Gate, make_gate
from skipway.skip.placement import Placement


class Foreign(nn.Module):
    """Its code would have to be read to know that it works in place."""

    def __init__(self, when: str = "always") -> None:
        super().__init__()
        self.linear, self.when = nn.Linear(4, 4), when

    def forward(self, z: Tensor) -> Tensor:
        writes = self.when == "always" or (self.when == "in training" and self.training)
        return self.linear(z.relu_() if writes else z.relu())


class Copies(TorchDispatchMode):
    """Counts the copies that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.clone.default
        return func(*args, **(kwargs or {}))


OVERWRITING = {
    "first": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)), nn.Linear(4, 4)),
    "a view": lambda: nn.Sequential(nn.Unflatten(-1, (2, 2)), nn.SiLU(inplace=True), nn.Flatten(-2), nn.Linear(4, 4)),
    "the whole body": lambda: nn.LeakyReLU(0.1, inplace=True),
    "foreign": Foreign,
    "last": lambda: nn.Sequential(nn.Dropout(), nn.ReLU(inplace=True)),
}


def gate_of_another(spec: str = "residual:scale=1") -> Gate:
    return make_gate(spec, Placement.of(nn.Linear(4, 4), index=0, count=1))


def compiled(block: nn.Module) -> Callable[[Tensor], Tensor]:
    torch._dynamo.reset()  # it gives up on code that was compiled for many others
    return torch.compile(block, backend="eager", fullgraph=True)


@pytest.mark.parametrize("mode", ["gradients", "no gradients", "inference", "compiled", "vmap"])
@pytest.mark.parametrize(
    "spec", ["residual:scale=1", "highway:bias=0", "highway-separate:bias=0", "plain", "rezero:init=1"]
)
@pytest.mark.parametrize("name", OVERWRITING)
def test_the_carried_input_is_the_one_before_the_body(name, spec, mode):
    torch.manual_seed(0)
    block = Skip(spec, OVERWRITING[name](), features=4, kind="linear").eval()
    x = torch.randn(3, 4)
    kept = x.clone()
    with torch.no_grad():
        flow = block.gate(kept)
        expected = flow.t * block.body(x.clone()) + flow.carry() * kept
    run = {"compiled": compiled(block), "vmap": vmap(block)}.get(mode, block)
    with torch.inference_mode(mode == "inference"), torch.set_grad_enabled(mode == "gradients"):
        y = run(x)
    torch.testing.assert_close(y.detach(), expected)
    assert torch.equal(x, kept)  # which may be another's, too


def test_the_gradient_is_that_of_the_equation():
    inner = OVERWRITING["first"]()
    block, x = Residual(inner), torch.randn(3, 4, requires_grad=True)
    block(x).square().sum().backward()
    found, x.grad = x.grad, None
    (x + inner[1](x.relu())).square().sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_a_copy_of_a_block_knows_its_body_as_the_block_does():
    block, x = copy.deepcopy(Residual(Foreign())), torch.randn(3, 4)
    kept = x.clone()
    torch.testing.assert_close(block(x), kept + block.body.linear(kept.relu()))


@pytest.mark.parametrize("part", ["pre", "gate", "shortcut", "post"])
def test_the_other_parts_may_work_in_place_too(part):
    torch.manual_seed(0)
    relu, body, x = nn.ReLU(inplace=True), nn.Linear(4, 4), torch.randn(3, 4)
    kept = x.clone()

    class Rectifies(Gate):
        def forward(self, z: Tensor):
            z.relu_()
            return 1.0, 1.0

    parts = {} if part == "gate" else {part: relu}
    gate = Rectifies(Placement.of(body)) if part == "gate" else "residual"
    block = Skip(gate, body, index=0, count=1, **parts)
    if part == "gate":  # its code is not known beforehand
        with pytest.raises(RuntimeError, match="works in place on its input"):
            block(x)
        with torch.inference_mode():
            torch.testing.assert_close(block(kept.clone()), body(kept) + kept)
        return
    z = kept.relu() if part == "pre" else kept
    s = z.relu() if part == "shortcut" else z
    y = body(z) + s
    torch.testing.assert_close(block(x), y.relu() if part == "post" else y)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("post", [nn.ReLU(inplace=True), nn.Sequential(Foreign())], ids=["torch's", "foreign"])
def test_what_comes_after_a_lone_branch_leaves_the_input_as_it_is(post):
    x = torch.randn(3, 4)
    kept, expected = x.clone(), post(x.clone())
    for block in (Skip("plain", nn.Identity(), post=post), Skip("residual:scale=1", nn.Linear(4, 4), post=post)):
        with lesion(block, [""]):
            torch.testing.assert_close(block(x), expected)
        assert torch.equal(x, kept)
    torch.testing.assert_close(Skip("plain", nn.Identity(), post=post)(x), expected)
    viewed = Skip("plain", nn.Flatten(), post=post)  # its F is a view of z
    if isinstance(post, nn.ReLU):
        torch.testing.assert_close(viewed(x[:, None]), expected)
        assert torch.equal(x, kept)
    else:
        with pytest.raises(RuntimeError, match="works in place"):
            viewed(x[:, None])


@pytest.mark.parametrize("mode", ["eager", "vmap", "grad"])
def test_what_no_trial_showed_is_refused_and_not_answered_wrongly(mode):
    block = Skip(gate_of_another(), Foreign())  # no trial of this body was made
    x = torch.randn(3, 4)
    parameters = dict(block.named_parameters())
    runs = {
        "eager": block,
        "vmap": vmap(block),
        "grad": grad(lambda x: functional_call(block, parameters, (x * 1,)).sum()),
    }
    with pytest.raises(RuntimeError, match=r"pre, body, .* works in place on its input.* z\.clone\(\)"):
        runs[mode](x)
    block = Residual(Foreign("in training"))  # a trial is made in evaluation mode
    with pytest.raises(RuntimeError, match="works in place"):
        block(x)
    kept = x.clone()
    torch.testing.assert_close(block.eval()(x), kept + block.body.linear(kept.relu()))


@pytest.mark.parametrize("when", ["always", "in training"])
@pytest.mark.parametrize("tried", [True, False])
def test_where_torch_does_not_count_writes_the_input_is_copied(when, tried):
    for training in (True, False):
        block = Residual(Foreign(when)) if tried else Skip(gate_of_another(), Foreign(when))
        block.train(training)
        x = torch.randn(3, 4)
        expected = x + block.body.linear(x.relu())
        with torch.inference_mode():
            torch.testing.assert_close(block(x.clone()), expected)
        torch.testing.assert_close(compiled(block)(x.clone()), expected)


def test_what_comes_out_of_pre_is_watched_too():
    block = Skip(gate_of_another(), Foreign(), pre=nn.Tanh())
    with pytest.raises(RuntimeError, match="y would be wrong"):
        block(torch.randn(3, 4))


def test_the_callers_input_is_watched_behind_pre_too():
    block = Skip("residual:scale=1", nn.Linear(4, 4), pre=Foreign())
    with pytest.raises(RuntimeError, match="or its caller, still reads"):
        block(torch.randn(3, 4))


def test_a_subclass_of_its_own_code_is_watched():
    class Block(Skip):
        def __init__(self) -> None:
            super().__init__(gate_of_another())
            self.fc1 = nn.Linear(4, 4)

        def transform(self, z: Tensor) -> Tensor:
            return self.fc1(z.relu_())

    block, x = Block(), torch.randn(3, 4)
    with torch.inference_mode():
        torch.testing.assert_close(block(x.clone()), x + block.fc1(x.relu()))
    with pytest.raises(RuntimeError, match="works in place"):
        block(x)


@pytest.mark.parametrize("mode", ["gradients", "inference", "vmap"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.LayerNorm(4), nn.ReLU(inplace=True), nn.Linear(4, 4)),
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 4)),
        lambda: Foreign("never"),
    ],
    ids=["behind a layer", "behind a norm", "not in place", "foreign"],
)
def test_other_bodies_cost_no_copy(make, mode):
    block = Residual(make()).eval()
    with torch.inference_mode(mode == "inference"):
        x = torch.randn(3, 4)
        with Copies() as copies:
            (vmap(block) if mode == "vmap" else block)(x)
    assert copies.count == 0


def test_what_is_copied_is_counted():
    block = Residual(OVERWRITING["first"]())
    with Copies() as copies:
        block(torch.randn(3, 4))
    assert copies.count == 1


@pytest.mark.parametrize(
    ("family", "depth"), [("cifar", 8), ("cifar:order=relu-before", 8), ("imagenet", 18), ("dense", 3)]
)
@pytest.mark.parametrize("gate", ["residual", "highway", "plain"])
def test_our_nets_make_no_copies(family, depth, gate):
    net = build_family(family, gate=gate, depth=depth, shape=(3, 32, 32), classes=10, width=8)
    for training in (True, False):
        with torch.inference_mode(not training):
            x = torch.randn(2, 3, 32, 32)
            with Copies() as copies:
                net.train(training)(x)
        assert copies.count == 0
