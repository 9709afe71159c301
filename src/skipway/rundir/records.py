"""What run.json, study.json and the rows of metrics.jsonl hold: which fields, and of which kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FINISHED = ("done", "diverged")
UNFINISHED = ("running", "interrupted", "failed")
WATCHED = "watched"  # the kind of a run whose steps somebody else's loop took
MOST_THREADS = 1024


@dataclass(frozen=True)
class Kind:
    """A kind of value: its name for a message, and its rule."""

    name: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Nullable:
    """An object that may be null."""

    fields: Mapping[str, Shape]


Shape = Kind | Nullable | Mapping[str, "Shape"] | Sequence["Shape"]
"""A kind; an object by its fields (``name?`` may be left out, ``*`` stands for all that are not named); a list."""


def one_of(*valid: str) -> Kind:
    """One of some words."""
    return Kind(f"one of {', '.join(valid)}", lambda value: isinstance(value, str) and value in valid)


def or_null(kind: Kind) -> Kind:
    """A kind whose values may be unknown, or not finite."""
    return Kind(f"{kind.name} or null", lambda value: value is None or kind.holds(value))


def _is_whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_text(value: Any) -> bool:
    # JSON can hold half of a surrogate pair, which no file and no terminal takes.
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


WHOLE = Kind("a whole number of at most 64 bits", _is_whole)
NUMBER = Kind("a number", lambda value: _is_whole(value) or (type(value) is float and math.isfinite(value)))
TEXT = Kind("text", _is_text)
FLAG = Kind("true or false", lambda value: type(value) is bool)
COUNT = Kind("a whole number from 1", lambda value: _is_whole(value) and value >= 1)
THREADS = Kind(
    f"a whole number from 1 to {MOST_THREADS}", lambda value: _is_whole(value) and 1 <= value <= MOST_THREADS
)
ID = Kind("16 hexadecimal digits", lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{16}", value)))
SHA256 = Kind("64 hexadecimal digits", lambda value: isinstance(value, str) and len(value) == 64)

FACTOR = Kind("a number above 0", lambda value: NUMBER.holds(value) and value > 0)
DIGITS = Kind("a whole number from 0 to 12", lambda value: _is_whole(value) and 0 <= value <= 12)

DEPTHS = Kind(
    "a list of whole numbers, or auto",
    lambda value: value == "auto" or (isinstance(value, list) and all(map(_is_whole, value))),
)

METRIC: Mapping[str, Shape] = {
    "name": TEXT,
    "word": TEXT,
    "unit": TEXT,
    "factor": FACTOR,
    "better": one_of("lower", "higher"),
    "digits": or_null(DIGITS),
}
TASK: Shape = {"name": TEXT, "loss": METRIC, "metric": Nullable(METRIC)}
CELL: Mapping[str, Shape] = {"gate": TEXT, "depth": WHOLE, "learning_rate": NUMBER, "seed": WHOLE}
RUN_FIELDS: Mapping[str, Shape] = {
    "format": WHOLE,
    "id": ID,
    "status": one_of(*FINISHED, *UNFINISHED),
    "reason?": or_null(TEXT),
    "command?": or_null(TEXT),
    "cell": CELL,
    "net": {"name": TEXT, "parameters": WHOLE, "blocks": WHOLE, "body?": TEXT},
    "task?": TASK,
    "data?": {"samples?": TEXT},
    "metrics": {"*": or_null(NUMBER)},
    "identity": {},
    "config": {},
    "environment": {},
    "choices": {},
    "computed?": {},
    "files?": {"*": {"sha256": SHA256, "bytes": WHOLE}},
}
WATCHED_FIELDS: Mapping[str, Shape] = {
    **RUN_FIELDS,
    "kind": one_of(WATCHED),
    "cell": {"learning_rate?": or_null(NUMBER)},
    "unseen": [TEXT],
}
STUDY_FIELDS: Shape = {
    "format": WHOLE,
    "name": TEXT,
    "status": one_of("done", *UNFINISHED),
    "command?": or_null(TEXT),
    "config": {
        "data": TEXT,
        "net?": TEXT,
        "body?": TEXT,
        "gates": [TEXT],
        "depths": DEPTHS,
        "seeds": [WHOLE],
        "recipe": {},
    },
    "data": {
        "name": TEXT,
        "classes?": [TEXT],
        "sizes": {"*": WHOLE},
        "samples?": TEXT,
        "guessing?": Nullable({"loss": NUMBER, "*": or_null(NUMBER)}),
    },
    "task?": TASK,
    "cells": [{"id": ID, **CELL}],
    "chosen": [{"gate": TEXT, "depth": WHOLE, "learning_rate": {"training": NUMBER, "validation": NUMBER}}],
    "failures": {"*": TEXT},
    "environment": {},
    "choices": {},
    "seconds": NUMBER,
    "started?": or_null(TEXT),
    "ended?": or_null(TEXT),
}
RESUMED_CHOICES: Shape = {"threads": THREADS, "accumulate": COUNT, "recompute": FLAG, "bfloat16": FLAG}
DONE_METRICS: Shape = {"train_loss": NUMBER, "validation_loss": NUMBER}
METRIC_ROW: Shape = {"step": WHOLE, "*": or_null(NUMBER)}


def problem(value: Any, shape: Shape, name: str = "it") -> str | None:
    """The first thing in a value that is not as its shape says, in words; None where all is.

    Args:
        value: from JSON.
        shape: what it should be.
        name: what the message calls it.
    """
    if isinstance(shape, Kind):
        return None if shape.holds(value) else f"{name} must be {shape.name}; it is {_short(value)}"
    if isinstance(shape, Nullable):
        return None if value is None else problem(value, shape.fields, name)
    if isinstance(shape, Mapping):
        if not isinstance(value, dict):
            return f"{name} must be an object; it is {_short(value)}"
        return _problem_of_fields(value, shape, "" if name == "it" else f"{name}.")
    if not isinstance(value, list):
        return f"{name} must be a list; it is {_short(value)}"
    found = (problem(item, shape[0], f"{name}[{place}]") for place, item in enumerate(value))
    return next(filter(None, found), None)


def _problem_of_fields(value: Mapping[str, Any], shape: Mapping[str, Shape], prefix: str) -> str | None:
    known = {name.removesuffix("?") for name in shape}
    for key, inner in shape.items():
        name = key.removesuffix("?")
        if name in value:
            found = problem(value[name], inner, prefix + name)
        else:
            found = f"it has no {prefix}{name}" if key == name != "*" else None
        if found:
            return found
    others = (
        (problem(value[key], shape["*"], prefix + key) for key in value if key not in known) if "*" in shape else ()
    )
    return next(filter(None, others), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
