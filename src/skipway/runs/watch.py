"""`skipway.watch`: a run directory of a training whose loop is somebody else's."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from skipway.nets.weights import weights_bytes
from skipway.probe.step import Scaler, StepProbe
from skipway.probe.wrappers import visible
from skipway.rundir.files import clear_sides, refuse_links
from skipway.rundir.integrity import FILES
from skipway.rundir.layout import LOCK, RUN, RUNS, run_id
from skipway.rundir.locks import locked
from skipway.runs.blow_up import BlowUp
from skipway.runs.description import describe, learning_rate, name_of, parameters, rank, unwrapped
from skipway.runs.failure import told
from skipway.runs.moments import Moments
from skipway.runs.recorder import Recorder

_log = logging.getLogger("skipway")


class Watched:
    """A training that is being watched. Of several processes, number 0 writes; in the others all of this does nothing.

    Attributes:
        path: the run's directory; None in a process that does not write.
    """

    path: Path | None = None

    def step(self, loss: Tensor | float | None = None, **metrics: Tensor | float) -> None:
        """Tell what a step gave; it takes no time, since nothing is read before the interval's end.

        Call it once a step, after the backward pass. Where `watch` was given no optimizer, this call counts the step.

        Args:
            loss: of the step, a number or a tensor with one value; the interval's row has the mean, as ``train_loss``.
            metrics: further numbers of the step, likewise, under their own names.
        """

    def log(self, **metrics: Tensor | float) -> None:
        """Tell what is no mean over steps, such as ``validation_loss``: the interval's row has the last value."""


@contextmanager
def watch(
    model: nn.Module,
    optimizer: Optimizer | None = None,
    *,
    every: int = 100,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    loss: str = "loss",
    scaler: Scaler | None = None,
    save: bool = False,
) -> Iterator[Watched]:
    """Watch a training in your own loop: its losses, and how signals travel through the net's layers.

    ::

        with sw.watch(model, optimizer, every=100) as run:
            for x, y in batches:
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                run.step(loss)

    Signals come from the loop's own forward and backward pass, in its first step and every so many steps after that.
    Nothing is drawn, no value, gradient or mode is changed, and between those steps there is no hook on the net: the
    losses are the same to the last bit. With a batch in parts, activations and their gradients are those of the last
    part, and gradients of weights those of the whole step; none is clipped. What cannot be seen, such as layers within
    compiled code, is told once in the log, and stands in run.json under ``unseen``.

    Args:
        model: the net, also within `torch.compile`, `DistributedDataParallel` and the like.
        optimizer: its steps are counted, by a hook of torch's; Accelerate's is looked through. None: `Watched.step`
            counts.
        every: steps between two rows of the curve, and between two looks at the layers. A long training keeps at most
            256 looks, which then lie further apart.
        out: the run's directory; None is ``runs/<id>``.
        name: what the run's net is called; None is the model's class.
        loss: what the loss is called.
        scaler: the `torch.amp.GradScaler` of the loop, if it has one: gradients are divided by its scale.
        save: keep the weights at the end, as model.safetensors.

    Raises:
        TypeError: if the optimizer is none of torch's.
        ValueError: if `every` is less than 1, or the directory holds a run.
        BusyError: if another process writes there.
    """
    if every < 1:
        raise ValueError(f"every is a number of steps, 1 or more; it is {every}.")
    optimizer, scaler = unwrapped(optimizer, scaler)
    if rank() > 0:
        yield Watched()
        return
    about = describe(model, optimizer, every=every, name=name, loss=loss)
    identifier = run_id(about["identity"])
    folder = (Path(RUNS) / identifier if out is None else Path(out)).absolute()  # a loop may change its directory
    refuse_links(folder)
    with locked(folder / LOCK, f"{{holder}} writes into {folder}: give this one a directory of its own with out=."):
        if found := [name for name in (RUN, *FILES) if os.path.lexists(folder / name)]:
            raise ValueError(f"{folder} holds a run already ({found[0]}): give this one a directory of its own.")
        clear_sides(folder)
        run = _Watching(model, optimizer, scaler, every, Recorder(folder, identifier, about))
        try:
            yield run
        except BaseException as error:  # Ctrl-C and sys.exit, too
            with run.surviving():
                run.end("failed" if isinstance(error, Exception) else "interrupted", told(error))
            raise
        run.end("done", save=save)


