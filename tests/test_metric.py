"""What nets are judged by: any metric, in every half that shows."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from rich.console import Console

from skipway.cli.main import main
from skipway.cli.show_run import show_run
from skipway.report.charts import makers
from skipway.report.means import Mean
from skipway.report.metric import ERROR, LOSS, Metric, metric_of
from skipway.report.query import query
from skipway.report.summary import Choice, Group, Guessing, Summary, summarise
from skipway.report.table import columns, markdown, table
from skipway.report.verdict.chance import state
from skipway.report.verdict.findings import Claim, Findings
from skipway.report.verdict.rules import rules
from skipway.report.verdict.scale import Scale
from skipway.report.verdict.sentences import verdict
from skipway.rundir.integrity import read_study
from skipway.rundir.records import TASK, problem
from study_folders import ACCURACY, ERRORS, JUDGES, RMSE, made

GATES, DEPTHS = ("plain", "residual"), (5, 50)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """One study for each way to judge, with the same errors behind their numbers."""
    root = tmp_path_factory.mktemp("judged")
    return {
        name: made(root / name, GATES, DEPTHS, rates=[0.01, 0.1, 0.3], judge=judge)
        for name, judge in {**JUDGES, "older": ERRORS}.items()
    }


@pytest.fixture(scope="module")
def summaries(studies):
    return {name: summarise(study) for name, study in studies.items()}


def shown(summary: Summary, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(table(summary))
    return console.file.getvalue()


def texts(summary: Summary) -> list[str]:
    charts = makers.charts(summary)
    return [
        shown(summary),
        markdown(summary),
        *verdict(summary).sentences,
        *rules(summary),
        *(column.meaning for column in columns(summary)),
        *(f"{chart.title} {chart.reading} {chart.spec['title']}" for chart in charts),
    ]


def axis(summary: Summary, chart: str) -> str:
    """The title of a chart's y axis."""
    spec = next(found.spec for found in makers.charts(summary) if found.name == chart)
    layer = spec.get("spec", spec)
    return (layer.get("layer") or [layer])[0]["encoding"]["y"]["title"]


def test_every_task_describes_itself_as_the_report_reads_it():
    from skipway.tasks.own import OwnLoss
    from skipway.tasks.task import TASKS

    tasks = [*(TASKS[name]() for name in TASKS), TASKS["regression"](unit="mg/dl"), OwnLoss(lambda x, y: x)]
    for task in tasks:
        told = task.describe()
        assert problem(told, TASK) is None
        own = metric_of({"task": told})
        assert vars(own) == (task.metric.to_dict() if task.metric else {**task.loss.to_dict(), "name": "loss"})
    assert metric_of({"task": TASKS["classification"]().describe()}) == metric_of({}) == ERROR


def test_a_study_from_before_there_were_tasks_reads_as_one_that_classifies(summaries):
    assert texts(summaries["older"]) == texts(summaries["classification"])
    assert summaries["older"].samples == "images"


@pytest.mark.parametrize("name", JUDGES)
def test_only_what_classifies_images_speaks_of_them(summaries, name):
    told = " ".join(texts(summaries[name]))
    assert ("classified wrongly" in told, "classify wrongly" in told) == (name == "classification",) * 2
    assert summaries[name].samples == {"classification": "images", "next-token": "texts"}.get(name, "rows")
    assert ("error" in told.replace("nothing of the error", "")) == (name in ("classification", "next-token"))


@pytest.mark.parametrize(
    ("name", "headings", "axes"),
    [
        (
            "regression",
            ["Training RMSE, mg/dl", "Validation RMSE, mg/dl", "Test RMSE, mg/dl"],
            ["training RMSE at the end, mg/dl", "RMSE, mg/dl"],
        ),
        (
            "accuracy",
            ["Training accuracy, %", "Validation accuracy, %", "Test accuracy, %"],
            ["training accuracy at the end, %", "accuracy, %"],
        ),
        (
            "next-token",
            ["Training token error, %", "Validation token error, %", "Test token error, %"],
            ["training token error at the end, %", "token error, %"],
        ),
        ("own loss", ["Training loss", "Validation loss", "Test loss"], [None, "loss"]),
    ],
)
def test_columns_and_axes_have_the_metrics_word_and_unit(summaries, name, headings, axes):
    summary = summaries[name]
    found = [column.heading for column in columns(summary)]
    assert [heading for heading in found if heading.split()[0] in ("Training", "Validation", "Test")][-3:] == headings
    drawn = [chart.name for chart in makers.charts(summary)]
    assert ("error-by-depth" in drawn) == (axes[0] is not None)
    assert [axis(summary, chart) for chart in ("error-by-depth", "error-over-time") if chart in drawn] == [
        title for title in axes if title
    ]
    assert "…" not in shown(summary), "80 characters have room for it"
    assert {line.count("|") for line in markdown(summary).splitlines()} == {len(found) + 1}


