"""Whether the device computes what the CPU computes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gpu_parts.bench import Bench
from gpu_parts.settings import EAGER, EXACT, HE, HE_STEPS, allow_tf32
from gpu_parts.trainings import advance, prepared, random_images
from skipway.nets.registry import build
from skipway.tasks.classification import Classification
from skipway.training.checkpoint import Checkpoints
from skipway.training.execution import prepare
from skipway.training.loop import Training
from skipway.training.replicas import Replicas, Single, Stack

RELATIVE = "largest relative difference"
FLOAT64, FLOAT32, FLOAT32_GRADIENTS, RESUMED = 1e-10, 1e-4, 1e-2, 1e-3  # how far what is compared may differ


def correctness(bench: Bench) -> None:
    allow_tf32(False)
    ways = ((torch.float64, FLOAT64, FLOAT64), (torch.float32, FLOAT32, FLOAT32_GRADIENTS))
    for name in ("resnet-8", "highway-cifar-19", "dense stack"):
        reference = outcome(make_net(name).double(), "cpu")
        for dtype, *tolerances in ways:
            setting = str(dtype).removeprefix("torch.")
            with bench.guarded("correctness", name, setting):
                found = outcome(make_net(name).to(dtype), bench.device)
                for what, limit in zip(found, (tolerances[0], *tolerances), strict=True):
                    hold(bench, name, f"{setting} {what}", distance(found[what], reference[what]), limit)
    for deterministic in (False, True):
        setting = "resumed, deterministic" if deterministic else "resumed"
        torch.backends.cudnn.deterministic = deterministic
        with bench.guarded("correctness", "resnet-8", setting):
            whole, again, resumed = resumed_and_not(bench)
            noise = f"two trainings that never stopped differ by {distance(whole, again):.1g}"
            hold(bench, "resnet-8", setting, distance(resumed, whole), RESUMED, noise)


def hold(bench: Bench, net: str, setting: str, found: float, limit: float, note: str = "") -> None:
    """Write a difference down as right or, above its limit or not a number, as wrong."""
    bench.add("correctness", net, setting, RELATIVE if found <= limit else "WRONG", found, target=limit, note=note)


def make_net(name: str) -> Replicas:
    torch.manual_seed(0)
    if name == "dense stack":
        return Stack([build("highway-dense-10", in_features=64, num_classes=10) for _ in range(3)])
    net = build(name, num_classes=10)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # every device draws otherwise
    return Single(net)


def outcome(net: Replicas, device: str) -> dict[str, list[Tensor]]:
    """Scores, losses and gradients of a fixed batch, on the CPU in float64."""
    generator = torch.Generator().manual_seed(1)
    shape = (64,) if isinstance(net, Stack) else (3, 32, 32)
    x = torch.randn(net.count, 16, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (net.count, 16), generator=generator)
    net = net.to(device).train()
    if device != "cpu" and isinstance(net, Single):
        prepare(net.net, EAGER)
    scores = net(x.to(next(net.parameters())))
    losses = Classification().losses(scores, y.to(device)).mean(1)
    losses.sum().backward()
    found = {
        "forward": [scores],
        "loss": [losses],
        "gradients": [p.grad for p in net.parameters() if p.grad is not None],
    }
    return {what: [t.detach().cpu().double() for t in tensors] for what, tensors in found.items()}


def distance(found: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The largest difference, each relative to the largest number of its tensor; NaN where one is."""
    assert len(found) == len(reference)
    sizes = torch.stack([tensor.abs().max() for tensor in reference])
    sizes = sizes.clamp(min=float(sizes.max()) * 1e-6)  # a tensor that is all but zero is rounding
    return float((torch.stack([(a - b).abs().max() for a, b in zip(found, reference, strict=True)]) / sizes).max())


def resumed_and_not(bench: Bench, steps: int = 6) -> list[list[Tensor]]:
    """Weights after a few steps: of two trainings that never stopped, and of one that did in the middle."""
    trainings = [new_training(bench) for _ in range(4)]
    whole, again, stopped, resumed = trainings
    for training in (whole, again):
        advance(training, steps)
    advance(stopped, steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), ("correctness",))
        checkpoints.save(stopped.step, stopped.state_dict())
        state = checkpoints.load()
    assert state is not None
    resumed.load_state_dict(state)
    advance(resumed, steps - steps // 2)
    return [[p.detach().cpu().double() for p in t.net.parameters()] for t in (whole, again, resumed)]


def new_training(bench: Bench) -> Training:
    net, recipe = make_net("resnet-8").to(bench.device), replace(HE, batch_size=16)
    prepare(net.net, EAGER)
    return prepared(bench, net, random_images(64), recipe, EXACT, HE_STEPS)
