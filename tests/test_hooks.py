"""Hooks of torch's own see the right thing: a net works in place nowhere that one may look."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers import body, dense, inputs, placement, scramble
from skipway.nets.registry import build
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, make_gate
from skipway.skip.shortcuts import SHORTCUTS, make_shortcut

RULES = list(GATES)


def block(gate: str, kind: str, shortcut: str | None = None) -> tuple[nn.Module, Tensor]:
    """A block with every part that an in-place ReLU could spoil."""
    inner = body(kind)
    way = shortcut and make_shortcut(shortcut, placement(inner))
    return Skip(make_gate(gate, placement(inner)), inner, way or None, pre=nn.Tanh(), post=nn.ReLU()), inputs(kind)


def image_net(name: str, size: int, **settings: object) -> tuple[nn.Module, Tensor]:
    net = build(name, num_classes=3, in_channels=2, width=4, **settings)
    return net, torch.randn(2, 2, size, size)


CASES = {
    **{f"{rule}, {kind}": partial(block, rule, kind) for rule in RULES for kind in ("vector", "image")},
    **{f"{name} as shortcut": partial(block, "highway", "image", name) for name in SHORTCUTS if name != "none"},
    **{f"dense, {rule}": lambda rule=rule: (dense(rule, blocks=2), torch.randn(3, 64)) for rule in RULES},
    "cifar": partial(image_net, "highway-8", 8),
    "cifar, bottlenecks": partial(image_net, "preresnet-11", 8, block="bottleneck"),
    "cifar, bn after the sum": partial(image_net, "residual-8", 8, order="bn-after"),
    "highway-mnist": partial(image_net, "highway-mnist-10", 14, image_size=14),
    "highway-cifar": partial(image_net, "highway-cifar-19", 8),
    "highway-2025": partial(image_net, "highway-8-2025", 8),
    "imagenet": partial(image_net, "resnet18", 32, stem="deep"),
}


def tensors(output: object) -> Iterator[Tensor]:
    parts = output if isinstance(output, tuple) else (output,)
    return (part for part in parts if isinstance(part, Tensor))


@pytest.fixture(params=CASES)
def case(request) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net, x = CASES[request.param]()
    return scramble(net).double().eval(), x.double()


def test_what_a_forward_hook_keeps_stays_as_it_was(case):
    net, x = case
    kept: list[tuple[str, Tensor, Tensor]] = []
    for name, module in net.named_modules():
        module.register_forward_hook(
            lambda module, args, output, name=name: kept.extend((name, t, t.detach().clone()) for t in tensors(output))
        )
    net(x)
    assert len(kept) > 2
    assert [name for name, now, then in kept if not torch.equal(now, then)] == []


def test_the_gradient_that_is_retained_at_a_layer_is_right(case):
    """Against the gradient of zeros that are added there."""
    net, x = case
    outputs: dict[str, Tensor] = {}
    added: dict[str, Tensor] = {}

    def retain(name: str, module: nn.Module, args: object, output: Tensor) -> None:
        outputs[name] = output
        output.retain_grad()

    def add(name: str, module: nn.Module, args: object, output: Tensor) -> Tensor:
        added[name] = torch.zeros_like(output, requires_grad=True)
        return output + added[name]

    leaves = [(name, m) for name, m in net.named_modules() if not list(m.children()) and list(m.parameters())]
    layers = [(name, m) for name, m in leaves if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)]
    for hook in (retain, add):
        handles = [module.register_forward_hook(partial(hook, name)) for name, module in layers]
        net(x).square().sum().backward()
        for handle in handles:
            handle.remove()
    assert outputs
    for name, output in outputs.items():
        torch.testing.assert_close(output.grad, added[name].grad, rtol=1e-12, atol=1e-12, msg=name)


def test_full_backward_hooks_run_and_change_nothing(case):
    net, x = case
    net(x).square().sum().backward()
    expected = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    seen: list[nn.Module] = []
    for module in net.modules():
        module.register_full_backward_hook(lambda module, given, found: seen.append(module))
    net(x.requires_grad_()).square().sum().backward()
    found = [p.grad for p in net.parameters() if p.grad is not None]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # hooks change the order of sums
    assert len(seen) > 2