@pytest.mark.parametrize("name", ["regression", "accuracy"])
def test_charts_draw_values_as_they_are_shown(summaries, name):
    summary, judge = summaries[name], JUDGES[name]
    factor = judge.task["metric"]["factor"]
    rows = makers.rows(summary)
    first = summary.groups[0]
    assert rows["groups"][0]["metric"] == pytest.approx(factor * first.train_metric.value)
    last = [row for row in rows["curves"] if (row["gate"], row["depth"], row["set"]) == ("plain", 5, "training")][-1]
    assert last["metric"] == pytest.approx(factor * first.train_metric.value, rel=0.3)
    assert {"train_metric", "validation_metric"} <= rows["sweep"][0].keys()
    assert first.best_train_metric == pytest.approx(first.train_metric.value)


def test_a_unit_in_brackets_is_no_markup():
    told = judged({**RMSE, "unit": "[bold]|m"}, group("plain", 5, 3.0, 0.1))
    assert "[bold]|m" in shown(told)
    assert "| Test RMSE, [bold]\\|m |" in markdown(told)


def test_the_verdict_of_a_regression(summaries):
    answers = verdict(summaries["regression"]).answers
    assert answers[0].startswith(
        "Depth makes plain nets harder to train: their training RMSE is 3.019 ± 0.003 mg/dl at "
    )
    assert "Depth does not raise the training RMSE of residual nets: at depth 50 it is 3.0" in answers[1]
    assert "The seeds rule out a rise by more than 0.26 mg/dl." in answers[1]
    assert "residual is better than plain" in next(
        text for text in answers if text.startswith("At depth 50 the test RMSE")
    )
    assert "points" not in " ".join(answers)
    told = " ".join(rules(summaries["regression"]))
    assert "within 5 % of the training RMSE of the best shallower one or, where that is more, within 1 %" in told
    assert "Losses and values of RMSE are compared by their logarithms" in told
    assert "How far RMSE depends on which rows it was measured on is not known" in told


def test_the_verdict_of_a_loss_alone(summaries):
    answers = verdict(summaries["own loss"]).answers
    assert answers[0].startswith(
        "Depth makes plain nets harder to train: their training loss is 0.00028 ± 0.00005 at dep"
    )
    assert any(text.startswith("At depth 50 the test loss is ") for text in answers)
    assert "no training is said to be at chance" in rules(summaries["own loss"])[0]


def test_accuracies_give_the_verdict_of_their_errors(summaries):
    """The same nets, told by what they get right: each claim has the same probability, each word is turned round."""
    right, wrong = Findings(summaries["accuracy"]), Findings(summaries["classification"])
    assert right.ps == pytest.approx(wrong.ps)
    assert right.shown == wrong.shown
    for gate in GATES:
        assert right.harder(gate) == wrong.harder(gate)
    base, (other,) = right.compared(50)
    assert right.apart(base, other) == "better"
    told = verdict(summaries["accuracy"]).answers
    assert told[1] == (
        "Depth does not lower the training accuracy of residual nets: at depth 50 it is 100.0 ± 0.0 % with residual, "
        "each at the learning rate that trains it best. The seeds rule out a fall by more than 0.2 points."
    )
    assert len(told) == len(verdict(summaries["classification"]).answers)
    assert "Depth does not raise the training error" in verdict(summaries["classification"]).answers[1]
    reading = " ".join(chart.title + chart.reading for chart in makers.charts(summaries["accuracy"]))
    assert "a line that falls to the right" in reading
    assert "accuracy rise?" in reading
    assert "stays below a shallower one's" in reading
    assert "with the highest mean validation accuracy" in reading
    assert "with the highest validation accuracy" in " ".join(shown(summaries["accuracy"]).split())


