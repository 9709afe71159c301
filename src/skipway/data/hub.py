"""The Hugging Face Hub: names of data sets there, and how they are opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_FORM = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class HubName:
    """A data set, and which of its configurations."""

    name: str
    """``owner/name``."""
    config: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """Read ``owner/name`` or ``owner/name:configuration``; None where a text is neither."""
        found = _FORM.fullmatch(text)
        return None if found is None else cls(found["name"], found["config"])

    def __str__(self) -> str:
        return f"{self.name}:{self.config}" if self.config else self.name


def commit_of(hub: HubName) -> str | None:
    """The commit that a data set's main branch is at; it raises the HTTP library's own errors."""
    from huggingface_hub import HfApi

    return HfApi().dataset_info(hub.name, timeout=5).sha


def open_dataset(hub: HubName, commit: str | None = None) -> Any:
    """A data set's splits, as a `datasets.DatasetDict`.

    Args:
        hub: its name.
        commit: None for the latest, or whichever is at hand where the Hub is out of reach by choice.

    Raises:
        OSError: if the Hub does not give it.
    """
    from datasets import load_dataset

    try:
        return load_dataset(hub.name, hub.config, revision=commit)
    except Exception as error:  # OSError, ValueError, RuntimeError, by what went wrong
        raise unreachable(hub, error) from error


def is_offline_by_choice() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def unreachable(asked: object, error: Any) -> OSError:
    """That the Hub did not give what was asked for, and what works without it."""
    return OSError(
        f"the Hub did not give {str(asked)!r}: {error}. There is no local folder of that name either. "
        "'digits' and a local folder of parquet or image files work offline."
    )
