"""A study's run directories, brought down to what its table, its verdict and its charts are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from skipway.report import files, series
from skipway.report.means import Mean
from skipway.report.metric import ERROR, Metric, metric_of, samples_of
from skipway.rundir.layout import Json
from skipway.rundir.run import Run
from skipway.rundir.study import Study

State = Literal["done", "diverged", "unfinished"]


Question = Literal["training", "validation"]
Edge = Literal["", "lowest", "highest", "only"]


@dataclass(frozen=True)
class Choice:
    """A learning rate that answers one question best, and where it stands among those that were tried."""

    learning_rate: float
    edge: Edge = ""
    """Whether none lower, none higher, or no other was tried: then one that was not tried may be better."""
    low: float | None = None
    """The next lower rate that was tried: with `high`, the best rate lies between them."""
    high: float | None = None

    @property
    def bracketed(self) -> bool:
        """Whether lower and higher rates were tried and found worse; or one rate alone, which is a condition of it."""
        return self.edge in ("", "only")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One gate at one depth: every learning rate and seed of it, seen at the two rates that answer best.

    How well it can be *trained* is seen at the rate with the lowest mean training loss, how well it *generalises* at
    the one with the best mean of the study's metric on the validation data. The metric's values are as on the disk.
    """

    gate: str
    depth: int
    net: str = ""
    computed: tuple[Json, ...] = ()
    """In what way each of its trainings was computed: `skipway.report.computed`."""
    blocks: int | None = None
    """Blocks of the net; with none there is no gate. None until a training is in."""
    parameters: int | None = None
    multiply_adds: int | None = None
    """Of one forward pass for one input."""
    training: Choice | None = None
    """The learning rate with the lowest mean training loss; None until all of the group's trainings are in."""
    validation: Choice | None = None
    """The learning rate with the best mean metric on the validation data, of equals that with the lowest loss."""
    rates: int = 1
    """Learning rates at which no seed diverged: the two were chosen among so many."""
    cells: int = 1
    """Trainings that the study asks for, over learning rates and seeds."""
    finished: int = 1
    """Trainings that are in, the diverged ones among them."""
    diverged: int = 0
    failed: int = 0
    """Trainings that ended by an exception; they are tried again when the study is started again."""
    every_rate_diverged: bool = False
    """Whether at every learning rate at least one seed diverged, so that none can be chosen."""
    reasons: tuple[str, ...] = ()
    """Why trainings diverged or failed, each reason once."""
    train_loss: Mean | None = None
    """Of the final weights, at the rate that trains best."""
    train_metric: Mean | None = None
    """Of the same weights."""
    best_train_metric: float | None = None
    """The best mean of it at any rate that was tried with no seed diverged."""
    validation_loss: Mean | None = None
    """Of the final weights, at the rate that generalises best."""
    validation_metric: Mean | None = None
    test_metric: Mean | None = None
    gradient_ratios: tuple[float, ...] = ()
    """Before training, for each seed: norm of the loss's gradient with respect to the first block's output, divided by
    the same at the last block. Empty with fewer than two blocks."""
    transform_start: float | None = None
    """Mean of the gate T over blocks and seeds, before training."""
    transform_end: float | None = None
    """The same after training."""
    carry_end: float | None = None

    @property
    def state(self) -> State:
        """Whether there is a result, none because every learning rate diverged, or none yet."""
        if self.training is not None and self.train_loss is not None:
            return "done"
        return "diverged" if self.finished == self.cells and self.every_rate_diverged else "unfinished"

    @property
    def gradient_ratio(self) -> float | None:
        """The geometric mean of the gradient's ratios over seeds; 0 if one of them is. None where there is none."""
        if not self.gradient_ratios:
            return None
        least = min(self.gradient_ratios)
        return math.exp(statistics.fmean(map(math.log, self.gradient_ratios))) if least > 0 else 0.0

    @property
    def reason(self) -> str:
        """Why trainings diverged or failed: the reason of all, or one of several as an example."""
        first = self.reasons[0] if self.reasons else ""
        return first if len(self.reasons) < 2 else f"for example: {first}"

    @property
    def note(self) -> str:
        """What a reader of this row must know besides its numbers; empty if nothing."""
        why = f"; {self.reason}" if len(self.reasons) > 1 else f": {self.reason}" if self.reasons else ""
        if self.state == "diverged":
            some = "" if self.diverged == self.cells else f" ({self.diverged} of {self.cells} trainings)"
            return f"diverged at every learning rate tried{some}{why}"
        if self.state == "unfinished":
            if self.finished == self.cells:
                return "all trainings are in, but the study ended before choosing a learning rate: start it again"
            failed = f", {self.failed} failed{why}" if self.failed else ""
            return f"not finished: {self.finished} of {self.cells} trainings in{failed}"
        return f"{self.diverged} of {self.cells} trainings diverged{why}" if self.diverged else ""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A study as its report shows it."""

    info: Json
    """The content of study.json."""
    groups: tuple[Group, ...]
    """Ordered by gate, as the study names them, then by depth."""
    sweep: Sequence[Json] = field(default=(), repr=False)
    """A row a gate, depth and learning rate; see `series.sweep`."""
    curves: Sequence[Json] = field(default=(), repr=False)
    """The metric over steps at the rates that train best; see `series.curves`."""
    layers: Sequence[Json] = field(default=(), repr=False)
    """Probes by layer at the rates that train best; see `series.layers`."""

    @property
    def gates(self) -> list[str]:
        """The gates, in the order that the study names them."""
        return list(dict.fromkeys(group.gate for group in self.groups))

    @property
    def depths(self) -> list[int]:
        """The depths, ascending."""
        return sorted({group.depth for group in self.groups})

    def of(self, gate: str) -> list[Group]:
        """A gate's groups, by ascending depth."""
        return sorted((group for group in self.groups if group.gate == gate), key=lambda group: group.depth)

    def at(self, depth: int) -> list[Group]:
        """A depth's groups, in the order of the gates."""
        return [group for group in self.groups if group.depth == depth]

    @property
    def data(self) -> Json:
        """What study.json says of the data: name, classes, sizes."""
        return self.info.get("data") or {}

    @property
    def metric(self) -> Metric:
        """What its nets are judged by."""
        return metric_of(self.info)

    @property
    def search(self) -> str:
        """How learning rates beyond those named were searched; empty where none were."""
        name: str = self.info.get("config", {}).get("search", "grid")
        return "" if name == "grid" else name

    @property
    def samples(self) -> str:
        """The word for several samples of its data."""
        return samples_of(self.info)

    @property
    def guessing(self) -> Guessing | None:
        """What the best constant answer gets on the training data; None where nobody can tell."""
        told, classes = self.data.get("guessing"), len(self.data.get("classes") or ())
        if told:
            return Guessing(told["loss"], told.get(self.metric.name), self.metric)
        if classes and self.metric.counts_wrong:  # of equal shares, where their shares are not told
            return Guessing(math.log(classes), 1 - 1 / classes, self.metric)
        return None

    @property
    def seeds(self) -> int:
        """The most seeds that a mean is taken over."""
        return max((group.train_loss.n for group in self.groups if group.train_loss), default=0)

    @property
    def cells(self) -> int:
        """Trainings asked for."""
        return sum(group.cells for group in self.groups)

    @property
    def finished(self) -> int:
        """Trainings that are in."""
        return sum(group.finished for group in self.groups)