def group(gate: str, depth: int, value: float, spread: float, **more) -> Group:
    """A net whose metric is the same on all data."""
    metric = Mean((value - spread, value, value + spread))
    made = {
        "training": Choice(0.1),
        "validation": Choice(0.1),
        "cells": 3,
        "finished": 3,
        "train_loss": Mean((1.0, 1.1, 0.9)),
        "train_metric": metric,
        "best_train_metric": value,
        "validation_metric": metric,
        "test_metric": metric,
    }
    return Group(gate=gate, depth=depth, **{**made, **more})


def judged(metric: dict, *groups: Group, **data) -> Summary:
    task = {"name": "mine", "loss": RMSE, "metric": metric}
    return Summary(info={"task": task, "data": {"sizes": {"validation": 100, "test": 100}, **data}}, groups=groups)


R2 = {**RMSE, "name": "r2", "word": "R²", "unit": "", "better": "higher", "digits": 2}


@pytest.mark.parametrize(
    ("metric", "values", "ends"),
    [
        (RMSE, (12.0, 9.0), "falls from 12.00 mg/dl at depth 5 to 9.00 mg/dl at depth 50"),
        (R2, (-0.2, 0.6), "rises from -0.20 at depth 5 to 0.60 at depth 50"),
        (ACCURACY, (0.6, 0.95), "rises from 60.0 % at depth 5 to 95.0 % at depth 50"),
    ],
    ids=["RMSE", "R²", "accuracy"],
)
def test_more_depth_pays_in_the_metrics_own_direction(metric, values, ends):
    spread = 0.001
    better = judged(
        {**metric, "digits": metric["digits"] or 2},
        *(group("plain", d, v, spread) for d, v in zip(DEPTHS, values, strict=True)),
    )
    worse = judged(metric, *(group("plain", d, v, spread) for d, v in zip(DEPTHS, values[::-1], strict=True)))
    assert Findings(better).pays("plain") == "yes"
    assert Findings(worse).pays("plain") == "unknown"
    word = metric["word"]
    assert f"More depth pays: the validation {word} {ends} with plain." in verdict(better).answers[-1]
    assert "more depth does not pay." in verdict(worse).answers[-1]


@pytest.mark.parametrize("metric", [RMSE, R2, ACCURACY], ids=["RMSE", "R²", "accuracy"])
def test_the_better_gate_is_the_one_with_the_better_value(metric):
    lower = metric["better"] == "lower"
    good, bad = (0.4, 0.9) if lower else (0.9, 0.4)
    found = Findings(judged(metric, group("plain", 5, bad, 0.001), group("residual", 5, good, 0.001)))
    base, (other,) = found.compared(5)
    assert found.apart(base, other) == "better"
    assert Claim("apart", "residual", 5) in found.shown
    assert found.change(base, other, "test").low > 0, "the baseline is worse"
    assert found.change(other, base, "test").high < 0


@pytest.mark.parametrize(
    ("metric", "values", "guess", "kind", "small"),
    [
        (Metric("error", "error", "%", 100.0), [0.0, 0.4], 0.9, "odds", 0.01),
        (Metric("rmse", "RMSE"), [3.0, 40.0], None, "logarithm", 0.05 * 40),
        (Metric("rmse", "RMSE"), [3.0, 40.0], 900.0, "logarithm", 9.0),
        (Metric("r2", "R²", better="higher"), [-0.5, 0.4], 0.0, "itself", 0.05 * 0.4),
        (Metric("mape", "error", "%", 100.0), [0.4, 1.4], None, "logarithm", 0.05 * 1.4),
        (LOSS, [0.1, 2.0], None, "logarithm", 0.2),
        (LOSS, [-3.0, -2.0], None, "itself", 0.2),
    ],
    ids=["error", "RMSE", "RMSE far below a guess", "R²", "more than 100 %", "loss", "negative loss"],
)
def test_the_scale_follows_from_the_metric_and_its_values(metric, values, guess, kind, small):
    scale = Scale(metric, values, guess, {"train": 100, "test": 100})
    assert scale.kind == kind
    assert scale.small(values[-1]) == pytest.approx(small)
    worse = values[-1] + small if metric.lower else values[-1] - small
    assert scale.close(worse - 1e-6 * (1 if metric.lower else -1), values[-1])
    assert not scale.close(worse + 1e-6 * (1 if metric.lower else -1), values[-1])
    sample = scale.sample(Mean(tuple(values)), "test")
    assert scale.sample(Mean(tuple(values)), "train").known == 0, "training data stand for themselves"
    assert (sample.known > 0) == (kind == "odds"), "only of shares it is known what so many samples leave open"
    assert (sample.values[0] < sample.values[1]) == ((values[0] < values[1]) == metric.lower), "higher is worse"


