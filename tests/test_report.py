"""The report of a study directory: its rows, its page in a browser, its files, and SQL over its runs."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from skipway.report.charts import makers as charts
from skipway.report.charts.axes import ticks
from skipway.report.charts.theme import depth_colours
from skipway.report.page import html, write
from skipway.report.query import query, runs
from skipway.report.series import POINTS_A_LINE, thinned
from skipway.report.summary import summarise
from skipway.report.table import columns, markdown, table
from skipway.report.verdict.sentences import verdict
from skipway.rundir.run import RunContent
from skipway.rundir.study import Study
from study_folders import JUDGES, conv, made


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    """A finished study: one row diverged as a whole, and one training of another row."""
    return made(
        tmp_path_factory.mktemp("report") / "digits <b>&amp;",
        gates=("plain", "residual", "highway:bias=-4"),
        depths=(5, 20, 50),
        rates=[0.01, 0.1],
        diverged={("plain", 50), ("residual", 20, 0.01, 1)},
    )


def test_summary_means_are_over_the_seeds_of_the_chosen_rate(study):
    group = next(group for group in summarise(study).groups if (group.gate, group.depth) == ("residual", 20))
    infos = [run.info() for run in study.runs()]
    losses = [
        info["metrics"]["train_loss"]
        for info in infos
        if info["cell"]["gate"] == "residual" and info["cell"]["depth"] == 20 and info["cell"]["learning_rate"] == 0.1
    ]
    mean = sum(losses) / 3
    assert (group.training.learning_rate, group.training.edge, group.training.bracketed) == (0.1, "highest", False)
    assert group.rates == 1, "a rate with a diverged seed is none to choose"
    assert group.best_train_metric == pytest.approx(group.train_metric.value)
    assert group.train_loss.value == pytest.approx(mean)
    assert group.train_loss.std == pytest.approx(math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 2))
    assert (group.train_loss.n, group.cells, group.finished, group.diverged) == (3, 6, 6, 1)
    assert group.note == "1 of 6 trainings diverged: the loss was not finite at step 37"


def test_summary_reads_gradient_and_gate_from_the_probes(study):
    groups = {(group.gate, group.depth): group for group in summarise(study).groups}
    ratios = []
    for run in study.runs():
        cell = run.info()["cell"]
        if (cell["gate"], cell["depth"], cell["learning_rate"]) == ("plain", 20, 0.1):
            start = {row["layer"]: row["gradient_norm"] for row in run.probes() if row["moment"] == "start"}
            ratios.append(start[1] / start[19])
    assert groups["plain", 20].gradient_ratio == pytest.approx(math.prod(ratios) ** (1 / 3))
    assert groups["plain", 20].gradient_ratio < 0.5 < groups["residual", 20].gradient_ratio
    assert groups["highway:bias=-4", 20].transform_start == pytest.approx(1 / 20)
    assert groups["plain", 50].gradient_ratio is not None, "what the probes saw before a divergence counts too"


def test_summary_of_a_diverged_and_an_unfinished_row(tmp_path):
    study = made(
        tmp_path, depths=(5, 20), rates=[0.1], diverged={("plain", 20)}, missing={("highway", 20, 0.1, 2)},
        failed={("residual", 20, 0.1, 0)},
    )  # fmt: skip
    states = {(group.gate, group.depth): group for group in summarise(study).groups}
    assert states["plain", 5].state == "done"
    assert states["plain", 20].note == "diverged at every learning rate tried: the loss was not finite at step 37"
    assert states["highway", 20].note == "not finished: 2 of 3 trainings in"
    assert states["residual", 20].note == "not finished: 2 of 3 trainings in, 1 failed: RuntimeError: out of memory"
    assert verdict(summarise(study)).answers[0].startswith("This study is not finished: 16 of 18 trainings are in")
    write(study)


def test_a_row_whose_every_rate_lost_a_seed_has_no_result(tmp_path):
    bad = {("plain", 5, 0.01, 0), ("plain", 5, 0.1, 2)}
    study = made(tmp_path, gates=("plain",), depths=(5,), rates=[0.01, 0.1], diverged=bad)
    study.write({**study.info(), "chosen": []})
    (group,) = summarise(study).groups
    assert group.state == "diverged"
    assert group.note.startswith("diverged at every learning rate tried (2 of 6 trainings)")


def test_runs_that_the_study_no_longer_asks_for_are_left_out(tmp_path):
    study = made(tmp_path, gates=("plain", "residual"), depths=(5, 20), rates=[0.1])
    info = study.info()
    study.write({**info, "cells": [cell for cell in info["cells"] if cell["gate"] == "plain"]})
    assert summarise(study).gates == ["plain"]


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("dense:activation=tanh", "dense networks"),
        ("cifar", "cifar networks"),
        ("package.module:make.<locals>.deep", "deep networks"),
        ("a folder/nets.py:mlp", "mlp networks"),
        ("__main__:<lambda>", "these networks"),
        ("module:Sequential", "Sequential networks"),
    ],
)
def test_the_question_names_the_nets(net, words, study):
    summary = summarise(study)
    info = {**summary.info, "config": {**summary.info["config"], "net": net}}
    assert f"How deep can {words} go on" in html(replace(summary, info=info), [], {})


def test_nothing_finished_still_makes_a_page(tmp_path):
    study = made(tmp_path, gates=("plain",), depths=(5,), rates=[0.1], missing={("plain", 5)})
    assert write(study) == (tmp_path / "report.html",)
    assert "0 of 3 trainings are in" in (tmp_path / "report.html").read_text()


def test_table_in_80_characters(study):
    console = Console(width=80, file=io.StringIO())
    console.print(table(summarise(study)))
    text = console.file.getvalue()
    assert "…" not in text
    assert "highway: " in text
    assert "bias=-4 " in text
    assert "plain at depth 50: diverged at every learning rate tried" in text.replace("\n", " ")


def test_markdown_has_a_line_a_row(study):
    summary = summarise(study)
    lines = markdown(summary).splitlines()
    width = len(columns(summary)) + 1
    assert sum(line.startswith("| plain |") for line in lines) == 3
    assert {line.count("|") for line in lines if line.startswith("|")} == {width}


def test_no_gate_column_without_a_gate(tmp_path):
    plain = made(tmp_path, gates=("plain", "residual"), depths=(5,), rates=[0.1])
    summary = summarise(plain)
    assert "Mean gate T" not in [column.heading for column in columns(summary)]
    assert "gate-by-layer" not in [chart.name for chart in charts.charts(summary)]


def test_specifications_hold_no_rows(study):
    for chart in charts.charts(summarise(study)):
        assert "values" not in chart.spec.get("data", {})
        assert len(json.dumps(chart.spec)) < 10_000


def test_a_very_deep_study_stays_small():
    lines = [[{"layer": layer, "line": line} for layer in range(5000)] for line in range(40)]
    rows = thinned(lines, by="layer")
    first = [row["layer"] for row in rows if row["line"] == 0]
    assert len(first) == 150 <= POINTS_A_LINE
    assert (first[0], first[-1]) == (0, 4999)
    gaps = {after - before for before, after in pairwise(first)}
    assert gaps <= {33, 34}, "4,999 / 149: what is left out lies evenly between"
    assert len(thinned(lines[:1], by="layer")) == POINTS_A_LINE


def test_of_a_curve_that_comes_in_any_order_points_of_all_its_length_are_kept():
    curve = [{"step": step, "loss": float(step)} for step in range(1, 1001)]
    rows = thinned([curve[::-1]], by="step")
    assert len(rows) == POINTS_A_LINE
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    halves = [sum(low < row["step"] <= low + 250 for row in rows) for low in range(0, 1000, 250)]
    assert all(count == pytest.approx(POINTS_A_LINE / 4, abs=1) for count in halves)
    assert all(row["loss"] == row["step"] for row in rows), "points of the curve itself"
    assert thinned([curve[:POINTS_A_LINE]], by="step") == curve[:POINTS_A_LINE]


def test_ticks_are_round_and_few():
    assert ticks(0.0001, 3.0) == [0.0001, 0.001, 0.01, 0.1, 1.0]
    assert ticks(0.06, 3.0) == [0.1, 0.2, 0.5, 1.0, 2.0]
    assert len(ticks(1e-40, 1.0)) <= 7
    assert ticks(0.61, 0.63) == [0.62]
    assert ticks(1.65, 2.2) == [1.8, 2.0, 2.2]


def test_depth_colours_are_distinct():
    assert len(set(depth_colours(9))) == 9
    assert len(depth_colours(1)) == 1


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        if CHROMIUM is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("no Chromium on this machine")
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(study) -> tuple[Path, ...]:
    return write(study)


def opened(browser, path: Path, width: int = 1100, **settings):
    """The page, drawn; what it complained of and what it asked for lie in its `complaints` and `requests`."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **settings)
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn]", state="attached")
    return page


