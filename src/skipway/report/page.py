"""The report on disk: one HTML page that opens anywhere without a network, and each chart as a PNG file beside it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import vl_convert

from skipway.report.charts import makers as charts
from skipway.report.charts.encode import Chart
from skipway.report.charts.theme import CONFIG
from skipway.report.numbers import counted
from skipway.report.summary import Group, Summary, summarise
from skipway.report.table import columns
from skipway.report.verdict.rules import rules
from skipway.report.verdict.sentences import verdict
from skipway.rundir.files import write_bytes
from skipway.rundir.layout import Json
from skipway.rundir.study import Study

PAGE = "report.html"
PNG_SCALE = 2
_ASSETS = Path(__file__).with_name("assets")


def write(study: Study | str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a study's report into its directory: the page and, for each chart that it has rows for, a PNG file.

    Pictures that an earlier report left there, of charts for which the study no longer has rows, are deleted.

    Args:
        study: A study, or its directory.

    Returns:
        Where they are: the page first.

    Raises:
        FileNotFoundError: if the directory holds no study.
        ValueError: if a file of the study is damaged; the message says what to do.
    """
    study = study if isinstance(study, Study) else Study.open(study)
    summary = summarise(study)
    shown, rows = charts.charts(summary), charts.rows(summary)
    files = {_picture(chart.name): _png(chart.spec, rows) for chart in shown}
    page = html(summary, shown, rows)
    # The page last: whoever sees it finds the pictures that belong to it.
    for name, content in [*files.items(), (PAGE, page.encode())]:
        write_bytes(study.path / name, content)
    for stale in {_picture(name) for name in charts.MAKERS} - files.keys():
        (study.path / stale).unlink(missing_ok=True)
    return tuple(study.path / name for name in (PAGE, *files))


def _picture(chart: str) -> str:
    return f"{chart}.png"


def html(summary: Summary, shown: Sequence[Chart], rows: dict[str, list[Json]]) -> str:
    """The page: its text, its data once, and what draws the charts."""
    info, unit = summary.info, summary.metric.unit
    return _template("page.html").substitute(
        title=escape(f"{info['name']}: depth study"),
        name=escape(str(info["name"])),
        question=escape(_question(summary)),
        facts=escape(_facts(summary)),
        verdict="\n".join(f"<li>{_prose(sentence, unit)}</li>" for sentence in verdict(summary).sentences),
        rules="\n".join(f"<li>{_prose(rule, unit)}</li>" for rule in rules(summary)),
        table=_table(summary),
        meanings=_terms((column.heading, column.meaning) for column in columns(summary)),
        figures="\n".join(_figure(chart) for chart in shown) or "<p>No training has ended with numbers to draw.</p>",
        command=_command(info),
        settings="\n".join(_settings(info)),
        data=_data(shown, rows),
        library=_library() if shown else "",
        style=(_ASSETS / "page.css").read_text(),
        script=(_ASSETS / "page.js").read_text(),
    )


def _question(summary: Summary) -> str:
    config = summary.info.get("config", {})
    nets = _nets(str(config.get("net") or config.get("body") or "these"))
    data = Path(str(summary.data.get("name") or "this data")).name
    return f"How deep can {nets} networks go on {data}, and what carries the signal there?"


def _nets(spec: str) -> str:
    """A family without its settings; a function, ``module:function`` or ``file.py:function``, by its own name."""
    _, colon, last = spec.rpartition(":")
    if not colon or "=" in last:
        return spec.partition(":")[0]
    own = last.rpartition(".")[2]
    return own if own.isidentifier() else "these"  # a lambda has no name


def _facts(summary: Summary) -> str:
    config, info = summary.info.get("config", {}), summary.info
    rates = config.get("learning_rates") or config.get("recipe", {}).get("learning_rates") or ()
    sides = [counted(len(summary.gates), "gate")]
    if config.get("depths") != "auto":  # where they were searched, each gate has its own
        sides.append(counted(len(summary.depths), "depth"))
    searched = summary.search and len(rates) > 1
    if rates and not searched:
        sides.append(counted(len(rates), "learning rate"))
    sides += [counted(len(config["seeds"]), "seed")] if config.get("seeds") else []
    how = ", depths searched" if config.get("depths") == "auto" else ""
    how += f", learning rates searched from {counted(len(rates), 'rate')} on" if searched else ""
    done = "" if summary.finished == summary.cells else f"{summary.finished:,} of "
    seconds = info.get("seconds")
    took = f", in {seconds:,.0f} s" if seconds else ""
    return f"{' × '.join(sides)}{how}: {done}{counted(summary.cells, 'training')}{took}."