@pytest.mark.parametrize(
    ("metric", "values", "better", "worse"),
    [
        (Metric("rmse", "RMSE"), [3.0, 40.0], -40.0, math.inf),
        (Metric("nll", "NLL"), [-3.0, 40.0], -1e6, 1e6),
        (Metric("accuracy", "accuracy", "%", 100.0, "higher"), [0.2, 0.97], -0.03, 0.97),
        (Metric("bleu", "BLEU", better="higher"), [3.0, 40.0], -math.inf, 40.0),
    ],
    ids=lambda value: getattr(value, "word", None),
)
def test_a_value_gets_better_and_worse_as_far_as_there_is_room(metric, values, better, worse):
    scale = Scale(metric, values)
    assert scale.worse(values[-1], -1e6, "test") == (
        pytest.approx(better) if math.isfinite(better) else pytest.approx(-math.exp(700))
    )
    assert scale.worse(values[-1], 1e6, "test") == (
        pytest.approx(worse) if math.isfinite(worse) else pytest.approx(math.exp(700))
    )
    assert scale.worse(values[-1], 0.0, "test") == pytest.approx(0.0, abs=1e-12)
    assert scale.worse(values[-1], 0.1, "test") > 0


def test_of_a_split_of_unknown_size_only_its_shares_count():
    """What so many samples leave open is not known; shares near 0 still have places of their own."""
    scale = Scale(Metric("error", "error", "%", 100.0), [0.001, 0.5], 0.9, {"train": 100})
    sample = scale.sample(Mean((0.001, 0.002)), "test")
    assert sample.known == 0
    assert sample.values[1] - sample.values[0] == pytest.approx(math.log(2), abs=0.05)


@pytest.mark.parametrize("most", [1.0, 1e-9], ids=["losses", "tiny losses"])
def test_losses_have_logarithms_as_far_as_they_can_be_told_from_0(most):
    scale = Scale(LOSS, [0.0, most])
    values = scale.sample(Mean((0.0, 1e-10 * most, 1e-5 * most, most)), "train").values
    steps = [after - before for before, after in pairwise(values)]
    assert steps == pytest.approx([math.log(100), math.log(1e5), math.log(1e5)])


def test_what_is_not_known_of_accuracies_is_told_as_a_change_of_them():
    nets = [group("plain", d, v, s, train_loss=Mean((1.0,) * 3)) for d, v, s in ((5, 0.9, 0.05), (50, 0.85, 0.06))]
    text = verdict(judged(ACCURACY, *nets)).answers[0]
    assert "training accuracy is 90.0 ± 5.0 % at depth 5 and 85.0 ± 6.0 % at depth 50; compared to the shallow" in text
    better, worse = (float(number) for number in re.findall(r"([0-9.]+) points? (?:better|worse)", text))
    assert 0 < better < 10, "no more than was missing to 100 %"
    assert 5 < worse < 90


def test_an_rmse_that_is_next_to_nothing_beside_a_guess_is_not_hard_to_reach():
    nets = [group("plain", d, v, v / 10, train_loss=Mean((v, v * 1.1))) for d, v in ((5, 0.01), (50, 0.5))]
    far, near = (judged(RMSE, *nets, guessing={"loss": 1.0, "rmse": guess}) for guess in (40.0, 77.0))
    assert Claim("harder", "plain") in Findings(near).shown
    assert Findings(far).harder("plain") == "yes"
    assert Findings(near).harder("plain") == "unknown"


@pytest.mark.parametrize(
    ("metric", "guess", "rule"),
    [
        (RMSE, 77.0, "its RMSE on the training data is at least 95 % of what the best constant answer gets"),
        (RMSE, None, "its loss on the training data is at least 95 % of what the best constant answer gets"),
        (R2, 0.0, "its loss on the training data is at least 95 %"),
        (ACCURACY, 0.1, "what its accuracy on the training data lacks to 100 % is at least 95 %"),
    ],
    ids=["RMSE", "no guess", "R²", "accuracy"],
)
def test_the_rules_say_what_a_guess_is_held_to(metric, guess, rule):
    told = judged(metric, group("plain", 5, 0.5, 0.1), guessing={"loss": 1.0, metric["name"]: guess})
    assert rule in rules(told)[0]


