"""How a step runs on the device, and how much is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from skipway.training.execution import Execution, compiling, precision, prepare
from skipway.training.recipe import RECIPES, Recipe
from skipway.training.replicas import Replicas

HE, DENSE = RECIPES["he2015"], RECIPES["dense"]
WIDE = Recipe(
    learning_rates=(0.2,),
    nesterov=True,
    weight_decay=5e-4,
    decay_on="weights",
    batch_size=256,
    epochs=30,
    warmup_steps=400,
    clip=None,
    preprocess="channel",
    augment=("crop:pad=4", "flip", "cutout:size=8"),
)
HE_STEPS = 64_000


@dataclass(frozen=True)
class Setting:
    """How a step runs: Skipway's own choices, whether float32 products may be TF32, and CUDA graphs."""

    name: str
    execution: Execution
    tf32: bool = True
    graphs: bool = False  # by torch.compile: of the whole net where it is shallow, block by block where it is deep

    @contextmanager
    def running(self, net: Replicas) -> Iterator[None]:
        """The context in which a net on its device is trained so."""
        allow_tf32(self.tf32)
        prepare(net.net, self.execution)
        if self.graphs:
            torch.compiler.reset()
            blocks: Any = net.net.blocks
            for module in [net.net] if len(blocks) < 10 else blocks:
                module.compile(mode="reduce-overhead", dynamic=False)
        with compiling(replace(self.execution, compiled=self.execution.compiled or self.graphs)):
            yield

    def before_forward(self, device: str) -> AbstractContextManager[Any]:
        """What a training enters for each forward pass."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # what the step before put out is done with
        return precision(self.execution, torch.device(device))


EAGER, COMPILED = Execution(channels_last=True), Execution(channels_last=True, compiled=True)
EXACT = Setting("float32 eager", EAGER, tf32=False)
TF32 = Setting("TF32 eager", EAGER)
BFLOAT16 = Setting("bfloat16 eager", replace(EAGER, bfloat16=True))
SETTINGS = (  # the most telling first: the last are what time may be too short for
    EXACT,
    Setting("bfloat16 compiled", replace(COMPILED, bfloat16=True)),
    Setting("bfloat16 graphs", replace(EAGER, bfloat16=True), graphs=True),
    Setting("TF32 compiled", COMPILED),
    BFLOAT16,
    TF32,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    nets: tuple[str, ...] = ("resnet-20", "resnet-110", "highway-110-2025")
    settings: tuple[Setting, ...] = SETTINGS
    images: int = 50_000  # of random pixels
    warm: int = 20
    steps: int = 500
    recipe: Recipe = HE
    wide: Recipe = WIDE
    width: int = 64
    dense: str = "highway-dense-50"
    stacks: tuple[int, ...] = tuple(2**power for power in range(9))
    stack_steps: int = 100

    @property
    def jobs(self) -> list[tuple[str, Setting]]:
        """The first net in all settings, which the full recipe chooses from; then the others, setting by setting."""
        first, *others = self.nets
        return [(first, s) for s in self.settings] + [(net, s) for s in self.settings for net in others]


SMALL = Size(
    nets=("resnet-8", "highway-8-2025"),
    settings=(EXACT, BFLOAT16),
    images=64,
    warm=1,
    steps=2,
    recipe=replace(HE, batch_size=8, steps=4),
    wide=replace(WIDE, batch_size=16, epochs=0.5),
    width=4,
    dense="highway-dense-4",
    stacks=(1, 2, 4),
    stack_steps=2,
)


def allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
