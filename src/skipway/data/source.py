"""Data sources by name: data of one's own that a command can name.

One class a source. A subclass that names itself is registered, and `--data` takes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from skipway.settings.registry import Named, Registry, Spec, checked

SOURCES: Registry[type[Source]] = Registry("data source")
TAKEN = ("digits", "mnist", "cifar10", "cifar100", "arrays", "frame", "text")
"""What `skipway.load` knows by itself."""


class Source(Named, ABC):
    """Data of one's own.

    A subclass that names itself is registered; it defines `load`::

        class Waves(sw.Source, name="waves"):
            def __init__(self, *, count: int = 200):
                self.count = count

            def load(self):
                x = torch.rand(self.count, 8, generator=torch.Generator().manual_seed(0))
                return x, x.sin().sum(1)

    Keyword-only arguments are its settings, ``waves:count=500``. Its name goes before that of a folder, which is
    ``./waves`` then.
    """

    registry = SOURCES

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        if name is not None and (name in TAKEN or set(name) & set("./\\")):
            raise ValueError(f"data source {name!r}: it may not hold '.' or '/', nor be one of {', '.join(TAKEN)}.")
        super().__init_subclass__(name=name, **kwargs)

    @abstractmethod
    def load(self) -> Any:
        """Whatever `skipway.load` takes or returns, the same in every process: each that trains calls it."""


def is_source(text: str) -> bool:
    """Whether data of this name are of a registered source."""
    name = text.partition(":")[0]
    return name not in TAKEN and not set(name) & set("./\\") and name in SOURCES


def canonical(text: str) -> str:
    """The one way to write data of a source; what is of none comes back as it is.

    Raises:
        ValueError: if the source has no such setting.
    """
    return str(checked(text, SOURCES)) if is_source(text) else text


def make_source(text: str) -> Source:
    """The source that a specification names.

    Raises:
        ValueError: if there is no such source or setting.
    """
    spec: Spec = checked(text, SOURCES)
    return SOURCES[spec.name](**dict(spec.settings))