def test_what_accuracies_may_have_gained_is_no_more_than_was_missing():
    nets = [group("plain", d, v, s) for d, v, s in ((5, 0.97, 0.01), (50, 0.98, 0.015))]
    text = verdict(judged(ACCURACY, *nets)).answers[-1]
    assert text.endswith("no gain from more depth is shown, and one of up to 3.0 points is possible.")


@pytest.mark.parametrize(
    ("metric", "guess", "values", "kind"),
    [
        (Metric("rmse", "RMSE"), 80.0, (75.9, 50.0, 10.0), "trains"),
        (Metric("rmse", "RMSE"), 80.0, (76.1, 50.0, 10.0), "some seeds fail"),
        (Metric("rmse", "RMSE"), 80.0, (76.1, 79.0, 90.0), "at chance"),
        (Metric("accuracy", "accuracy", "%", 100.0, "higher"), 0.1, (0.15, 0.2, 0.99), "trains"),
        (Metric("accuracy", "accuracy", "%", 100.0, "higher"), 0.1, (0.14, 0.1, 0.12), "at chance"),
        (Metric("r2", "R²", better="higher"), 0.0, (-1.0, -2.0, -3.0), "trains"),
        (Metric("rmse", "RMSE"), None, (99.0, 99.0, 99.0), "trains"),
        (Metric("nll", "NLL"), -3.0, (-3.1, -3.0, -2.0), "at chance"),
        (Metric("nll", "NLL"), -3.0, (-3.2, -4.0, -5.0), "trains"),
    ],
)
def test_at_chance_is_who_does_no_better_than_a_guess(metric, guess, values, kind):
    """The losses are 0.9 to 1.1: by them a net is judged whose metric says nothing."""
    net = group("plain", 5, 0.0, 0.0, train_metric=Mean(values))
    assert state(net, Guessing(2.0, guess, metric)) == kind
    assert state(net, None) == "trains"
    if guess is None or metric.name == "r2":
        assert state(net, Guessing(0.9, guess, metric)) == "at chance"
        assert state(net, Guessing(1.0, guess, metric)) == "some seeds fail"


def test_negative_losses_are_compared_and_drawn_as_they_are():
    nets = [group("plain", d, 0.0, 0.0, train_loss=Mean((v, v + 0.12, v + 0.24))) for d, v in ((5, -9.0), (50, -2.0))]
    nets = [replace(net, train_metric=net.train_loss, best_train_metric=net.train_loss.value) for net in nets]
    found = Summary(info={"task": {"name": "", "loss": JUDGES["own loss"].task["loss"], "metric": None}}, groups=nets)
    assert Findings(found).harder("plain") == "yes"
    assert "their training loss is -8.9 ± 0.1 at depth 5 and -1.9 ± 0.1 at depth 50" in verdict(found).answers[0]
    assert "Losses are compared as they are" in " ".join(rules(found))
    chart = next(chart for chart in makers.charts(found) if chart.name == "loss-by-depth")
    y = chart.spec["layer"][0]["encoding"]["y"]
    assert y["scale"]["type"] == "linear"
    assert y["axis"]["values"] == [-8, -6, -4, -2]
    assert makers.rows(found)["groups"][0]["loss"] == pytest.approx(-8.88)


@pytest.mark.parametrize(
    ("metric", "value", "exact", "difference"),
    [
        (ERROR, "2.6 ± 0.4 %", "2.64 %", "0.4 points"),
        (Metric("rmse", "RMSE", "mg/dl", 2000.0), "52.8 ± 8.0 mg/dl", "52.80 mg/dl", "8.0 mg/dl"),
        (Metric("rmse", "RMSE", "", 2000.0), "52.8 ± 8.0", "52.80", "8.0"),
        (Metric("price", "error", "€", 1e6, digits=0), "26,400 ± 4,000 €", "26,400.0 €", "4,000 €"),
    ],
)
def test_values_are_told_with_factor_digits_and_unit(metric, value, exact, difference):
    assert metric.text(0.0264, 0.004) == value
    assert metric.exact(0.0264) == exact
    assert metric.difference(0.004) == difference
    assert metric.difference(0.004, sign=True) == f"+{difference}"
    assert metric.difference(-0.004) == f"-{difference}"


