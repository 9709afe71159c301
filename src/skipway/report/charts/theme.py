"""The look of every chart: one Altair theme."""

from __future__ import annotations

from typing import Any

import altair as alt

THEME = "skipway"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"

# Okabe and Ito's colours without the yellow, which is lost on white. Each is readable on white and on near-black.
GATES = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a"]
# From light to dark, ends kept away from white and from black, for the same reason.
DEPTHS = ["#d9920f", "#d0603f", "#a8437f", "#6c5bd0"]

INK, SOFT, LINE = "#1b1d22", "#5a5f6b", "#e3e5ea"


_LABEL = {
    "labelColor": SOFT,
    "titleColor": SOFT,
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
CONFIG: Any = {
    "aria": False,  # the page describes each figure once; Vega's roles would read out every point
    "background": "white",
    "font": FONT,
    "padding": 8,
    "view": {"stroke": None},
    "title": {
        "anchor": "start",
        "fontSize": 16,
        "fontWeight": 600,
        "color": INK,
        "subtitleColor": SOFT,
        "subtitleFontSize": 12,
        "offset": 12,
    },
    "axis": {**_LABEL, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE, "titlePadding": 8},
    "header": {"labelColor": INK, "labelFontSize": 13, "labelFontWeight": 600, "labelAnchor": "start"},
    "legend": {
        **_LABEL,
        "orient": "top",
        "titleOrient": "left",
        "symbolStrokeWidth": 2.5,
        "symbolSize": 90,
        "symbolOpacity": 1,
    },
    "facet": {"spacing": {"row": 52, "column": 24}},
    "range": {"category": GATES, "symbol": ["circle", "square", "triangle-up", "diamond"]},
}


@alt.theme.register(THEME, enable=False)
def theme() -> alt.theme.ThemeConfig:
    """Altair's hook."""
    return {"config": CONFIG}


def depth_colours(number: int) -> list[str]:
    """One colour a depth, evenly along the scale."""
    if number == 1:
        return [DEPTHS[-1]]
    return [_mixed(place * (len(DEPTHS) - 1) / (number - 1)) for place in range(number)]


def _mixed(place: float) -> str:
    first = min(int(place), len(DEPTHS) - 2)
    pairs = zip(_channels(DEPTHS[first]), _channels(DEPTHS[first + 1]), strict=True)
    return "#" + "".join(f"{round(low + (high - low) * (place - first)):02x}" for low, high in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