def test_page_draws_every_chart_offline_and_without_complaint(browser, files):
    page = opened(browser, files[0])
    assert page.complaints == []
    assert page.requests == [files[0].as_uri()]
    assert page.locator(".chart .marks").count() == len(files) - 1 == 9
    # One line a gate in the first chart; the diverged row is a cross, not a point.
    assert page.locator("#loss-by-depth .mark-line path").count() == 3
    assert page.locator("#gradient-by-layer").get_by_text("plain, before training").count() == 1
    page.close()


def test_page_tells_verdict_and_table(browser, files, study):
    page = opened(browser, files[0])
    summary = summarise(study)
    told = [text.replace("\u00a0", " ") for text in page.locator(".verdict li").all_inner_texts()]
    assert told == verdict(summary).sentences
    cells = page.locator("tbody tr:not(.note)").evaluate_all(
        "rows => rows.map(r => [...r.cells].map(c => c.innerText))"
    )
    assert cells == [[column.cell(group) for column in columns(summary)] for group in summary.groups]
    assert page.locator("tr.note").all_inner_texts() == [group.note for group in summary.groups if group.note]
    assert page.title() == "digits-dense: depth study"
    assert "--gates plain residual highway:bias=-4" in page.locator("pre").inner_text()
    page.close()


def test_page_fits_a_phone_and_turns_with_it(browser, files):
    page = opened(browser, files[0], width=375)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    panels = (
        "[...document.querySelectorAll('#error-over-time .role-title-text')].map(t => t.getBoundingClientRect().top)"
    )
    assert len(set(page.evaluate(panels))) == 3, "one panel a row on a phone"
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_function("document.body.dataset.drawn > 800")
    assert page.evaluate(fits)
    assert len(set(page.evaluate(panels))) == 1, "three panels side by side"
    assert page.locator(".chart .marks").count() == 9
    page.close()


