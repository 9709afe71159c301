"""How often a verdict claims what is not so, and how often it finds what is.

    python benchmarks/verdict.py [--studies 400] [--search race] [--small]

First studies in which nothing differs, whatever the number of gates, depths and seeds and however the nets scatter: at
most 5 % of verdicts may claim anything. Their numbers are told as errors, then as the RMSE of a regression. Then the
differences that the digits study and a short study on CIFAR-10 found, drawn again with their means and spreads: how
often three seeds show them. The studies are drawn as numbers, a training at a time; the search for rates and the
verdict are the real ones.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from skipway.report.means import Mean
from skipway.report.summary import Choice, Group, Summary
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.sentences import verdict
from skipway.studies.search.measures import QUESTIONS, Scores, best, mean
from skipway.studies.search.rules import SEARCHES, Grid, Search, Trial

RATES = (0.03, 0.1, 0.3, 1.0)
DEPTHS = (5, 10, 20, 35, 50, 70, 100, 150, 200, 300)
IMAGES = {"train": 1257, "validation": 180, "test": 360}
WORDS = ("Depth makes", "Depth stops", "better than", "worse than", "More depth pays", "not the same at all depths")
"""Every sentence that claims a difference holds one of them, and no other sentence does."""

Found = dict[tuple[str, int], tuple[float, ...]]
"""By gate and depth: training loss, training error and test error, each with its spread."""
Draw = Callable[[random.Random, int, int], float]


class Training(NamedTuple):
    """What a training gets: of the metric, on each split."""

    train: float
    validation: float
    test: float


@dataclass(frozen=True)
class Scatter:
    """How the seeds of one gate (by its place) at one depth (by its place among so many) scatter about 30 % error."""

    name: str
    std: Callable[
        [random.Random, float, int], float
    ]  # (draws of a gate and depth, share of the depths, gate) -> points
    shape: Draw = lambda draw, gate, place: draw.gauss(0, 1)


def _failing(draw: random.Random, gate: int, place: int, one_in: int) -> float:
    return 25 if draw.random() < 1 / one_in else draw.gauss(0, 1)


SCATTERS = (
    Scatter("2 points everywhere", lambda draw, share, gate: 2),
    Scatter("0.2 to 6, by gate", lambda draw, share, gate: (0.2, 2, 6)[gate % 3]),
    Scatter("0.2 to 6, growing with depth", lambda draw, share, gate: 0.2 + 5.8 * share),
    Scatter("0.2 to 6, falling with depth", lambda draw, share, gate: 6 - 5.8 * share),
    Scatter("0.1, and 6 at the deepest", lambda draw, share, gate: 6 if share == 1 else 0.1),
    Scatter("0.2 to 6, at random", lambda draw, share, gate: 0.2 * 30 ** draw.random()),
    *(
        Scatter(f"2, one seed in {one_in} fails", lambda draw, share, gate: 2, partial(_failing, one_in=one_in))
        for one_in in (10, 5, 3, 2)
    ),
    Scatter("2, skewed", lambda draw, share, gate: 2, lambda draw, gate, place: math.exp(draw.gauss(0, 0.8)) - 1.38),
)
SIZES = (
    (1, 2, 2),
    (1, 5, 3),
    (3, 2, 2),
    (3, 2, 3),
    (3, 5, 2),
    (3, 5, 3),
    (3, 5, 10),
    (10, 2, 3),
    (10, 5, 3),
    (10, 10, 2),
    (10, 10, 10),
)
"""Gates, depths, seeds."""
REGRESSION_SIZES = ((1, 5, 3), (3, 2, 2), (3, 5, 3), (10, 10, 2))


@dataclass(frozen=True)
class Told:
    """What becomes of an error of 30 %, and what study.json says of it."""

    info: dict
    value: Callable[[float, int], float]
    """Of an error on so many samples."""
    loss: Callable[[float], float]
    """Of an error."""


INFO = {"rates": 7, "data": {"name": "digits", "classes": list("0123456789"), "sizes": IMAGES}}
RMSE = {"name": "rmse", "word": "RMSE", "unit": "mg/dl", "factor": 1.0, "better": "lower", "digits": None}
TABLE = {
    "task": {"name": "regression", "loss": {**RMSE, "name": "loss", "word": "loss"}, "metric": RMSE},
    "data": {"name": "table", "samples": "rows", "sizes": IMAGES, "guessing": {"loss": 1.0, "rmse": 77.0}},
}
ERRORS = Told(INFO, lambda error, images: _images(error, images), lambda error: 2.3 * max(error, 1e-4))
# 30 % of the targets' deviation: the same scatter, as shares of a value that no number of samples makes coarse.
VALUES = Told(TABLE, lambda error, rows: 77.0 * max(error, 1e-4), lambda error: max(error, 1e-4) ** 2)


def nothing_differs(
    draw: random.Random, size: tuple[int, int, int], scatter: Scatter, told: Told, search: Search
) -> Summary:
    """A study in which neither gate nor depth has any effect, at any learning rate."""
    gates, depths, seeds = size
    groups = []
    for gate in range(gates):
        for place, depth in enumerate(DEPTHS[:depths]):
            std = scatter.std(draw, place / max(1, depths - 1), gate) / 100

            def training(gate: int = gate, place: int = place, std: float = std) -> Training:
                errors = [0.3 + std * scatter.shape(draw, gate, place) for _ in IMAGES]
                return Training(*(told.value(own, n) for own, n in zip(errors, IMAGES.values(), strict=True)))

            groups.append(searched(_gate(gate), depth, training, Grid(RATES, tuple(range(seeds))), told, search))
    return Summary(info=told.info, groups=tuple(groups))


def as_found(draw: random.Random, found: Found, info: dict, seeds: int) -> Summary:
    """A study with means and spreads that were measured: of log training loss, training, validation and test error."""
    groups = []
    for (gate, depth), (loss, loss_std, train, train_std, test, test_std) in found.items():
        losses = Mean(tuple(loss * math.exp(draw.gauss(0, loss_std / loss)) for _ in range(seeds)))
        errors = Mean(_counted(draw, train, train_std, seeds, info["data"]["sizes"]["train"]))
        validated = Mean(_counted(draw, test, test_std, seeds, info["data"]["sizes"]["validation"]))
        groups.append(
            Group(
                gate=gate,
                depth=depth,
                training=Choice(0.1),
                validation=Choice(0.1),
                rates=info["rates"],
                train_loss=losses,
                train_metric=errors,
                best_train_metric=train,
                validation_metric=validated,
                test_metric=Mean(_counted(draw, test, test_std, seeds, info["data"]["sizes"]["test"])),
            )
        )
    return Summary(info=info, groups=tuple(groups))


def searched(gate: str, depth: int, training: Callable[[], Training], grid: Grid, told: Told, search: Search) -> Group:
    """One gate and depth, at the rates that a search chooses among trainings that are drawn."""
    found: dict[Trial, Training] = {}
    results: dict[Trial, Scores | None] = {}
    while fresh := search.wanted(grid, results) - results.keys():
        for trial in sorted(fresh, key=grid.place):
            own = found[trial] = training()
            results[trial] = {"training": (told.loss(own.train),), "validation": (own.validation,)}
    seeds = {
        rate: [found[trial] for trial in sorted(found, key=grid.place) if trial.learning_rate == rate]
        for rate in {trial.learning_rate for trial in found}
    }
    whole = {rate: own for rate, own in seeds.items() if len(own) == len(grid.seeds)}
    means = {rate: mean([results[Trial(rate, seed)] for seed in grid.seeds]) for rate in whole}
    trained, generalised = (whole[best(means, question)] for question in QUESTIONS)
    return Group(
        gate=gate,
        depth=depth,
        training=Choice(0.1),
        validation=Choice(0.1),
        rates=len(seeds),
        train_loss=Mean(tuple(told.loss(own.train) for own in trained)),
        train_metric=Mean(tuple(own.train for own in trained)),
        best_train_metric=min(_mean([own.train for own in each]) for each in seeds.values()),
        validation_metric=Mean(tuple(own.validation for own in generalised)),
        test_metric=Mean(tuple(own.test for own in generalised)),
    )


def claims(summary: Summary) -> bool:
    """Whether a verdict claims any difference, by its sentences."""
    return any(word in sentence for sentence in verdict(summary).sentences for word in WORDS)


def false_claims(
    size: tuple[int, int, int], scatter: Scatter, studies: int, told: Told = ERRORS, search: str = "race"
) -> float:
    """The share of verdicts that claim something where nothing differs."""
    draw, rule = random.Random(f"{size} {scatter.name}"), SEARCHES[search]()
    return sum(claims(nothing_differs(draw, size, scatter, told, rule)) for _ in range(studies)) / studies


def power(found: Found, info: dict, seeds: int, studies: int) -> dict[str, float]:
    """The share of studies that show each difference."""
    draw = random.Random(seeds)
    shown: dict[str, int] = {}
    for _ in range(studies):
        findings = Findings(as_found(draw, found, info, seeds))
        for name in _differences(findings):
            shown[name] = shown.get(name, 0) + 1
    return {name: count / studies for name, count in shown.items()}


def _differences(findings: Findings) -> Iterator[str]:
    for gate in findings.summary.gates:
        if findings.harder(gate) == "yes":
            yield f"depth makes {gate} harder to train"
    depth = findings.summary.depths[-1]
    base, others = findings.compared(depth) or (None, [])
    for other in others:
        if base and findings.apart(base, other) in ("better", "worse"):
            yield f"{other.gate} is {findings.apart(base, other)} at depth {depth}"


def _gate(place: int) -> str:
    return "plain" if place == 0 else f"gate-{place}"


def _images(error: float, number: int) -> float:
    """An error as so many images can show it."""
    return min(max(round(error * number), 0), number) / number


def _counted(draw: random.Random, error: float, std: float, seeds: int, images: int) -> tuple[float, ...]:
    return tuple(_images(min(0.9, max(0.0, draw.gauss(error, std))), images) for _ in range(seeds))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


# What the demo found (LOG.md, "The verdict"): training loss, training error, test error, each with its spread.
DIGITS = {
    ("plain", 5): (0.00014, 0.00003, 0.0, 0.0, 0.015, 0.003),
    ("plain", 20): (0.0037, 0.0036, 0.001, 0.001, 0.030, 0.006),
    ("plain", 50): (0.49, 0.05, 0.203, 0.019, 0.272, 0.039),
    ("plain", 100): (1.0, 0.4, 0.434, 0.152, 0.521, 0.100),
    ("residual", 5): (0.00019, 0.00002, 0.0, 0.0, 0.007, 0.002),
    ("residual", 20): (0.00017, 0.00004, 0.0, 0.0, 0.014, 0.007),
    ("residual", 50): (0.00014, 0.00004, 0.0, 0.0, 0.011, 0.006),
    ("residual", 100): (0.00011, 0.00002, 0.0, 0.0, 0.009, 0.003),
    ("highway", 5): (0.00045, 0.00002, 0.0, 0.0, 0.009, 0.007),
    ("highway", 20): (0.00067, 0.00005, 0.0, 0.0, 0.010, 0.002),
    ("highway", 50): (0.00084, 0.00005, 0.0, 0.0, 0.008, 0.005),
    ("highway", 100): (0.00042, 0.00004, 0.0, 0.0, 0.006, 0.004),
}
# README's study on CIFAR-10: 300 steps.
CIFAR = {
    ("plain", 20): (1.80, 0.04, 0.697, 0.017, 0.691, 0.020),
    ("plain", 56): (2.26, 0.02, 0.861, 0.019, 0.859, 0.020),
    ("residual", 20): (1.65, 0.06, 0.624, 0.026, 0.618, 0.035),
    ("residual", 56): (1.77, 0.04, 0.677, 0.008, 0.672, 0.007),
}
CIFAR_INFO = {
    "rates": 1,
    "data": {
        "name": "cifar10",
        "classes": list("0123456789"),
        "sizes": {"train": 45_000, "validation": 5_000, "test": 10_000},
    },
}


def print_false_claims(
    sizes: Sequence[tuple[int, int, int]], scatters: Sequence[Scatter], n: int, told: Told, search: str
) -> None:
    print(f"| scatter of the seeds | {' | '.join('{} x {} x {}'.format(*size) for size in sizes)} |")
    print(f"| :-- |{' --: |' * len(sizes)}")
    for scatter in scatters:
        shares = [false_claims(size, scatter, n, told, search) for size in sizes]
        print(f"| {scatter.name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400, help="drawn for each share")
    parser.add_argument("--search", default="race", choices=[*SEARCHES], help="how learning rates are searched")
    parser.add_argument("--small", action="store_true", help="a few shares, to see that it runs")
    options = parser.parse_args()
    sizes, scatters = (SIZES[:2], SCATTERS[:2]) if options.small else (SIZES, SCATTERS)
    print("Verdicts that claim something where nothing differs (at most 5 %), told as errors:\n")
    print_false_claims(sizes, scatters, options.studies, ERRORS, options.search)
    print("\nThe same, told as the RMSE of a regression:\n")
    print_false_claims(sizes if options.small else REGRESSION_SIZES, scatters, options.studies, VALUES, options.search)
    print("\n(gates x depths x seeds)\n\nVerdicts that show what is there:\n")
    print("| difference | 2 seeds | 3 seeds | 5 seeds |\n| :-- | --: | --: | --: |")
    for name, found, info in (("digits", DIGITS, INFO), ("CIFAR-10", CIFAR, CIFAR_INFO)):
        columns = [power(found, info, seeds, options.studies) for seeds in (2, 3, 5)]
        for difference in sorted(columns[-1], key=lambda key: -columns[1].get(key, 0)):
            shares = " | ".join(f"{100 * column.get(difference, 0):.0f} %" for column in columns)
            print(f"| {name}: {difference} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
