"""Study directories for the tests of the half that shows: written as studies write them, with made-up numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from skipway.rundir.layout import FORMAT, run_id
from skipway.rundir.run import RunContent
from skipway.rundir.study import Study

RATES = [0.003, 0.01, 0.03, 0.1, 0.3]
STEPS = range(20, 301, 20)


class Judge(NamedTuple):
    """What a made-up study says of its task, and how its metric follows from an error."""

    task: dict[str, Any] | None
    value: Callable[[float], float] = lambda error: error
    guessing: dict[str, float | None] | None = None
    samples: str | None = None

    def on(self, split: str, error: float) -> dict[str, float]:
        metric = self.task["metric"] if self.task else {"name": "error"}
        return {f"{split}_{metric['name']}": self.value(error)} if metric else {}

    def told(self) -> dict[str, Any]:
        return {} if self.task is None else {"task": self.task}


def _metric(name: str, word: str, unit="", factor=1.0, better="lower", digits=None) -> dict[str, Any]:
    return {"name": name, "word": word, "unit": unit, "factor": factor, "better": better, "digits": digits}


LOSS = _metric("loss", "loss")
ERROR = _metric("error", "error", "%", 100.0, digits=1)
RMSE = _metric("rmse", "RMSE", "mg/dl")
ACCURACY = _metric("accuracy", "accuracy", "%", 100.0, "higher", 1)
TOKEN_ERROR = _metric("error", "token error", "%", 100.0, digits=1)
ERRORS = Judge(None)  # as studies were written before there were tasks
JUDGES = {
    "classification": Judge({"name": "classification", "loss": LOSS, "metric": ERROR}, samples="images"),
    "regression": Judge(
        {"name": "regression", "loss": LOSS, "metric": RMSE},
        lambda error: 90 * error + 3,
        {"loss": 2.3, "rmse": 84.0},
        "rows",
    ),
    "accuracy": Judge(
        {"name": "mine", "loss": LOSS, "metric": ACCURACY},
        lambda error: 1 - error,
        {"loss": 2.3, "accuracy": 0.1},
        "rows",
    ),
    "next-token": Judge(
        {"name": "next-token", "loss": LOSS, "metric": TOKEN_ERROR},
        guessing={"loss": 2.3, "error": 0.9},
        samples="texts",
    ),
    "own loss": Judge({"name": "", "loss": LOSS, "metric": None}, samples="rows"),
}


def digits_loss_and_error(gate, depth, off, draw) -> tuple[float, float]:
    """As on digits: plain nets lose their way between 20 and 50 layers. `off` is how far the learning rate is."""
    loss = min(2.35, _final_loss(gate, depth) * 10 ** (1.2 * off + draw.gauss(0, 0.08)))
    return loss, 0.9 * (1 - math.exp(-loss / 1.2))


def _final_loss(gate: str, depth: int) -> float:
    family = gate.partition(":")[0]
    if family == "plain":
        return 10 ** (-3.6 + 4.1 / (1 + math.exp(-0.16 * (depth - 32))))
    return 4e-4 if family != "highway" else 1e-3 * depth**0.65


def made(
    path: Path,
    gates=("plain", "residual", "highway"),
    depths=(5, 20, 50, 100),
    rates=RATES,
    seeds=(0, 1, 2),
    diverged=(),
    missing=(),
    failed=(),
    finals=digits_loss_and_error,
    blocks=lambda depth: depth - 1,
    judge=ERRORS,
    **info,
) -> Study:
    """A study directory as the digits study leaves it, with the numbers of the papers' notes in place of trainings.

    `diverged`, `missing` and `failed` hold cells, or (gate, depth) pairs for all cells of a row. `finals` says what
    loss and error a gate ends with at a depth, `judge` what becomes of the error; `info` replaces parts of study.json.
    """
    study = Study(path)
    draw = random.Random(0)
    cells = [
        {"gate": gate, "depth": depth, "learning_rate": rate, "seed": seed}
        for gate in gates
        for depth in depths
        for rate in rates
        for seed in seeds
    ]
    cells = [{"id": run_id(cell), **cell} for cell in cells]

    def among(cell, chosen) -> bool:
        return (cell["gate"], cell["depth"]) in chosen or (
            cell["gate"],
            cell["depth"],
            cell["learning_rate"],
            cell["seed"],
        ) in chosen

    batch = study.batch("made")
    for cell in cells:
        if not among(cell, missing) and not among(cell, failed):
            _add(batch, cell, among(cell, diverged), rates, draw, finals, blocks(cell["depth"]), judge)
    batch.commit()
    chosen = [
        {"gate": gate, "depth": depth, "learning_rate": {"training": _best(rates), "validation": _best(rates)}}
        for gate in gates
        for depth in depths
        if not any((gate, depth) == (c["gate"], c["depth"]) and (among(c, missing) or among(c, failed)) for c in cells)
        and (gate, depth) not in diverged
    ]
    study.write(
        {
            "format": FORMAT,
            "name": "digits-dense",
            "status": "interrupted" if missing else "done",
            "command": f"skipway study --data digits --gates {' '.join(gates)}",
            "config": {
                "data": "digits",
                "body": "dense",
                "gates": list(gates),
                "depths": list(depths),
                "learning_rates": list(rates),
                "seeds": list(seeds),
                "width": None,
                "recipe": {"optimizer": "sgd", "momentum": 0.9, "steps": 300, "batch_size": 128, "schedule": "cosine"},
            },
            "data": {
                "name": "digits",
                "fingerprint": "d1617",
                "classes": [str(digit) for digit in range(10)],
                "shape": [1, 8, 8],
                "sizes": {"train": 1257, "validation": 180, "test": 360},
                "validation_rule": "every tenth of a class",
                **({"guessing": judge.guessing, "samples": judge.samples} if judge.task else {}),
            },
            **judge.told(),
            "cells": cells,
            "chosen": chosen,
            "failures": {cell["id"]: "RuntimeError: out of memory" for cell in cells if among(cell, failed)},
            "environment": {
                "skipway": "0.1.0",
                "torch": "2.13.0",
                "python": "3.12.1",
                "platform": "Linux",
                "device": "cpu",
            },
            "choices": {"workers": 2, "threads": 1},
            "seconds": 71.2,
            "started": "2026-03-01T10:00:00+00:00",
            "ended": "2026-03-01T10:01:11+00:00",
            **info,
        }
    )
    return study


def _best(rates) -> float:
    return sorted(rates)[len(rates) * 3 // 5 if len(rates) > 1 else 0]


def cifar_loss_and_error(gate, depth, off, draw) -> tuple[float, float]:
    """As after 300 steps on CIFAR-10: plain-20 69 %, plain-56 82 %, resnet-20 63 %, resnet-56 70 % wrong."""
    shallow, deep = {"plain": (0.69, 0.82), "residual": (0.63, 0.70)}.get(gate.partition(":")[0], (0.65, 0.645))
    error = min(0.9, shallow + (deep - shallow) * (depth - 20) / 36 + 0.1 * off + draw.gauss(0, 0.006))
    return 2.8 * error - 0.1, error


def conv(path: Path, gates=("plain", "residual"), depths=(20, 56), seeds=(0, 1, 2), **more) -> Study:
    """A study directory as a short study on CIFAR-10 leaves it."""
    recipe = {"optimizer": "sgd", "learning_rates": [0.1], "steps": 300, "batch_size": 64, "warmup_steps": 50}
    recipe |= {"name": "he2015", "augment": ["crop", "flip"], "preprocess": "pixel", "bias_rate": 2.0}
    recipe |= {"nesterov": False, "milestones": [], "decay_on": "weights"}
    info = {
        "name": "cifar10-cifar",
        "command": f"skipway study --data cifar10 --net cifar --gates {' '.join(gates)} --depths "
        f"{' '.join(map(str, depths))} --learning-rates 0.1 --warmup-steps 50 --steps 300 --batch-size 64 --width 8",
        "config": {"data": "cifar10", "body": "cifar", "gates": list(gates), "depths": list(depths), "width": 8,
                   "seeds": list(seeds), "recipe": recipe},
        "data": {
            "name": "cifar10",
            "fingerprint": "c1f10",
            "classes": [str(digit) for digit in range(10)],
            "shape": [3, 32, 32],
            "sizes": {"train": 45000, "validation": 5000, "test": 10000},
        },
    }  # fmt: skip
    settings = {"rates": [0.1], "finals": cifar_loss_and_error, "blocks": lambda depth: (depth - 2) // 2, **more}
    return made(path, gates, depths, seeds=seeds, **{**info, **settings})


def _add(batch, cell, diverged, rates, draw, finals, blocks, judge) -> None:
    gate, depth, rate = cell["gate"], cell["depth"], cell["learning_rate"]
    loss, error = finals(gate, depth, abs(math.log10(rate / _best(rates))), draw)
    test = 0.02 + 0.6 * error + draw.gauss(0, 0.004)
    metrics = {
        "train_loss": loss,
        **judge.on("train", error),
        "train_samples": 1257,
        "validation_loss": loss + 0.08,
        **judge.on("validation", 0.02 + 0.6 * error + draw.gauss(0, 0.004)),
        "seconds": 1.5,
    }
    if rate == _best(rates):
        metrics |= {"test_loss": loss + 0.1, **judge.on("test", test)}
    if diverged:
        metrics = dict.fromkeys(metrics, math.nan) | {"train_samples": 0, "seconds": 0.2}
    curve = [
        {
            "step": step,
            "epoch": step / 10,
            "learning_rate": rate,
            "train_loss": loss + 2.3 * math.exp(-step / 60),
            **judge.on("train", error + (0.9 - error) * math.exp(-step / 50)),
            "validation_loss": loss + 2.3 * math.exp(-step / 60),
            **judge.on("validation", 0.02 + error + (0.88 - error) * math.exp(-step / 55)),
        }
        for step in STEPS
    ]
    batch.add(
        RunContent(
            cell["id"],
            {
                "status": "diverged" if diverged else "done",
                "reason": "the loss was not finite at step 37" if diverged else None,
                "cell": {key: cell[key] for key in ("gate", "depth", "learning_rate", "seed")},
                "net": {
                    "name": f"{gate}-dense-{depth}",
                    "parameters": 5100 * depth,
                    "multiply_adds": 5000 * depth,
                    "blocks": blocks,
                    "body": "dense",
                    "settings": {},
                },
                **judge.told(),
                "metrics": metrics,
                "identity": {key: cell[key] for key in cell if key != "id"},
                "config": {"steps": 300},
                "environment": {"torch": "2.13.0"},
                "choices": {},
            },
            [] if diverged else curve,
            _probes(gate, blocks, draw, moments=("start",) if diverged else ("start", "end")),
            b"",
        )
    )


def _probes(gate: str, blocks: int, draw, moments) -> list[dict]:
    family = gate.partition(":")[0]
    fade = {"plain": 0.09, "residual": -0.005}.get(family, 0.002)
    rows = []
    for moment in moments:
        for layer in range(blocks + 2):
            kind = "stem" if layer == 0 else "head" if layer == blocks + 1 else "block"
            bias = 1 / (1 + blocks)
            transform = {"plain": 1.0, "residual": 1.0}.get(
                family, bias if moment == "start" else bias * (1.5 - layer / (blocks + 1))
            )
            rows.append(
                {
                    "moment": moment,
                    "step": 0 if moment == "start" else 300,
                    "layer": layer,
                    "name": kind if kind != "block" else f"blocks.{layer - 1}",
                    "kind": kind,
                    "activation_std": math.exp(0.01 * layer * (-3 if family == "plain" else 1) + draw.gauss(0, 0.05)),
                    "gradient_norm": 0.02 * math.exp(-fade * (blocks - layer) + draw.gauss(0, 0.1)),
                    "weight_gradient_norm": 0.05,
                    "transform_mean": transform if kind == "block" else None,
                    "carry_mean": {"plain": 0.0, "residual": 1.0}.get(family, 1 - transform)
                    if kind == "block"
                    else None,
                }
            )
    return rows
