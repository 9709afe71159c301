"""What a part is given, and the sheet that its results go to."""

from __future__ import annotations

import csv
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gpu_parts.settings import SMALL, Size

COLUMNS = ("part", "net", "setting", "measure", "value", "target", "note")
COLUMNS += ("steps", "images_a_second", "seconds_of_64000_steps_extrapolated", "loss", "speed_up")


@dataclass(frozen=True)
class Bench:
    """What a part is given, and where its rows go."""

    device: str
    small: bool
    data: Path | None
    csv: Path
    deadline: float  # of time.time()

    @property
    def size(self) -> Size:
        return SMALL if self.small else Size()

    @property
    def left(self) -> float:
        return self.deadline - time.time()

    def add(self, part: str, net: str, setting: str, measure: str, value: float | None = None, **more: Any) -> None:
        """Write a result down, and print it."""
        number = "" if value is None else f"{value:.5g}"
        row = {"part": part, "net": net, "setting": setting, "measure": measure, "value": number, **more}
        about = machine(self.device)
        fresh = not self.csv.exists()
        with self.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, [*COLUMNS, *about])
            if fresh:
                writer.writeheader()
            writer.writerow({**row, **about})
        print(line(row), flush=True)

    def rows(self) -> list[dict[str, str]]:
        if not self.csv.exists():
            return []
        with self.csv.open(newline="") as file:
            return list(csv.DictReader(file))

    @contextmanager
    def guarded(self, part: str, net: str, setting: str) -> Iterator[None]:
        """What fails becomes a row, and the next goes on."""
        try:
            if self.left <= 0:
                raise TimeoutError("no time was left")
            yield
        except Exception as error:  # a compiler's, a driver's, memory's: whatever it is, the row says it
            told = (str(error).strip() or "no message").splitlines()[0]
            measure = "cut" if isinstance(error, TimeoutError) else "failed"
            self.add(part, net, setting, measure, note=f"{type(error).__name__}: {told}"[:300])

    def synchronize(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def timed(self, run: Callable[[], object]) -> float:
        self.synchronize()
        began = time.perf_counter()
        run()
        self.synchronize()
        return time.perf_counter() - began


@cache
def machine(device: str) -> dict[str, str]:
    """What every row says of where it was measured."""
    on_gpu = device != "cpu"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else f"cpu {torch.backends.cpu.get_cpu_capability()}",
        "driver": driver() if on_gpu else "",
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or "") if on_gpu else "",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):  # torch itself does not tell the driver's version
        return "unknown"


def line(row: dict[str, Any]) -> str:
    part, net, setting, measure, value, target, note = (str(row.get(name, "")) for name in COLUMNS[:7])
    return f"{part:12} {net:19} {setting:24} {value:>10} {measure:27} {target:>14}  {note}".rstrip()
