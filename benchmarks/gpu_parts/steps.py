"""Steps by the clock, net by net and setting by setting."""

from __future__ import annotations

import time

from gpu_parts.bench import Bench
from gpu_parts.settings import HE_STEPS, Setting
from gpu_parts.trainings import advance, net_for, open_data, prepared
from skipway.data.images.dataset import Images
from skipway.training.world import ALONE

TARGETS = {"resnet-20": "0.94", "resnet-110": "4", "highway-110-2025": "8"}  # ms a step


def steps(bench: Bench) -> None:
    data = open_data(bench)
    for name, setting in bench.size.jobs:
        with bench.guarded("steps", name, setting.name):
            time_steps(bench, data, name, setting)


def time_steps(bench: Bench, data: Images, name: str, setting: Setting) -> None:
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