def test_page_is_readable_in_the_dark(browser, files):
    page = opened(browser, files[0], color_scheme="dark")
    colours = page.evaluate(
        "[document.body, document.querySelector('.chart .marks text')].map(e => { const s = getComputedStyle(e);"
        " return [s.backgroundColor, e === document.body ? s.color : s.fill] })"
    )
    assert colours[0][0] == "rgb(21, 23, 27)"
    assert colours[1][1] == "rgb(166, 172, 184)"
    page.close()


def test_page_tells_the_numbers_of_a_point(browser, files):
    page = opened(browser, files[0])
    page.locator("#loss-by-depth .mark-symbol path").first.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "training loss" in page.locator("#vg-tooltip-element").inner_text()
    page.close()


def test_page_of_a_regression_speaks_of_its_metric(browser, tmp_path):
    judge = JUDGES["regression"]
    page = opened(
        browser, write(made(tmp_path, ("plain", "residual"), (5, 50), rates=[0.1], judge=judge))[0], width=375
    )
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#error-by-depth").get_by_text("training RMSE at the end, mg/dl", exact=True).count() == 1
    assert page.locator("#error-over-time").get_by_text("RMSE, mg/dl", exact=True).count() >= 1
    assert page.locator("thead").get_by_text("Test RMSE, mg/dl").count() == 1
    assert re.search(
        "training\\sRMSE is [0-9.]+\u00a0±\u00a0[0-9.]+\u00a0mg/dl at", page.locator(".verdict").inner_text()
    )
    page.locator("#error-by-depth .mark-symbol path").first.hover(force=True)
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert "training RMSE, mg/dl" in page.locator("#vg-tooltip-element").inner_text()
    page.close()


