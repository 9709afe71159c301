"""A CUDA device: whether it computes what the CPU computes, then how fast. One call, under eight minutes.

    python benchmarks/gpu.py [--data CIFAR10_FOLDER] [--parts correctness steps full replicas cifar94] [--out results]
    python benchmarks/gpu.py --device cpu --small       # all parts in a minute; it says nothing about speed

correctness: forward pass, loss and gradients against the CPU's in float64; a checkpoint resumed against a training that
never stopped. steps: 500 timed steps of the recipe he2015 (rate 0.1 without warm-up, batch 128, crop and flip, images
held on the device; the Highway-110 of 2025 was trained so, too), between two synchronisations, after others that
compile and warm up. full: ResNet-20's 64,000 steps in the fastest setting of `steps` whose mean training loss lies
within 5 % of the one in float32 without TF32. replicas: dense nets as one stack against one alone. cifar94: a wide net,
30 epochs of all 50,000 training images, with CIFAR-10's test error at the end.

Each part has a process of its own and its share of the seconds that are left; it is ended when they are over, and a row
says so. Times are of training alone: loading, compiling and the final test are not in them. Without --data, images are
random pixels: times mean what they say, errors nothing. cuDNN chooses convolutions by its own timing
(`torch.backends.cudnn.benchmark`), but for correctness. Every result is a row of OUT/gpu-TIME.csv.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skipway.data.augment import make_augmentations
from skipway.data.batches import BatchStream
from skipway.data.preprocess import Preprocess
from skipway.data.sources import load
from skipway.data.splits import Data, Split, held_images
from skipway.nets.registry import build
from skipway.training.checkpoint import Checkpoints
from skipway.training.evaluate import Scores, cross_entropy, evaluate
from skipway.training.execution import Execution, compiling, precision, prepare
from skipway.training.loop import Training, train
from skipway.training.optim import make_update
from skipway.training.recipe import RECIPES, Recipe
from skipway.training.replicas import Replicas, Single, Stack, stack
from skipway.training.team import ALONE

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
TARGETS = {"resnet-20": "0.94", "resnet-110": "4", "highway-110-2025": "8"}  # ms a step
RELATIVE = "largest relative difference"
FLOAT64, FLOAT32, FLOAT32_GRADIENTS, RESUMED = 1e-10, 1e-4, 1e-2, 1e-3  # how far what is compared may differ
SAME_LOSS = 0.05  # of two settings' mean training losses over the same batches
COLUMNS = ("part", "net", "setting", "measure", "value", "target", "note")
COLUMNS += ("steps", "images_a_second", "seconds_of_64000_steps_extrapolated", "loss", "speed_up")


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


@dataclass(frozen=True)
class Bench:
    """What a part is given, and where its rows go."""

    device: str
    small: bool
    data: Path | None
    csv: Path
    deadline: float  # of time.time()

    @property
    def size(self) -> Size:
        return SMALL if self.small else Size()

    @property
    def left(self) -> float:
        return self.deadline - time.time()

    def add(self, part: str, net: str, setting: str, measure: str, value: float | None = None, **more: Any) -> None:
        """Write a result down, and print it."""
        number = "" if value is None else f"{value:.5g}"
        row = {"part": part, "net": net, "setting": setting, "measure": measure, "value": number, **more}
        about = machine(self.device)
        fresh = not self.csv.exists()
        with self.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *about])
            if fresh:
                writer.writeheader()
            writer.writerow({**row, **about})
        print(line(row), flush=True)

    def rows(self) -> list[dict[str, str]]:
        if not self.csv.exists():
            return []
        with self.csv.open(newline="") as file:
            return list(csv.DictReader(file))

    @contextmanager
    def guarded(self, part: str, net: str, setting: str) -> Iterator[None]:
        """What fails becomes a row, and the next goes on."""
        try:
            if self.left <= 0:
                raise TimeoutError("no time was left")
            yield
        except Exception as error:  # a compiler's, a driver's, memory's: whatever it is, the row says it
            told = (str(error).strip() or "no message").splitlines()[0]
            measure = "cut" if isinstance(error, TimeoutError) else "failed"
            self.add(part, net, setting, measure, note=f"{type(error).__name__}: {told}"[:300])

    def synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, run: Callable[[], object]) -> float:
        self.synchronize()
        began = time.perf_counter()
        run()
        self.synchronize()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a check that all parts run")
    parser.add_argument("--data", type=Path, help="the folder of CIFAR-10; without it, random pixels")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=465.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "results")))
    wanted = parser.parse_args()
    if wanted.device != "cpu" and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device can be used here (torch {torch.__version__}). This benchmark measures one; "
            "--device cpu --small checks on a CPU that it runs."
        )
    if wanted.data is not None and not wanted.data.is_dir():
        parser.error(f"--data {wanted.data} is no folder; it must be that of CIFAR-10's parquet files.")
    wanted.out.mkdir(parents=True, exist_ok=True)
    sheet = wanted.out / f"gpu-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    print(", ".join(f"{name} {value}" for name, value in machine(wanted.device).items() if value), flush=True)
    ends, parts = time.time() + wanted.seconds, [part for part in PARTS if part in wanted.parts]
    for place, part in enumerate(parts):
        share = PARTS[part][1] / sum(PARTS[later][1] for later in parts[place:])
        deadline = time.time() + max(1.0, (ends - time.time()) * share)
        bench = Bench(wanted.device, wanted.small, wanted.data, sheet, deadline)
        print(f"\n{part}: up to {bench.left:.0f} s", flush=True)
        run_apart(part, bench)
    rows = bench.rows()
    print(f"\n{sheet}\n" + "\n".join(map(line, [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows])))
    sys.exit(any(row["part"] == "correctness" and row["measure"] != RELATIVE for row in rows))


def run_apart(part: str, bench: Bench) -> None:
    """In a process of its own: what a failing kernel leaves behind, or a compiler that does not end, ends with it."""
    process = get_context("spawn").Process(target=run_part, args=(part, bench))
    process.start()
    process.join(max(1.0, bench.left))
    cut = process.is_alive()
    if cut:
        process.kill()
        process.join()
    if cut or process.exitcode:
        why = "its time was over" if cut else f"its process ended with {process.exitcode}"
        bench.add(part, "", "", "cut" if cut else "failed", note=f"{why}; what it had measured is above")


def run_part(part: str, bench: Bench) -> None:
    torch.backends.cudnn.benchmark = part != "correctness"
    with bench.guarded(part, "", ""):
        PARTS[part][0](bench)


# Correctness


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
    losses = cross_entropy(scores, y.to(device))
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
        checkpoints = Checkpoints(Path(folder))
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


# Steps


def steps(bench: Bench) -> None:
    data = open_data(bench)
    for name, setting in bench.size.jobs:
        with bench.guarded("steps", name, setting.name):
            time_steps(bench, data, name, setting)


def time_steps(bench: Bench, data: Data, name: str, setting: Setting) -> None:
    began, size = time.perf_counter(), bench.size
    net = net_for(bench, data, name)
    with setting.running(net):
        training = prepared(bench, net, data, size.recipe, setting, HE_STEPS)
        bench.timed(lambda: advance(training, size.warm))
        ready = time.perf_counter() - began
        predicted = bench.timed(lambda: advance(training, 2)) / 2 * size.steps
        if predicted > bench.left:
            raise TimeoutError(f"{size.steps} steps would take {predicted:.0f} s, and {bench.left:.0f} s are left")
        training.meter.take(ALONE)
        seconds = bench.timed(lambda: advance(training, size.steps)) / size.steps
    (loss,), _ = training.meter.take(ALONE)
    bench.add(
        *("steps", name, setting.name, "ms a step", seconds * 1e3),
        target=TARGETS.get(name, ""),
        note=f"{ready:.0f} s to build and warm up",
        steps=size.steps,
        images_a_second=round(size.recipe.batch_size / seconds),
        seconds_of_64000_steps_extrapolated=f"{HE_STEPS * seconds:.1f}",
        loss=f"{loss:.4f}",
    )


def prepared(bench: Bench, net: Replicas, data: Data, recipe: Recipe, setting: Setting, steps: int) -> Training:
    net.train()
    rates, before = [recipe.learning_rates[0]], lambda: setting.before_forward(bench.device)
    return Training(net, stream(bench, data, recipe), recipe, rates=rates, steps=steps, precision=before)


def advance(training: Training, count: int) -> None:
    for _ in range(count):
        training.advance()


# Whole trainings


def full(bench: Bench) -> None:
    name = bench.size.nets[0]
    setting = fastest(bench, name)
    with bench.guarded("full", name, setting.name):
        data = open_data(bench)
        net = net_for(bench, data, name)
        seconds, error, more = train_within(bench, net, data, bench.size.recipe, setting)
        bench.add("full", name, setting.name, "s to train", seconds, target="60", **more)
        bench.add("full", name, setting.name, "test error %", error, target="8.75 published", **more)


def cifar94(bench: Bench) -> None:
    name = f"resnet-20, width {bench.size.width}"
    with bench.guarded("cifar94", name, BFLOAT16.name):
        data = open_data(bench)
        data = replace(data, train=joined(data.train, data.validation))
        net = net_for(bench, data, "resnet-20", width=bench.size.width)
        seconds, error, more = train_within(bench, net, data, bench.size.wide, BFLOAT16)
        reached = "94 % reached" if error <= 6 else "94 % NOT reached"
        note = f"{reached} at the only test, after the last step{more.pop('note')}"
        bench.add("cifar94", name, BFLOAT16.name, "s to train", seconds, note=note, **more)
        bench.add("cifar94", name, BFLOAT16.name, "test error %", error, target="6", note=note, **more)


def fastest(bench: Bench, name: str) -> Setting:
    """Of the settings measured just now, the fastest that learned as the exact one did; TF32 eager if there is none."""
    rows = [row for row in bench.rows() if row["part"] == "steps" and row["net"] == name and row["loss"]]
    milliseconds = {row["setting"]: float(row["value"]) for row in rows}
    losses = {row["setting"]: float(row["loss"]) for row in rows}
    goal = losses.get(EXACT.name, math.nan)
    right = [s for s in SETTINGS if abs(losses.get(s.name, math.nan) - goal) <= SAME_LOSS * goal]
    return min(right, key=lambda setting: milliseconds[setting.name], default=TF32)


def train_within(
    bench: Bench, net: Replicas, data: Data, recipe: Recipe, setting: Setting
) -> tuple[float, float, dict[str, Any]]:
    """Seconds, test error in percent, and what else the rows say: as many steps of a recipe as time is left for."""
    asked, rates = recipe.total_steps(len(data.train)), [recipe.learning_rates[0]]
    with setting.running(net):
        start = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        trial = prepared(bench, net, data, recipe, setting, asked)
        bench.timed(lambda: advance(trial, bench.size.warm))
        a_step = bench.timed(lambda: advance(trial, bench.size.warm)) / bench.size.warm
        net.load_state_dict(start)  # copied into the same tensors, which graphs hold on to
        steps = max(1, min(asked, int(0.85 * bench.left / a_step)))
        seconds = bench.timed(
            lambda: train(
                net,
                stream(bench, data, recipe),
                recipe,
                rates=rates,
                steps=steps,
                epoch_steps=len(data.train) / recipe.batch_size,
                validate=lambda _: Scores(torch.zeros(1), torch.zeros(1)),
                intervals=1,
                precision=lambda: setting.before_forward(bench.device),
            )
        )
        test = evaluate(net, data.test, Preprocess.fit(data, kind(recipe)), device=bench.device)
    about = [f"; only {steps} of {asked} steps, for want of time"] * (steps < asked)
    about += ["; the images are random pixels"] * (bench.data is None)
    images = round(steps * recipe.batch_size / seconds)
    return seconds, 100 * float(test.error[0]), {"steps": steps, "images_a_second": images, "note": "".join(about)}


# Replicas


def replicas(bench: Bench) -> None:
    allow_tf32(True)
    alone = math.nan
    for count in bench.size.stacks:
        with bench.guarded("replicas", bench.size.dense, f"{count} replicas"):
            seconds = time_stack(bench, count)
            alone = seconds if count == 1 else alone
            ratio = count * alone / seconds
            bench.add(
                *("replicas", bench.size.dense, f"{count} replicas, TF32", "ms a replica and step"),
                seconds / count * 1e3,
                target="20x alone" if count == 64 else "",
                note=f"{ratio:.1f}x as fast as one alone; {seconds * 1e3:.2f} ms a step",
                steps=bench.size.stack_steps,
                speed_up=f"{ratio:.2f}",
            )


def time_stack(bench: Bench, count: int) -> float:
    """Seconds a step of so many replicas; of one alone, as an ordinary net with torch's own optimizer."""
    torch.manual_seed(0)
    net = stack([build(bench.size.dense, in_features=64, num_classes=10) for _ in range(count)]).to(bench.device)
    update, rates = make_update(net, DENSE), torch.full((count,), 1e-3)
    x = torch.randn(count, DENSE.batch_size, 64, device=bench.device)
    y = torch.randint(10, x.shape[:2], device=bench.device)

    def run(steps: int) -> None:
        for _ in range(steps):
            cross_entropy(net(x), y).sum().backward()
            update.step(rates)

    bench.timed(lambda: run(bench.size.warm))
    return bench.timed(lambda: run(bench.size.stack_steps)) / bench.size.stack_steps


