"""The way to a person through rich: tables and live displays. Texts are texts: none is read as markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console
from rich.segment import Segment

from skipway.report.printable import printable


class Console(console.Console):
    """rich's console, for texts that somebody else chose.

    No string is read as markup or as an emoji's name, numbers get no colours, and whatever a renderable holds is
    printable when it is drawn.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(
        self, renderable: console.RenderableType, options: console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # What rich itself tells the terminal is marked as a control.
            yield segment if segment.control else Segment(printable(segment.text, keep="\n"), segment.style)
