"""Does a depth study find the depth that is needed, where that is known by construction?

    python benchmarks/known_depth.py [--sizes 4 8 16 --gates plain residual --seeds 0 1 2 --steps 300]

The data are `ring-transfer:n=...`, which need n layers of kernel 3; the nets are those of examples/local.py. Below n
layers the least error that any such net can have is known too, and stands in the table. A study has depths n / 2,
n - 1, n and 3n / 2, three learning rates each. The depth that it finds is the shallowest that no deeper one betters
beyond the seeds: some seed of each deeper one has no less test error than some seed of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import skipway as sw
from skipway.data.made.ring_transfer import RingTransfer
from skipway.report.means import Mean
from skipway.report.summary import Group, summarise

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from local import local

RATES = (0.003, 0.01, 0.03)
COLUMNS = ("Needed", "Gate", "Depth", "Least error, %", "Training error, %", "Validation error, %", "Test error, %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=(4, 8, 16), help="n of each task")
    parser.add_argument("--gates", nargs="+", default=("plain", "residual"))
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, help="one a core if not given")
    wanted = parser.parse_args()
    began = time.perf_counter()
    print(row(COLUMNS), row([":--" if name == "Gate" else "--:" for name in COLUMNS]), sep="\n", flush=True)
    found = {}
    for size in wanted.sizes:
        for gate, groups in studied(size, wanted).items():
            for group in groups:
                print(row(cells(RingTransfer(n=size), group)), flush=True)
            found[size, gate] = depth_found({group.depth: group.test_metric for group in groups})
    print()
    for (size, gate), depth in found.items():
        print(f"{gate}, n = {size}: no deeper net is better from depth {depth} on")
    print(f"{time.perf_counter() - began:.0f} s")


def studied(size: int, wanted: argparse.Namespace) -> dict[str, list[Group]]:
    """The study of one task: of each gate its nets by ascending depth."""
    with tempfile.TemporaryDirectory() as folder:
        study = sw.study(
            f"ring-transfer:n={size}",
            net=local,
            gates=wanted.gates,
            depths=depths(size),
            learning_rates=RATES,
            seeds=wanted.seeds,
            optimizer="adamw",
            batch_size=64,
            steps=wanted.steps,
            workers=wanted.workers,
            out=Path(folder) / "study",
        )
        summary = summarise(study)
    return {gate: summary.of(gate) for gate in summary.gates}


def depths(size: int) -> list[int]:
    """About the one that is needed, which is the size."""
    return sorted({max(1, size // 2), max(1, size - 1), size, size + (size + 1) // 2})


def depth_found(errors: dict[int, Mean | None]) -> int:
    """The shallowest depth that no deeper one betters in every seed; depths without errors, all diverged, are out."""
    told = {depth: mean for depth, mean in errors.items() if mean}
    return min(d for d in told if all(told[deeper].high >= told[d].low for deeper in told if deeper > d))


def cells(task: RingTransfer, group: Group) -> list[str]:
    """A gate at a depth."""
    errors = [percent(mean) for mean in (group.train_metric, group.validation_metric, group.test_metric)]
    return [str(task.n), group.gate, str(group.depth), f"{100 * float(task.least_error(group.depth)):.1f}", *errors]


def percent(mean: Mean | None) -> str:
    """A share of wrong answers over seeds."""
    if mean is None:
        return "diverged"
    return f"{100 * mean.value:.1f}" + ("" if mean.std is None else f" ± {100 * mean.std:.1f}")


def row(told: Sequence[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(told)} |"


if __name__ == "__main__":
    main()