# What parts share


def net_for(bench: Bench, data: Data, name: str, **settings: int) -> Replicas:
    torch.manual_seed(0)
    return Single(build(name, num_classes=data.num_classes, in_channels=data.shape[0], **settings)).to(bench.device)


def stream(bench: Bench, data: Data, recipe: Recipe) -> BatchStream:
    preprocess, augment = Preprocess.fit(data, kind(recipe)), make_augmentations(recipe.augment)
    size = recipe.batch_size
    return BatchStream(data.train, preprocess, batch_size=size, seeds=[0], augment=augment, device=bench.device)


def kind(recipe: Recipe) -> Any:
    return recipe.preprocess


def open_data(bench: Bench) -> Data:
    return random_images(bench.size.images) if bench.data is None else load(bench.data)


def random_images(count: int) -> Data:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.randint(10, (count,), generator=generator))
    held = split.select(torch.arange(count // 5))
    return Data("random", tuple("0123456789"), 255.0, "", split, held, held, "")


def joined(*parts: Split) -> Split:
    return Split(torch.cat([held_images(part) for part in parts]), torch.cat([part.labels for part in parts]))


def allow_tf32(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


@cache
def machine(device: str) -> dict[str, str]:
    """What every row says of where it was measured."""
    on_gpu = device != "cpu"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "driver": driver() if on_gpu else "",
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or "") if on_gpu else "",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):  # torch itself does not tell the driver's version
        return "unknown"


def line(row: dict[str, Any]) -> str:
    part, net, setting, measure, value, target, note = (str(row.get(name, "")) for name in COLUMNS[:7])
    return f"{part:12} {net:19} {setting:24} {value:>10} {measure:27} {target:>14}  {note}".rstrip()


# Each with the seconds it is meant to have.
PARTS: dict[str, tuple[Callable[[Bench], None], float]] = {
    "correctness": (correctness, 40),
    "steps": (steps, 230),
    "full": (full, 90),
    "replicas": (replicas, 30),
    "cifar94": (cifar94, 75),
}

if __name__ == "__main__":
    main()
