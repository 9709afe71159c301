"""Arrays in the cache: a safetensors file, named by the fingerprint of what it holds."""

from __future__ import annotations

import json
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from skipway.batch.storage import apart
from skipway.data import kept
from skipway.data.arrays.given import raw_of
from skipway.data.arrays.raw import Raw

_KEY = "skipway"


def keep(source: Any) -> str | None:
    """Keep arrays in any form that `raw_of` knows; returns their name, and None where this is none of them.

    The name is ``arrays:<16 digits of their fingerprint>``.
    """
    raw = raw_of(source)
    if raw is None:
        return None
    name = kept.name_of("arrays", raw.fingerprint)
    tensors, shared = apart(raw.tensors)
    tensors |= {alias: tensors[first].clone() for alias, first in shared.items()}  # inputs that are their own targets
    kept.keep(name, save(tensors, {_KEY: json.dumps(raw.about)}))
    return name


def recall(name: str) -> Raw:
    """The arrays of a name.

    Raises:
        ValueError: if they are not in the cache, or not as they were kept.
    """
    path = kept.find(name)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            raw = Raw.of({key: file.get_tensor(key) for key in file.keys()}, about)  # noqa: SIM118  (it is no mapping)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise kept.damaged(name) from error
    if kept.name_of("arrays", raw.fingerprint) != name:
        raise kept.damaged(name)
    return raw
