"""What nets are judged by: a metric's name on the disk, and how people read it.

A task describes its metric in study.json and run.json. Where a task has none, the loss takes its place. Studies that
were written before there were tasks classify images. No metric is known by its name but the error of classification,
for which there are words of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

from skipway.report.numbers import decimal, in_points, plus_minus, rounded
from skipway.rundir.layout import Json

_DIGITS = 3  # significant ones, of a metric whose task does not say how many stand behind the point
_LOSS_DIGITS = 2
_NARROW = 10  # characters of a heading in a terminal


@dataclass(frozen=True)
class Metric:
    """A number that says how good a net is; `skipway.tasks` says what the fields mean."""

    name: str
    word: str
    unit: str = ""
    factor: float = 1.0
    better: Literal["lower", "higher"] = "lower"
    digits: int | None = None

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss, of a task without another metric."""
        return self.name == "loss"

    @property
    def counts_wrong(self) -> bool:
        """Whether it is the share of samples that are classified wrongly."""
        return (self.name, self.word, self.unit) == ("error", "error", "%")

    @property
    def is_share(self) -> bool:
        """Whether its values are fractions, shown per cent."""
        return self.unit == "%" and self.factor == 100

    @property
    def lower(self) -> bool:
        """Whether lower values are better."""
        return self.better == "lower"

    @property
    def best(self) -> str:
        """What to look for: the "lowest" value or the "highest"."""
        return "lowest" if self.lower else "highest"

    @property
    def improves(self) -> str:
        """What it does when nets get better: it "falls" or it "rises"."""
        return "falls" if self.lower else "rises"

    def is_better(self, one: float, other: float) -> bool:
        """Whether the first value is the better one."""
        return one < other if self.lower else one > other

    def best_of(self, values: Iterable[float]) -> float | None:
        """The best of some values; None where there is none."""
        return (min if self.lower else max)(values, default=None)

    def heading(self, split: str, when: str = "") -> str:
        """The heading of a column or an axis: ``Training error, %``, ``training error at the end, %``."""
        return self._titled(" ".join(filter(None, (split, self.word, when))))

    def short_heading(self, split: str) -> str:
        r"""The same in lines for a narrow column: ``Train.\nerr., %``."""
        word = self.word if split == "Test" else self.word.replace("error", "err.")
        return "\n".join([split, *wrap(self._titled(word), _NARROW)])

    def label(self, split: str = "") -> str:
        """The same beside a value in a tooltip, where % goes without saying: ``training RMSE, mg/dl``."""
        return f"{split} {self.word}".strip() if self.unit == "%" else self.heading(split)

    def text(self, value: float, std: float | None = None, *, unit: bool = True) -> str:
        """A value with its spread, ``2.6 ± 0.4 %`` or ``53.2 mg/dl``; the unit left out for a column headed so."""
        shown, spread = self.factor * value, None if std is None else abs(self.factor) * std
        if self.digits is None:
            number = plus_minus(shown, spread, _LOSS_DIGITS if self.is_loss else _DIGITS)
        else:
            number = decimal(shown, self.digits) + ("" if spread is None else f" ± {decimal(spread, self.digits)}")
        return self._with_unit(number) if unit else number

    def exact(self, value: float) -> str:
        """A value with one digit more, for whoever looks at a single training."""
        shown = self.factor * value
        if self.digits is not None or not math.isfinite(shown):
            return self._with_unit(decimal(shown, (self.digits or 0) + 1))
        return self._with_unit(rounded(shown, _DIGITS + 1))

    def difference(self, value: float, *, sign: bool = False) -> str:
        """A difference of two values: ``0.4 points`` of per cent, else in its unit, ``1.3 mg/dl``; `sign` shows +."""
        number = self.change(value, sign=sign)
        return in_points(number) if self.unit == "%" else self._with_unit(number)

    def change(self, value: float, *, sign: bool = True) -> str:
        """The number of a difference alone: ``+0.4``."""
        shown = self.factor * value
        number = rounded(shown) if self.digits is None else decimal(shown, self.digits)
        return f"+{number}" if sign and not number.startswith("-") else number

    def shows(self, difference: float) -> bool:
        """Whether a difference is more than zero in the digits that are shown."""
        shown = self.factor * difference
        return shown > 0 if self.digits is None else shown >= 0.5 * 10**-self.digits

    def _titled(self, words: str) -> str:
        return f"{words}, {self.unit}" if self._has_unit else words

    def _with_unit(self, number: str) -> str:
        return f"{number} {self.unit}" if self._has_unit else number

    @property
    def _has_unit(self) -> bool:
        """Losses are told without one."""
        return bool(self.unit) and not self.is_loss


LOSS = Metric("loss", "loss")
ERROR = Metric("error", "error", "%", factor=100.0, digits=1)
"""That of studies that were written before there were tasks."""


def metric_of(info: Json) -> Metric:
    """The metric of a study or a run.

    Args:
        info: the content of study.json or run.json.
    """
    task = info.get("task")
    if task is None:
        return ERROR
    own = task["metric"] or {**task["loss"], "name": "loss"}
    return Metric(**{name: own[name] for name in Metric.__dataclass_fields__})


def samples_of(info: Json) -> str:
    """The word for several samples of a study's or a run's data: "images", "rows"; "samples" where nothing says so."""
    told = (info.get("data") or {}).get("samples")
    return str(told or ("images" if metric_of(info).counts_wrong else "samples"))
