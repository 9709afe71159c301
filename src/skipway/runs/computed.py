"""The way in which a training was computed, as run.json records it.

Equal ids and equal ways give equal bits, on a CPU. Equal ids and other ways give the same training but for the order of
sums, float32's rounding, which training amplifies step by step (LOG.md has measured figures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skipway.rundir.layout import Json, run_id
from skipway.training.execution import Execution
from skipway.training.machine import environment


def computed(
    device: str,
    threads: int,
    execution: Execution,
    *,
    stack: Sequence[str] = (),
    grid: Mapping[str, object] | None = None,
    processes: int = 1,
    accumulate: int = 1,
) -> Json:
    """All that the last bits of a run depend on beside its identity.

    Args:
        device: where it was trained.
        threads: of each process.
        execution: what was chosen for the net; to recompute changes no bit.
        stack: the ids of the runs that were trained together, in their order.
        grid: the learning rates and seeds from which a study made its stacks.
        processes: that shared every batch.
        accumulate: the parts of a batch that passed one after another.
    """
    about = environment(device)
    chosen = execution.to_dict()
    return {
        **{name: about[name] for name in ("device", "processor", "model", "torch", "skipway")},
        "threads": threads,
        "processes": processes,
        "accumulate": accumulate,
        **{name: chosen[name] for name in ("channels_last", "compiled", "bfloat16")},
        "replicas": max(1, len(stack)),
        "stack": run_id({"members": list(stack)}) if len(stack) > 1 else None,
        "grid": None if grid is None else dict(grid),
        **({"mapped": True} if execution.mapped else {}),
    }