@dataclass(frozen=True)
class Guessing:
    """The best constant answer: of classes their shares as probabilities, or the commonest class."""

    loss: float
    value: float | None
    """Of the metric; None where it is not known."""
    metric: Metric = ERROR


def summarise(study: Study) -> Summary:
    """Read a study: run.json of every cell that is in; metrics and probes of the chosen learning rates' runs alone.

    Raises:
        ValueError: if a file is damaged; the message says what to do.
    """
    info = files.study_info(study)
    chosen = {(row["gate"], row["depth"]): row["learning_rate"] for row in info.get("chosen") or ()}
    members: dict[tuple[str, int], list[Json]] = {}
    for cell in info["cells"]:
        members.setdefault((cell["gate"], cell["depth"]), []).append(cell)
    gates = list(dict.fromkeys(gate for gate, _ in members))
    parts = [
        _read(study, members[key], chosen.get(key) or {}, info.get("failures") or {}, metric_of(info))
        for key in sorted(members, key=lambda key: (gates.index(key[0]), key[1]))
    ]
    return Summary(
        info=info,
        groups=tuple(part.group for part in parts),
        sweep=[row for part in parts for row in part.sweep],
        curves=series.thinned([line for part in parts for line in part.curves], by="step"),
        layers=series.thinned([line for part in parts for line in part.layers], by="layer"),
    )


@dataclass(frozen=True)
class _Part:
    group: Group
    sweep: list[Json]
    curves: list[series.Line]
    layers: list[series.Line]


