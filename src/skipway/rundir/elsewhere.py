"""The same training, finished in another place: what `skipway train` did, a study need not compute, and the reverse.

Runs and studies know of each other where they lie in one folder's ``runs/`` and ``studies/``, as the commands put them:
nothing else on the disk is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from skipway.rundir.files import DamagedError
from skipway.rundir.integrity import FILES, read_run
from skipway.rundir.layout import RUNS
from skipway.rundir.records import FINISHED
from skipway.rundir.run import Run

STUDIES = "studies"


def finished_elsewhere(identifier: str, out: Path) -> Run | None:
    """A finished run of this name that is whole, every byte of it read.

    Args:
        identifier: the run's name.
        out: where the run, or the study that it is for, is to lie.
    """
    for place in _places(identifier, out):
        run = Run(place)
        with suppress(DamagedError, OSError):
            if read_run(run)["status"] in FINISHED and run.info()["id"] == identifier:
                for name in FILES:
                    run.checked(name)
                return run
    return None


def _places(identifier: str, out: Path) -> Iterator[Path]:
    """Where a run of this name may lie beside `out`, itself left out."""
    if out.parent.name not in (RUNS, STUDIES):
        return
    around = out.parent.parent
    for place in (around / RUNS / identifier, *sorted((around / STUDIES).glob(f"*/{RUNS}/{identifier}"))):
        if place.is_dir() and not place.is_symlink() and out not in (place, *place.parents):
            yield place