def test_page_escapes_what_users_name(browser, tmp_path):
    study = made(tmp_path, gates=("plain",), depths=(5, 20), rates=[0.1])
    hostile = "</script><script>document.title = 'broken'</script>"
    study.write(
        {**study.info(), "name": hostile, "command": hostile, "data": {**study.info()["data"], "name": hostile}}
    )
    page = opened(browser, write(study)[0])
    assert page.title() == f"{hostile}: depth study"
    assert page.complaints == []
    page.close()


def test_pictures_lie_beside_the_page(files, study):
    from PIL import Image

    assert [path.parent for path in files] == [study.path] * 10
    for path in files[1:]:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 1400
    assert files[0].stat().st_size < 600_000


def test_a_report_takes_away_the_pictures_of_an_earlier_one(tmp_path):
    several = made(tmp_path, gates=("highway",), depths=(5, 20), rates=[0.01, 0.1])
    own = tmp_path / "my-own.png"
    own.write_bytes(b"a picture that no report wrote")
    assert tmp_path / "training-rates.png" in write(several)
    info = several.info()
    several.write({**info, "cells": [cell for cell in info["cells"] if cell["learning_rate"] == 0.1]})
    left = write(os.fspath(tmp_path))  # a path will do for a study
    assert sorted(tmp_path.glob("*.png")) == sorted([*left[1:], own])
    assert tmp_path / "training-rates.png" not in left
    assert {path.stem for path in left[1:]} < set(charts.MAKERS)


def test_a_report_of_no_study(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study.json"):
        write(tmp_path)


def test_every_chart_is_listed_under_its_own_name(study):
    drawn = [chart.name for chart in charts.charts(summarise(study))]
    assert drawn == list(charts.MAKERS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b""),
        ("run.json", b'{"format": 1}'),
        ("run.json", b"\x00\xff"),
        ("metrics.jsonl", b'{"step": 1, "tra'),
        ("probes.parquet", b"not parquet"),
        ("probes.parquet", None),
    ],
)
def test_a_damaged_run_is_named_with_the_way_out(tmp_path, name, content):
    damaged = made(tmp_path, gates=("plain",), depths=(5,), rates=[0.1])
    run = next(damaged.runs())
    (run.path / name).unlink()
    if content is not None:
        (run.path / name).write_bytes(content)
    with pytest.raises(ValueError) as error:
        write(damaged)
    assert str(error.value).startswith(f"{run.path / name} is damaged: ")
    assert f"`skipway check {damaged.path} --mend` sets it aside" in str(error.value)


def test_a_damaged_study_is_named_with_the_way_out(tmp_path):
    damaged = made(tmp_path, gates=("plain",), depths=(5,), rates=[0.1])
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match="study.json is damaged: .* not readable as JSON.* --mend` sets it aside"):
        summarise(damaged)
    (next(damaged.runs()).path / "run.json").write_text("[]")
    row, *others = runs(tmp_path)
    assert {other["status"] for other in others} == {"done"}
    assert (row["status"], row["reason"]) == ("damaged", "run.json: holds a list, not a JSON object")


def test_a_short_study_on_cifar_shows_degradation(tmp_path):
    """Plain-56's training error above plain-20's, and residual-56's: in the sentence, the chart and the rows."""
    summary = summarise(conv(tmp_path))
    told = [text for text in verdict(summary).answers if "degradation problem" in text]
    assert [text.split(":")[0] for text in told] == [
        f"Depth makes {gate} nets harder to train" for gate in ("plain", "residual")
    ]
    assert {group.blocks for group in summary.groups} == {9, 27}
    rows = {(row["gate"], row["depth"]): row for row in charts.rows(summary)["groups"]}
    assert rows["plain", 56]["metric"] - rows["plain", 20]["metric"] == pytest.approx(13, abs=1.5)
    assert rows["plain", 56]["metric_low"] > rows["plain", 20]["metric_high"]
    chart = next(chart for chart in charts.charts(summary) if chart.name == "error-by-depth")
    low, high = chart.spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert 55 < low < 65, "per cent of 60 to 85 are not drawn from 0"
    assert 80 < high < 90