def _prose(sentence: str, unit: str) -> str:
    """A sentence in which a number stays with its spread, its sign and its unit."""
    told = escape(sentence).replace(" ± ", "&nbsp;±&nbsp;").replace(" %", "&nbsp;%")
    return re.sub(rf"(?<=\d) (?={re.escape(escape(unit))}(?!\w))", "&nbsp;", told) if unit else told


def _table(summary: Summary) -> str:
    shown = columns(summary)
    head = "".join(f'<th scope="col"{_words(column.text)}>{escape(column.heading)}</th>' for column in shown)

    def row(group: Group) -> str:
        first, *others = shown
        cells = "".join(f"<td{_words(column.text)}>{escape(column.cell(group))}</td>" for column in others)
        name = f'<th scope="row" class="words">{_breakable(first.cell(group))}</th>'
        state = "" if group.state == "done" else ' class="without"'
        note = f'<tr class="note"><td colspan="{len(shown)}">{escape(group.note)}</td></tr>' if group.note else ""
        return f"<tr{state}>{name}{cells}</tr>{note}"

    bodies = "\n".join(f"<tbody>{''.join(map(row, summary.of(gate)))}</tbody>" for gate in summary.gates)
    # A region that scrolls must be reachable by the keyboard, hence the tabindex and the name.
    return (
        '<div class="scroll" role="region" aria-labelledby="results" tabindex="0">\n<table>\n'
        f"<caption><span>{_caption(summary)}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n{bodies}\n</table>\n</div>"
    )


def _caption(summary: Summary) -> str:
    if summary.seeds < 2:
        return "One seed, at the best learning rates" if summary.seeds else "No results"
    return "Means over seeds at the best learning rates, with ± one standard deviation"


def _breakable(gate: str) -> str:
    """A gate's specification that may be broken before its settings, where a phone has no room for it."""
    return escape(gate).replace(":", ":<wbr>").replace(",", ",<wbr>")


def _words(text: bool) -> str:
    return ' class="words"' if text else ""


def _figure(chart: Chart) -> str:
    source = f'<p class="source">After: {escape(chart.source)}.</p>' if chart.source else ""
    return (
        f'<figure id="{chart.name}">\n<figcaption><h3>{escape(chart.title)}</h3><p>{escape(chart.reading)}</p>{source}'
        f'</figcaption>\n<div class="chart" data-chart="{chart.name}" role="group" aria-label="{escape(chart.title)} '
        f'The numbers are in the table under Results."></div>\n</figure>'
    )


def _command(info: Json) -> str:
    command = info.get("command") or "skipway study --config study.json"
    return f'<p>The command that makes it again:</p>\n<pre tabindex="0"><code>{escape(str(command))}</code></pre>'


def _settings(info: Json) -> Iterable[str]:
    """Lists of what the study was asked for, of its data, and of where it ran."""
    config = dict(info.get("config") or {})
    recipe = config.pop("recipe", None) or {}
    data = {key: value for key, value in (info.get("data") or {}).items() if key != "classes"}
    data["classes"] = len((info.get("data") or {}).get("classes") or ()) or None
    ran = {**(info.get("environment") or {}), **(info.get("choices") or {})}
    ran |= {key: info.get(key) for key in ("status", "started", "ended")}
    for title, content in (("Study", config), ("Recipe", recipe), ("Data", data), ("Where and when", ran)):
        if content:
            terms = _terms((key.replace("_", " "), _setting(value)) for key, value in content.items())
            yield f"<div><h3>{title}</h3><dl>{terms}</dl></div>"


def _setting(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>" for term, meaning in pairs)


def _data(shown: Sequence[Chart], rows: dict[str, list[Json]]) -> str:
    """Specifications, their common configuration and each set of rows once, as JSON that cannot end its element."""
    specs = {chart.name: {key: part for key, part in chart.spec.items() if key != "config"} for chart in shown}
    content = {"charts": specs, "config": CONFIG, "datasets": {name: _packed(part) for name, part in rows.items()}}
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _packed(rows: list[Json]) -> Json:
    """Rows as lists under their columns' names, numbers with four digits: a third of the size."""
    names = list(rows[0]) if rows else []
    return {"columns": names, "rows": [[_short(row[name]) for name in names] for row in rows]}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _png(spec: Json, rows: dict[str, list[Json]]) -> bytes:
    picture: bytes = vl_convert.vegalite_to_png({**spec, "datasets": rows}, scale=PNG_SCALE)
    return picture


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, compressed, in base64."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()


def _template(name: str) -> Template:
    return Template((_ASSETS / name).read_text())
