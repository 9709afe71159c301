"""Skipway: how deep can this network go on this data, and what carries the signal there?

Names are handed on when they are used, so that importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skipway.anatomy.cost import Cost as Cost
    from skipway.anatomy.cost import cost as cost
    from skipway.data.images.augment import Augmentation as Augmentation
    from skipway.data.load import load as load
    from skipway.data.source import Source as Source
    from skipway.nets.foreign import load_weights as load_weights
    from skipway.nets.registry import Family as Family
    from skipway.nets.registry import build as build
    from skipway.nets.stack import SkipNet as SkipNet
    from skipway.probe.handles import override_flows as override_flows
    from skipway.probe.handles import read_flows as read_flows
    from skipway.probe.lesion import lesion as lesion
    from skipway.report.page import write as write_report  # noqa: F401
    from skipway.report.query import query as query
    from skipway.rundir.run import Run as Run
    from skipway.rundir.study import Study as Study
    from skipway.runs.api import fit as fit
    from skipway.runs.reload import load_net as load_net
    from skipway.runs.trackers import Tracker as Tracker
    from skipway.runs.watch import watch as watch
    from skipway.skip.block import Highway as Highway
    from skipway.skip.block import Residual as Residual
    from skipway.skip.block import Skip as Skip
    from skipway.skip.gate import Flow as Flow
    from skipway.skip.gate import Gate as Gate
    from skipway.skip.placement import Placement as Placement
    from skipway.skip.row import skip_row as skip_row
    from skipway.skip.shortcuts import Shortcut as Shortcut
    from skipway.studies.api import StudyFailedError as StudyFailedError
    from skipway.studies.api import study as study
    from skipway.tasks.task import Metric as Metric
    from skipway.tasks.task import Task as Task
    from skipway.training.loop import Hook as Hook
    from skipway.training.optimizers import Optimizer as Optimizer
    from skipway.training.recipe import Recipe as Recipe
    from skipway.training.schedules import Schedule as Schedule

# Where each public name lives, and its name there.
_HOMES = {
    "Augmentation": "skipway.data.images.augment:Augmentation",
    "Cost": "skipway.anatomy.cost:Cost",
    "Family": "skipway.nets.registry:Family",
    "Flow": "skipway.skip.gate:Flow",
    "Gate": "skipway.skip.gate:Gate",
    "Highway": "skipway.skip.block:Highway",
    "Hook": "skipway.training.loop:Hook",
    "Metric": "skipway.tasks.task:Metric",
    "Optimizer": "skipway.training.optimizers:Optimizer",
    "Placement": "skipway.skip.placement:Placement",
    "Recipe": "skipway.training.recipe:Recipe",
    "Residual": "skipway.skip.block:Residual",
    "Run": "skipway.rundir.run:Run",
    "Schedule": "skipway.training.schedules:Schedule",
    "Shortcut": "skipway.skip.shortcuts:Shortcut",
    "Skip": "skipway.skip.block:Skip",
    "SkipNet": "skipway.nets.stack:SkipNet",
    "Source": "skipway.data.source:Source",
    "Study": "skipway.rundir.study:Study",
    "StudyFailedError": "skipway.studies.api:StudyFailedError",
    "Task": "skipway.tasks.task:Task",
    "Tracker": "skipway.runs.trackers:Tracker",
    "build": "skipway.nets.registry:build",
    "cost": "skipway.anatomy.cost:cost",
    "fit": "skipway.runs.api:fit",
    "lesion": "skipway.probe.lesion:lesion",
    "load": "skipway.data.load:load",
    "load_net": "skipway.runs.reload:load_net",
    "load_weights": "skipway.nets.foreign:load_weights",
    "override_flows": "skipway.probe.handles:override_flows",
    "query": "skipway.report.query:query",
    "read_flows": "skipway.probe.handles:read_flows",
    "skip_row": "skipway.skip.row:skip_row",
    "study": "skipway.studies.api:study",
    "watch": "skipway.runs.watch:watch",
    "write_report": "skipway.report.page:write",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skipway' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
