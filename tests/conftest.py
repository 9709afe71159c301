"""What several test files need: real data beside the project, the peers, a cache of decoded data for one session."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

# Files of many tests that together take long, though none of them is slow.
LONG = {"test_cli.py", "test_extending.py", "test_nets_cifar.py", "test_readme.py"}
SHARED = Path(__file__).resolve().parents[2] / "shared"

# Set before anything is imported, so that worker processes inherit it too.
os.environ.setdefault("SKIPWAY_CACHE", tempfile.mkdtemp(prefix="skipway-cache-"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# As many processes as cores run tests: a second thread in each would only wait (test_nets_cifar: 51 s of the processor
# with one, 88 with two). Tests of several threads ask for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for each other sleep: several processes of the tests share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray gives its workers a low rank, niceness 15: beside other tests they hardly ever run. A lost machine took 268 s so.
os.environ.setdefault("RAY_worker_niceness", "0")
# Of a shell's background jobs Ctrl-C is ignored, and so it would be by all that the tests start, and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: processes that take a file at a time then end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.path.name in LONG}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and third-party weights; it lies beside the project and is not part of it."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/ with the real data sets does not lie beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def peers() -> SimpleNamespace:
    """torchvision and timm, whose nets ours are compared with."""
    import torch

    try:
        torchvision = pytest.importorskip("torchvision")
    except RuntimeError:
        # Its compiled part is for another build of torch; what it would define is declared, and never used here.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", schema)
        torchvision = pytest.importorskip("torchvision")
    return SimpleNamespace(torchvision=torchvision, timm=pytest.importorskip("timm"))
