"""Whole trainings: the seconds they take, and the test error they end with."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from gpu_parts.bench import Bench
from gpu_parts.settings import BFLOAT16, EXACT, SETTINGS, TF32, Setting
from gpu_parts.trainings import advance, joined, net_for, open_data, prepared, stream
from skipway.data.images.dataset import Images
from skipway.tasks.classification import Classification
from skipway.training.evaluate import Scores, evaluate
from skipway.training.loop import train
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas

SAME_LOSS = 0.05  # of two settings' mean training losses over the same batches


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
    bench: Bench, net: Replicas, data: Images, recipe: Recipe, setting: Setting
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
                Classification(),
                rates=rates,
                steps=steps,
                epoch_steps=len(data.train) / recipe.batch_size,
                validate=lambda _: Scores(torch.zeros(1), torch.zeros(1)),
                intervals=1,
                precision=lambda: setting.before_forward(bench.device),
            )
        )
        test = evaluate(
            net, data.test, data.pipeline(preprocess=recipe.preprocess), Classification(), device=bench.device
        )
    about = [f"; only {steps} of {asked} steps, for want of time"] * (steps < asked)
    about += ["; the images are random pixels"] * (bench.data is None)
    images = round(steps * recipe.batch_size / seconds)
    return seconds, 100 * float(test.metric[0]), {"steps": steps, "images_a_second": images, "note": "".join(about)}
