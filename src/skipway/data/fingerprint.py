"""What identifies data: a digest of all that they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def fingerprint(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of named tensors (dtypes, shapes, bytes; on the CPU) and of what else counts."""
    # The head states every length, so that no two contents can run together into the same bytes.
    shapes = {name: [str(tensor.dtype), *tensor.shape] for name, tensor in tensors.items()}
    digest = hashlib.sha256(json.dumps({"about": about, "tensors": shapes}, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().data)
    return digest.hexdigest()
