"""The machine that a training runs on: its device, threads and memory."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

import skipway

_CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_device(device: str) -> str:
    """A device by name; "auto" is the GPU where there is one.

    Raises:
        ValueError: if it cannot be used here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:  # torch's two ways to refuse one
        raise ValueError(
            f"device {device!r} cannot be used here: {str(error).splitlines()[0]} Valid: auto, cpu."
        ) from error
    return device


def environment(device: str) -> dict[str, Any]:
    """What a run's speed, and the last bits of its numbers, may depend on."""
    on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_available()
    return {
        "skipway": skipway.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "processor": torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
        "model": _processor_model(),
        "cores": cores(),
    }


def memory_bytes() -> int:
    """All of this machine's memory, used or free; where a container has less, what that has."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    told = [path.read_text().strip() for path in _CONTAINER_LIMITS if path.is_file()]
    return min([whole, *(int(limit) for limit in told if limit.isdecimal())])


@cache
def _processor_model() -> str:
    """The processor by its maker's name, where the system tells it: libraries choose their code by it."""
    with suppress(OSError), Path("/proc/cpuinfo").open() as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextmanager
def machine(threads: int) -> Iterator[None]:
    """So many threads, and numbers below float32's normal range as zero: vanishing gradients would slow it down."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def keep_memory() -> None:
    """Let glibc keep what a backward pass frees: giving pages back and taking them again costs a tenth of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(trim_threshold, 2**30)
    mallopt(top_pad, 2**26)
    mallopt(mmap_max, 0)