def test_sql_has_the_metric_of_every_task(studies, tmp_path_factory):
    root = studies["regression"].path.parent
    _, rows = query(
        "SELECT study, metric, count(train_metric), count(train_error), round(min(test_metric), 1) FROM runs "
        "GROUP BY ALL ORDER BY study",
        root,
    )
    names = {study: (metric, trained, errors) for study, metric, trained, errors, _ in rows}
    assert names == {
        "accuracy": ("accuracy", 36, 0),
        "classification": ("error", 36, 36),
        "next-token": ("error", 36, 36),
        "older": ("error", 36, 36),
        "own loss": ("loss", 36, 0),
        "regression": ("rmse", 36, 0),
    }
    _, rows = query(
        "SELECT study, max(train_metric), max(train_error) FROM metrics WHERE step = 300 GROUP BY ALL ORDER BY study",
        root,
    )
    found = {study: (most, error) for study, most, error in rows}
    assert found["regression"][0] == pytest.approx(90 * found["older"][1] + 3)
    assert found["regression"][1] is None
    assert found["older"][0] == found["older"][1]
    assert found["own loss"][0] > 1


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("older", "validation_error  test_error"),
        ("own loss", "test_loss"),
        ("regression", "metric  validation_metric  test_metric"),
        ("", "metric  validation_metric  test_metric"),
    ],
)
def test_the_list_of_runs_has_the_columns_that_are_there(studies, name, columns, capsys):
    assert main(["runs", str(studies[name].path if name else studies["older"].path.parent)]) == 0
    heading = "  ".join(capsys.readouterr().out.splitlines()[0].split())
    assert f"validation_loss  {columns}  reason" in heading


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("classification", ["loss error training", "test", "on 1,257 images."]),
        ("regression", ["loss RMSE training", "mg/dl", "on 1,257 samples."]),
        ("own loss", ["loss training", "on 1,257 samples."]),
    ],
)
def test_what_a_training_ends_with_is_told_by_its_metric(studies, name, words, capsys):
    run = next(run for run in studies[name].runs() if run.info()["cell"]["learning_rate"] == 0.1)
    info = run.info()
    run.update_metrics({"steps": 300})
    show_run(run)
    told = " ".join(capsys.readouterr().out.split())
    assert all(word in told for word in words)
    scores = info["metrics"].get("test_rmse")
    assert scores is None or f" {metric_of(info).exact(scores)} " in told
    assert ("error" in told) == (name == "classification")


def test_a_progress_line_has_the_metrics_word():
    from skipway.cli.progress import _scores

    row = {"train_loss": 1.5, "validation_loss": 2.0, "train_error": 0.1234, "validation_error": 0.5}
    assert _scores(row, ERROR) == "training loss 1.5000, error 12.34%; validation 2.0000, 50.00%"
    row |= {"train_rmse": 12.345, "validation_rmse": math.nan}
    assert _scores(row, metric_of({"task": JUDGES["regression"].task})) == (
        "training loss 1.5000, RMSE 12.35 mg/dl; validation 2.0000, nan mg/dl"
    )
    assert _scores(row, LOSS) == "training loss 1.5000; validation 2.0000"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"factor": 0}, "task.metric.factor must be a number above 0; it is 0"),
        ({"better": "more"}, "task.metric.better must be one of lower, higher"),
        ({"digits": 400}, "task.metric.digits must be a whole number from 0 to 12 or null"),
    ],
)
def test_a_metric_that_cannot_be_read_is_damage(tmp_path, change, reason):
    study = made(tmp_path, GATES[:1], (5,), rates=[0.1], seeds=(0,), judge=JUDGES["regression"])
    info = study.info()
    task = {**info["task"], "metric": {**info["task"]["metric"], **change}}
    study.write({**info, "task": task})
    with pytest.raises(ValueError, match=reason):
        read_study(study)
    study.write({**info, "data": {**info["data"], "guessing": None}})
    read_study(study)
    assert summarise(study).guessing is None


@pytest.mark.parametrize(("n", "words"), [(1, "A single seed. Training columns"), (3, "Means of 3 seeds, ± one")])
def test_the_table_says_of_how_many_seeds_it_tells(n, words):
    net = group("plain", 5, 0.5, 0.01, train_loss=Mean((1.0,) * n))
    assert words in " ".join(shown(judged(RMSE, net)).split())
