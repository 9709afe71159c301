"""Where everything lies in a run's and in a study's directory, and how a run is named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT = 2


RUNS, STUDY, RUN, METRICS, PROBES, WEIGHTS = (
    "runs",
    "study.json",
    "run.json",
    "metrics.jsonl",
    "probes.parquet",
    "model.safetensors",
)


CHECKPOINT, LOCK = "checkpoint", ".lock"


ASIDE = ".damaged"


Json = dict[str, Any]


PROBE_COLUMNS: dict[str, str] = {
    "moment": "string",  # "start" or "end" of the training; "step": between them, where a loop was watched
    "step": "int64",
    "layer": "int64",  # 0 is the stem, then the blocks in order, then the head
    "name": "string",  # the module's name in the net
    "kind": "string",  # "stem", "block" or "head"
    "activation_std": "float64",  # standard deviation of the layer's output over a batch and its units
    "gradient_norm": "float64",  # norm of the loss's gradient with respect to the layer's output, over the batch
    "weight_gradient_norm": "float64",  # the same with respect to the layer's own parameters
    "transform_mean": "float64",  # mean of T over a batch and its units; empty where there is no gate
    "carry_mean": "float64",  # mean of C
}


def run_id(identity: Mapping[str, Any]) -> str:
    """The name of a run: 16 hexadecimal digits that hash what decides its numbers, and nothing else."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def home_of(folder: Path) -> Path:
    """What to check and to start again where a run or a study is damaged: a run's study, or else itself."""
    study = folder.parent.parent
    return study if folder.parent.name == RUNS and os.path.lexists(study / STUDY) else folder