def _read(study: Study, cells: list[Json], rates: Mapping[str, float], failures: Json, metric: Metric) -> _Part:
    """One gate at one depth, from its runs on disk."""
    found = [(study.run(cell["id"]), cell) for cell in cells if study.has(cell["id"])]
    runs = [(run, files.run_info(run, cell)) for run, cell in found]
    infos = [info for _, info in runs]
    sweep = series.sweep(infos, rates, metric)
    trained = _at(runs, rates.get("training"))
    # What the probes saw before training does not depend on the learning rate: any one of them tells it.
    shown = trained or [(run, info) for run, info in runs if info["cell"]["learning_rate"] == cells[0]["learning_rate"]]
    probes = [files.run_probes(run) for run, _ in shown]
    curves = [files.run_metrics(run) for run, _ in trained]
    failed = [failures[cell["id"]] for cell in cells if cell["id"] in failures and not study.has(cell["id"])]
    diverged = [info for info in infos if info["status"] != "done"]
    net = infos[0]["net"] if infos else {}

    def mean(name: str, question: Question) -> Mean | None:
        return Mean.of(info["metrics"].get(name) for _, info in _at(runs, rates.get(question)))

    group = Group(
        gate=cells[0]["gate"],
        depth=cells[0]["depth"],
        net=net.get("name", ""),
        computed=tuple(info.get("computed") or {} for info in infos),
        blocks=_blocks_of(net),
        parameters=net.get("parameters"),
        multiply_adds=net.get("multiply_adds"),
        training=_choice(cells, rates.get("training")),
        validation=_choice(cells, rates.get("validation")),
        rates=sum(not row["diverged"] for row in sweep),
        cells=len(cells),
        finished=len(infos),
        diverged=len(diverged),
        failed=len(failed),
        every_rate_diverged={info["cell"]["learning_rate"] for info in diverged}
        == {cell["learning_rate"] for cell in cells},
        reasons=tuple(dict.fromkeys([info["reason"] for info in diverged if info.get("reason")] + failed)),
        train_loss=mean("train_loss", "training"),
        train_metric=mean(f"train_{metric.name}", "training"),
        best_train_metric=metric.best_of(row["train_metric"] for row in sweep if _told(row)),
        validation_loss=mean("validation_loss", "validation"),
        validation_metric=mean(f"validation_{metric.name}", "validation"),
        test_metric=mean(f"test_{metric.name}", "validation"),
        gradient_ratios=gradient_ratios(probes),
        transform_start=_over_blocks(probes, "start", "transform_mean"),
        transform_end=_over_blocks(probes, "end", "transform_mean") if trained else None,
        carry_end=_over_blocks(probes, "end", "carry_mean") if trained else None,
    )
    layers = series.layers(probes, group.gate, group.depth) if trained else []
    return _Part(group, sweep, series.curves(curves, group.gate, group.depth, metric), layers)


def _blocks_of(net: Json) -> int | None:
    """How many blocks a net has; None where nothing tells: of somebody's own net, those without a skip are not seen."""
    blocks: int | None = net.get("blocks")
    return None if blocks == 0 and "function" in net else blocks


def _at(runs: Sequence[tuple[Run, Json]], rate: float | None) -> list[tuple[Run, Json]]:
    """The runs of one learning rate that did not diverge."""
    return [(run, info) for run, info in runs if info["cell"]["learning_rate"] == rate and info["status"] == "done"]


def _choice(cells: Sequence[Json], rate: float | None) -> Choice | None:
    """A chosen rate, with its place among those of the group's cells."""
    if rate is None:
        return None
    tried = sorted({cell["learning_rate"] for cell in cells})
    if len(tried) == 1:
        return Choice(rate, "only")
    place = tried.index(rate)
    low, high = tried[place - 1] if place else None, tried[place + 1] if place + 1 < len(tried) else None
    return Choice(rate, "lowest" if low is None else "highest" if high is None else "", low, high)


def _told(row: Json) -> bool:
    return row["train_metric"] is not None and not row["diverged"]


def gradient_ratios(probes: Sequence[Sequence[Json]]) -> tuple[float, ...]:
    """Gradient norm at the first block's output over that at the last one's, before training, for each run.

    Args:
        probes: For each run its rows of probes.parquet.
    """
    ratios = []
    for rows in probes:
        norms = [row["gradient_norm"] for row in _blocks(rows, "start")]
        if len(norms) > 1 and norms[0] is not None and norms[-1]:
            ratios.append(norms[0] / norms[-1])
    return tuple(ratios)


def _over_blocks(probes: Sequence[Sequence[Json]], moment: str, name: str) -> float | None:
    mean = Mean.of(row[name] for rows in probes for row in _blocks(rows, moment))
    return mean.value if mean else None


def _blocks(rows: Sequence[Json], moment: str) -> list[Json]:
    chosen = [row for row in rows if row["kind"] == "block" and row["moment"] == moment]
    return sorted(chosen, key=lambda row: row["layer"])
