"""What several test files need: the real data beside the project, and a cache of decoded data that lives for one session."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Set before anything is imported, so that worker processes inherit it too.
os.environ.setdefault("SKIPWAY_CACHE", tempfile.mkdtemp(prefix="skipway-cache-"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets and third-party weights; it lies beside the project and is not part of it."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/ with the real data sets does not lie beside this checkout")
    return SHARED
