"""What the tests of the core rooms share: bodies and inputs of every kind, a dense net for any gate, the digits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import product

import psutil
import torch
from torch import Tensor, nn

from skipway.data.images.dataset import Images
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.nets.registry import build
from skipway.nets.stack import SkipNet
from skipway.settings.registry import Spec, settings_of
from skipway.skip.gate import GATES, Gate
from skipway.skip.placement import Placement
from skipway.studies.grid import CellStack, PairMaker, Plan, Ways, cells_of
from skipway.tasks.classification import Classification
from skipway.training.loop import Hook, Training

# Products as small as the tests' are done before a second thread has woken, and on a busy machine wait for it.
torch.set_num_threads(1)

CONVS = {"conv1d": nn.Conv1d, "image": nn.Conv2d, "volume": nn.Conv3d}
SHAPES = {"vector": (), "sequence": (3,), "conv1d": (4,), "image": (3, 4), "volume": (2, 3, 3)}
KINDS = tuple(SHAPES)


def unscaled(gate: str) -> str:
    """A gate under which a body keeps its initial weights, where the gate has a setting for that."""
    return f"{gate}:scale=1" if "scale" in settings_of(GATES[gate]) else gate


def body(kind: str, features: int = 2, out: int | None = None, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Two layers with a smooth activation between them and none after: every rule can stand on it."""
    out = out or features
    if kind not in CONVS:
        return nn.Sequential(nn.Linear(features, out), nn.Tanh(), nn.Linear(out, out))
    conv = CONVS[kind]
    return nn.Sequential(
        conv(features, out, kernel, stride=stride, padding=kernel // 2),
        nn.Tanh(),
        conv(out, out, kernel, padding=kernel // 2),
    )


def inputs(kind: str, features: int = 2, batch: int = 2) -> Tensor:
    """(batch, features), (batch, length, features) or (batch, features, *space)."""
    if kind in CONVS:
        return torch.randn(batch, features, *SHAPES[kind])
    return torch.randn(batch, *SHAPES[kind], features)


def placement(inner: nn.Module, *, index: int = 1, count: int = 4) -> Placement:
    """The second of four blocks."""
    return Placement.of(inner, index=index, count=count)


def scramble(module: nn.Module, scale: float = 0.5) -> nn.Module:
    """Random parameters throughout, so that nothing rests on a zero that a rule starts with."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale)
    return module


def dense(gate: str, *, blocks: int, seed: int = 0, **settings: object) -> SkipNet:
    """A dense net of so many blocks, with two layers in each where the rule cannot stand on one."""
    settings = {"in_features": 64, "num_classes": 10, "width": 12, **settings}
    wanted = [int(settings.pop("layers"))] if "layers" in settings else [1, 2]  # type: ignore[call-overload]
    for layers in wanted:
        torch.manual_seed(seed)
        name = f"{Spec.parse(gate).name}-dense-{1 + blocks * layers}"
        try:
            return build(name, gate=gate, layers=layers, **settings)
        except ValueError:
            if layers == wanted[-1]:
                raise
    raise AssertionError("one of them returned or raised")


def flow_of(gate: Gate, z: Tensor) -> tuple[Tensor, Tensor]:
    """T and C as tensors of the input's precision."""
    flow = gate(z)
    return torch.as_tensor(flow.t, dtype=z.dtype), torch.as_tensor(flow.carry(), dtype=z.dtype)


CLASSES = Classification()


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Each replica's mean, (replicas,)."""
    return CLASSES.losses(scores, labels).mean(1)


def error_rate(scores: Tensor, labels: Tensor) -> Tensor:
    """Each replica's share of wrong classes, (replicas,)."""
    return CLASSES.scores(scores, labels).mean(1)


@lru_cache(maxsize=1)
def digits() -> tuple[Images, Preprocess]:
    """The real digits that scikit-learn ships, with the rule for their pixels."""
    data = load("digits")
    return data, Preprocess.fit(data, "pixel")


class StopsAt(Hook):
    """A signal that comes after some step."""

    def __init__(self, step: int, number: int = signal.SIGTERM) -> None:
        self._step, self._number = step, number

    def on_step(self, training: Training) -> None:
        if training.step == self._step:
            os.kill(os.getpid(), self._number)


def workers_of(parent: int) -> list[psutil.Process]:
    """The processes that train for a study's own."""
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # it has ended just now
            found += [child] * ("popen_loky" in " ".join(child.cmdline()))
    return found


@contextmanager
def one_core() -> Iterator[None]:
    """Processes that are started here have one core, so that a study of theirs starts one worker and not two."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def left_after(seconds: float, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run when so much time has passed; it returns sooner where none does."""
    left, until = list(processes), time.monotonic() + seconds
    while (left := [process for process in left if _runs(process)]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def stacks_of(plan: Plan, ways: Ways | None = None) -> list[CellStack]:
    """All cells that a config names, in stacks: the one round of a search of the grid alone."""
    cells, maker = cells_of(plan.config), PairMaker(plan, torch.device("cpu"), ways)
    pairs = [maker.make(*pair) for pair in product(plan.config.gates, plan.config.named_depths)]
    return [
        stack
        for pair in pairs
        for stack in pair.stacks(plan, [cell for cell in cells if (cell.gate, cell.depth) == (pair.gate, pair.depth)])
    ]