def test_a_study_of_one_depth_has_no_error_by_depth(tmp_path):
    one = made(tmp_path, gates=("plain",), depths=(5,), rates=[0.1])
    assert "error-by-depth" not in [chart.name for chart in charts.charts(summarise(one))]


def test_page_shows_whatever_the_recipe_says(browser, tmp_path):
    page = opened(browser, write(conv(tmp_path, gates=("plain", "highway:bias=-4,kernel=1"), seeds=(0,)))[0], width=375)
    terms = page.locator(".columns dl").evaluate_all(
        "lists => Object.fromEntries(lists.flatMap(l => [...l.querySelectorAll('dt')].map("
        "t => [t.innerText, t.nextElementSibling.innerText])))"
    )
    shown = {"augment": "crop, flip", "preprocess": "pixel", "bias rate": "2", "milestones": "none"}
    assert shown | {"nesterov": "no", "decay on": "weights"} == {
        key: terms[key] for key in [*shown, "nesterov", "decay on"]
    }
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("caption").inner_text() == "One seed, at the best learning rates"
    column = page.locator("tbody th").last
    assert column.inner_text() == "highway:bias=-4,kernel=1"
    assert column.bounding_box()["width"] < 375 / 2, "a long name leaves room for numbers"
    page.close()


def test_query_reads_all_three_views(study):
    names, rows = query("SELECT gate, count(*) AS n FROM runs GROUP BY gate ORDER BY gate", study.path)
    assert names == ["gate", "n"]
    assert rows == [("highway:bias=-4", 18), ("plain", 18), ("residual", 18)]
    assert query("SELECT count(*) FROM metrics WHERE step = 300", study.path)[1] == [(18 * 3 - 6 - 1,)]
    _, rows = query("SELECT DISTINCT depth, max(layer) FROM probes WHERE kind = 'block' GROUP BY depth", study.path)
    assert sorted(rows) == [(5, 4), (20, 19), (50, 49)]
    _, rows = query("SELECT status, reason FROM runs WHERE gate = 'residual' AND status <> 'done'", study.path)
    assert rows == [("diverged", "the loss was not finite at step 37")]


def test_query_over_several_studies_and_odd_folders(tmp_path):
    one = made(tmp_path / "it's [old] *", gates=("plain",), depths=(5,), rates=[0.1])
    made(tmp_path / "other", gates=("plain",), depths=(5, 20), rates=[0.1])
    one.batch("still being written").add(RunContent("0" * 16, {"cell": {}, "metrics": {}}, [], [], b""))
    _, rows = query("SELECT study, count(DISTINCT run) FROM metrics GROUP BY study ORDER BY study", tmp_path)
    assert rows == [("it's [old] *", 3), ("other", 6)]
    assert len(runs(tmp_path)) == 9
    assert {row["study"] for row in runs(one.path)} == {"it's [old] *"}


def test_query_of_a_folder_without_rows(tmp_path):
    assert query("SELECT * FROM metrics JOIN probes USING (run)", tmp_path)[1] == []
    made(tmp_path, gates=("plain",), depths=(5,), rates=[0.1], diverged={("plain", 5)})
    assert query("SELECT count(*) FROM metrics", tmp_path)[1] == [(0,)]
    assert query("SELECT count(*) FROM runs", tmp_path)[1] == [(3,)]


@pytest.mark.parametrize(
    "sql", ["SELECT nothing FROM runs", "SELEC 1", "DROP VIEW runs", "COPY runs TO 'out.csv'", "SELECT 1; SELECT 2", ""]
)
def test_query_refuses_and_lists_the_views(sql, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        query(sql, study.path)
    assert "probes(study, run, gate, depth, learning_rate, seed, moment" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_query_of_no_folder(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        runs(tmp_path / "nothing")