class _Watching(Watched):
    def __init__(
        self, model: nn.Module, optimizer: Optimizer | None, scaler: Scaler | None, every: int, recorder: Recorder
    ) -> None:
        seen = visible(model)
        self.path: Path = recorder.folder
        self._net, self._optimizer, self._every, self._recorder = seen.net, optimizer, every, recorder
        self._probe, self._moments = StepProbe(seen, scaler), Moments(every)
        self._steps = self._calls = 0
        self._may_skip = scaler is not None  # steps whose gradients are not finite
        self._full = False  # whether the interval is over, and its row waits for the last loss and for a validation
        self._logged: dict[str, float] = {}
        self._rate: dict[str, float] = {}
        self._blow_up = BlowUp(counts_itself=optimizer is None)
        self._read_rate()
        self._began = time.perf_counter()
        self._tell([*recorder.about["unseen"], *seen.unseen])
        self._hook = None if optimizer is None else optimizer.register_step_post_hook(lambda *_: self._count())
        self._look()

    def step(self, loss: Tensor | float | None = None, **metrics: Tensor | float) -> None:
        values = metrics if loss is None else {"train_loss": loss, **metrics}
        _check(values)
        if self._full and self._calls >= self._steps:  # it belongs to the next interval
            self._end_interval()
        self._recorder.step(values)
        if loss is not None:
            self._blow_up.take(self._steps, loss)
        self._calls += 1
        if self._optimizer is None:
            self._count()

    def log(self, **metrics: Tensor | float) -> None:
        _check(metrics)
        self._logged |= {name: float(value) for name, value in metrics.items()}

    def end(self, status: str, reason: str | None = None, *, save: bool = False) -> None:
        """Take the hooks away, and write all that is known."""
        if self._hook is not None:
            self._hook.remove()
        self._probe.detach()
        if status == "done":
            self._tell_if_apart()
        rows, recorder = self._recorder.rows, self._recorder
        if self._full or self._steps > (rows[-1]["step"] if rows else 0):
            self._end_interval()
        elif rows:  # such as a last validation
            rows[-1] |= self._logged
        last = {name: value for row in rows for name, value in row.items() if name != "step"} | self._logged
        loss = last.get("train_loss")
        if status == "done" and loss is not None and not math.isfinite(loss):
            status, reason = "diverged", f"the training loss was not finite at step {self._blow_up.step or self._steps}"
        weights = self._weights() if save else None
        metrics = {"steps": self._steps, "seconds": time.perf_counter() - self._began, **last}
        recorder.about["net"]["parameters"] = parameters(self._net)  # of lazy layers it is known only now
        recorder.end(status, reason, metrics, probes=self._moments.rows(ended=True), weights=weights)

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """What goes wrong in watching ends no training: it is told."""
        try:
            yield
        except Exception as error:
            _log.warning("watching %s: %s", self.path, told(error))

    def _count(self) -> None:
        """A step was taken."""
        if self._full:
            self._end_interval()
        self._steps += 1
        with self.surviving():
            self._see()
        if self._steps % self._every == 0:
            self._full = True
            self._read_rate()
        self._look()

    def _read_rate(self) -> None:
        """Right after a step, before a schedule goes on."""
        if self._optimizer is not None:
            self._rate = {"learning_rate": learning_rate(self._optimizer)}

    def _look(self) -> None:
        """Put hooks on the net for the step that begins, if it is one to look at."""
        if self._moments.is_due(self._steps) and self._probe.error is None:
            with self.surviving():
                self._probe.attach()

    def _see(self) -> None:
        """Take what the hooks saw in the step that is over."""
        if not self._probe.attached:
            return
        first = self._probe.layers is None
        rows = self._probe.rows()
        if self._probe.error is not None:
            self._tell([f"all signals from step {self._steps} on: measuring failed: {told(self._probe.error)}"])
            return
        if first:
            self._tell(self._probe.missed)
        self._moments.add(self._steps - 1, rows)

    def _tell_if_apart(self) -> None:
        """Say where losses were told without a step of the optimizer, as where another one took its place."""
        if self._calls > self._steps and not self._may_skip:
            self._tell(
                [
                    f"{self._calls - self._steps} of {self._calls} losses came without a step of the optimizer that is "
                    f"watched, which took {self._steps}: watch each optimizer by itself, or none and let `run.step` "
                    "count"
                ]
            )
        elif self._steps == 0:
            self._tell(["every step: none was counted. Give `watch` the optimizer, or call `run.step` once a step"])

    def _end_interval(self) -> None:
        row = {"step": self._steps, **self._rate, **self._logged}
        self._full = False
        self._logged.clear()
        with self.surviving():  # such as a disk that is full: the next interval writes all of it
            self._recorder.interval(row, self._moments.rows)
        with self.surviving():
            self._blow_up.end_interval(self._recorder.rows[-1].get("train_loss"))

    def _tell(self, unseen: Sequence[str]) -> None:
        """Say what cannot be seen, in run.json and in a line of the log."""
        about = self._recorder.about
        if unseen:
            _log.warning("watching %s, not seen: %s", about["net"]["name"], "; ".join(unseen))
        about["unseen"] = list(dict.fromkeys([*about["unseen"], *unseen]))
        self._recorder.start()

    def _weights(self) -> bytes | None:
        try:
            return weights_bytes(self._net, {}, (), {"function": name_of(self._net)})
        except (RuntimeError, ValueError, AttributeError) as error:  # shards, a state that is no tensor
            self._tell([f"weights at the end: they cannot be saved: {told(error)}"])
            return None


def _check(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if name == "step":
            raise ValueError("step is the name of the column that counts steps: give this number another one.")
        if isinstance(value, Tensor) and value.numel() == 1:
            continue
        if not isinstance(value, Real):
            came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(f"{name} must be a number, or a tensor with one value, such as a mean; it is {came}.")
