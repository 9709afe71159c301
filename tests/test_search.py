"""The search for learning rates: brackets, the race, and the same rounds after every end."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from itertools import product

import pytest
from torch import nn

import skipway as sw
from skipway.cli.arguments import check_arguments
from skipway.cli.main import main
from skipway.nets.family import FAMILIES
from skipway.report.charts.depth_charts import rows
from skipway.report.summary import summarise
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.reach import reach_of
from skipway.report.verdict.sentences import verdict
from skipway.rundir.study import Study
from skipway.settings.duration import seconds
from skipway.studies.config import StudyConfig
from skipway.studies.forecast import forecast
from skipway.studies.grid import checked
from skipway.studies.planned import plan_study
from skipway.studies.runner import run_study
from skipway.studies.search.bracket import MOST, more
from skipway.studies.search.deeper import next_depth
from skipway.studies.search.measures import QUESTIONS, best, mean, ranked, scores
from skipway.studies.search.rules import KEPT, SEARCHES, Grid, Trial
from skipway.tasks.task import Metric
from skipway.training.recipe import Recipe

RATES = (0.03, 0.1, 0.3, 1.0)


# --- rates beyond ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "above", "below"),
    [
        ((0.03, 0.1, 0.3, 1.0), [3.0, 10.0, 30.0, 100.0], [0.01, 0.003, 0.001, 0.0003]),
        ((0.1, 0.2, 0.4), [0.8, 1.6, 3.2, 6.4], [0.05, 0.025, 0.0125, 0.00625]),
        ((0.1, 1.0), [10.0, 100.0, 1000.0, 10000.0], [0.01, 0.001, 0.0001, 0.00001]),
        ((0.03, 0.1), [0.3, 1.0, 3.0, 10.0], [0.009, 0.0027, 0.00081, 0.000243]),
        ((1e-3, 1.0), [10.0, 100.0, 1000.0, 10000.0], [1e-4, 1e-5, 1e-6, 1e-7]),  # no step is longer than a decade
        ((1.0, 0.3, 0.1), [3.0, 10.0, 30.0, 100.0], [0.03, 0.01, 0.003, 0.001]),  # in any order
    ],
)
def test_rates_go_on_by_the_grids_own_factor(asked, above, below):
    for end, expected in ((max, above), (min, below)):
        tried = [*asked]
        while fresh := more(tried, asked, [end(tried)]):
            tried += fresh
        assert sorted(tried[len(asked) :]) == sorted(expected)
        assert len(expected) == MOST


def test_no_rate_is_tried_that_is_none():
    assert more([5e-324, 1.0], [5e-324, 1.0], [5e-324]) == [], "0 is no rate"
    assert more([1.0, 1e308], [1.0, 1e308], [1e308]) == [], "nor is infinity"


def test_nothing_is_tried_beyond_a_bracket_or_beside_a_single_rate():
    assert more(RATES, RATES, [0.1, 0.3]) == []
    assert more([0.1], [0.1], [0.1]) == []


def test_where_every_rate_diverged_lower_ones_are_tried():
    assert more(RATES, RATES, []) == [0.01]


def test_each_question_has_its_own_end():
    assert more(RATES, RATES, [0.03, 1.0]) == [0.01, 3.0]
    below, above = [0.0003, 0.001, 0.003, 0.01], [3.0, 10.0, 30.0, 100.0]
    assert more([*below, *RATES], RATES, [0.0003, 1.0]) == [3.0], "so many at either end"
    assert more([*RATES, *above], RATES, [0.03, 100.0]) == [0.01]


# --- by what rates are compared --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("better", "order"), [("lower", [0.1, 0.3]), ("higher", [0.3, 0.1])])
def test_a_metric_of_which_more_is_better_is_the_better_the_more(better, order):
    rates = {
        rate: scores(
            {"train_loss": 1.0, "validation_loss": 1.0, "validation_mine": mine}, Metric("mine", "mine", better=better)
        )
        for rate, mine in ((0.1, 0.7), (0.3, 0.8))
    }
    assert ranked(rates, "validation") == order
    assert ranked(rates, "training") == [0.1, 0.3], "of equals the lower one first"


def test_means_are_equal_where_only_the_order_of_a_sum_differs():
    def of(*values):
        return mean([{"training": (value,), "validation": (value,)} for value in values])

    assert of(0.1, 0.2, 0.3) == of(0.3, 0.2, 0.1) == of(0.2, 0.2, 0.2)
    assert of(0.5 + 1e-11) != of(0.5)


# --- searches on landscapes that are known ---------------------------------------------------------------------------


def valley(lowest: float, *, limit: float = math.inf, spread: float = 0.0):
    """Scores that are best at a rate; above a limit trainings diverge. Seeds differ by about a spread."""

    def scores(trial: Trial):
        if trial.learning_rate > limit:
            return None
        height = math.log10(trial.learning_rate / lowest) ** 2 + spread * math.sin(7 * trial.seed + trial.learning_rate)
        return {"training": (height,), "validation": (height, height)}

    return scores


def played(name: str, grid: Grid, scores) -> dict:
    """A search to its end."""
    search, results = SEARCHES[name](), {}
    for _ in range(50):
        wanted = search.wanted(grid, results)
        assert results.keys() <= wanted, "what is in stays wanted"
        if not (fresh := wanted - results.keys()):
            return results
        results |= {trial: scores(trial) for trial in fresh}
    raise AssertionError("it never ends")


def whole(results: dict, grid: Grid) -> dict:
    """The means of rates that have all seeds."""
    rates = {trial.learning_rate for trial in results}
    seeds = {rate: [results.get(Trial(rate, seed)) for seed in grid.seeds] for rate in rates}
    return {rate: mean(own) for rate, own in seeds.items() if None not in own}


@pytest.mark.parametrize("name", ["full", "race"])
@pytest.mark.parametrize("lowest", [0.001, 0.01, 0.1, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_a_valley_is_found_and_has_a_worse_neighbour_on_either_side(name, lowest, spread):
    grid = Grid(RATES, (0, 1, 2))
    results = played(name, grid, valley(lowest, spread=spread))
    means = whole(results, grid)
    tried = sorted({trial.learning_rate for trial in results})
    for question in QUESTIONS:
        chosen = best(means, question)
        assert tried[0] < chosen < tried[-1]
        if not spread:
            assert chosen == lowest


@pytest.mark.parametrize("name", ["full", "race"])
def test_a_diverged_neighbour_bounds_a_bracket(name):
    results = played(name, Grid(RATES, (0, 1)), valley(10.0, limit=1.0))
    tried = sorted({trial.learning_rate for trial in results})
    assert tried[-2:] == [1.0, 3.0]


@pytest.mark.parametrize("name", ["full", "race"])
def test_a_valley_without_an_end_ends(name):
    tried = {trial.learning_rate for trial in played(name, Grid(RATES, (0, 1)), valley(1e9))}
    assert max(tried) == 100.0
    assert len(tried) == len(RATES) + MOST


@pytest.mark.parametrize(("lowest", "spread"), [*product([0.01, 0.1, 0.3, 1.0, 3.0], [0.05, 0.2, 0.5])])
def test_a_race_chooses_as_a_full_search_for_less(lowest, spread):
    """It can differ where a rate that is best on the whole had a bad first seed: then by less than seeds scatter."""
    grid = Grid(RATES, (0, 1, 2))
    scores = valley(lowest, spread=spread)
    race, full = (played(name, grid, scores) for name in ("race", "full"))
    assert len(race) < len(full)
    ours, theirs = whole(race, grid), whole(full, grid)
    for question in QUESTIONS:
        gap = ours[best(ours, question)][question][0] - theirs[best(theirs, question)][question][0]
        assert gap <= spread


def test_in_a_race_all_that_had_a_better_first_seed_than_the_winner_have_all_seeds():
    grid = Grid((0.1, 0.2, 0.4, 0.8), (0, 1))
    heights = {0.1: (9.0, 9.0), 0.2: (1.0, 9.5), 0.4: (2.0, 8.0), 0.8: (3.0, 0.0), 1.6: (9.0, 9.0)}

    def scores(trial):
        height = heights[trial.learning_rate][trial.seed]
        return {"training": (height,), "validation": (height,)}

    results = played("race", grid, scores)
    means = whole(results, grid)
    assert best(means, "training") == 0.4
    assert set(means) == {0.2, 0.4}, "0.8 had a worse first seed than both that went on, and than the winner"
    heights[0.4] = (2.9, 2.0)
    heights[0.8] = (3.0, 0.0)  # within a tenth of the second
    assert set(whole(played("race", grid, scores), grid)) == {0.2, 0.4, 0.8}


@pytest.mark.parametrize(("second", "near", "far"), [(2.0, 2.19, 2.21), (-2.0, -1.81, -1.79)])
def test_in_a_race_a_tenth_behind_the_second_is_near(second, near, far):
    """Also of a metric of which more is better: its scores are negative."""
    firsts = {0.1: 9.0, 0.2: near, 0.4: second, 0.8: second - 1, 1.6: far, 3.2: 9.0}
    grid = Grid(tuple(firsts), (0, 1))
    results = played("race", grid, lambda trial: dict.fromkeys(QUESTIONS, (firsts[trial.learning_rate] + trial.seed,)))
    assert set(whole(results, grid)) == {0.2, 0.4, 0.8}


def test_in_a_race_a_winner_that_went_on_for_the_other_question_is_held_to_all_that_began_better():
    """At 0.8 the net trains best on the whole, after a bad first seed; it went on since it generalises best."""
    grid = Grid((0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (0, 1))
    training = {0.1: (9, 9), 0.2: (1, 9), 0.4: (2, 9), 0.8: (5, 0), 1.6: (4, 8), 3.2: (6, 8)}
    validation = {0.1: 9, 0.2: 6, 0.4: 2, 0.8: 1, 1.6: 5, 3.2: 9}

    def scores_of(trial):
        rate = trial.learning_rate
        return {"training": (float(training[rate][trial.seed]),), "validation": (float(validation[rate]),)}

    means = whole(played("race", grid, scores_of), grid)
    assert best(means, "training") == 0.8
    assert set(means) == {0.2, 0.4, 0.8, 1.6}, (
        "1.6 had a better first seed than the rate that is chosen, 3.2 a worse one"
    )


def test_in_a_race_a_rate_that_wins_at_an_end_has_a_neighbour_beyond_it():
    """By its first seed it was not the best one, and nothing beyond it had to be tried then."""
    grid = Grid((0.1, 0.2, 0.4), (0, 1))
    heights = {0.1: (9.0, 9.0), 0.2: (1.0, 9.0), 0.4: (2.0, 0.0), 0.8: (9.0, 9.0)}
    results = played("race", grid, lambda t: dict.fromkeys(QUESTIONS, (heights[t.learning_rate][t.seed],)))
    assert best(whole(results, grid), "training") == 0.4
    assert Trial(0.8, 0) in results


@pytest.mark.parametrize("lowest", [0.001, 30.0])
def test_a_race_goes_beyond_its_grid_with_the_first_seed_alone(lowest):
    grid = Grid(RATES, (0, 1, 2))
    results = played("race", grid, valley(lowest))
    assert len({trial.learning_rate for trial in results}) == len(RATES) + 4
    assert len(whole(results, grid)) == KEPT


@pytest.mark.parametrize("name", ["full", "race"])
def test_of_two_rates_all_that_is_tried_has_all_seeds(name):
    """A race among two would save nothing: also one that diverged, and what lies beyond, has them."""
    grid = Grid((0.1, 0.3), (0, 1))
    results = played(name, grid, valley(0.1, limit=0.2))
    assert results.keys() == grid.of((0.03, 0.1, 0.3))


def test_trials_are_placed_by_seed_and_rate_as_named_and_those_beyond_after_them():
    grid = Grid((0.3, 0.1), (5, 2))
    order = [(rate, seed) for seed in (5, 2) for rate in (0.3, 0.1, 0.03, 1.0)]
    trials = sorted(grid.of((0.03, 0.1, 0.3, 1.0)), key=grid.place)
    assert [(trial.learning_rate, trial.seed) for trial in trials] == order


def test_in_a_race_the_next_ones_go_on_where_the_first_diverge():
    grid = Grid(RATES, (0, 1, 2))

    def scores(trial):
        if trial.learning_rate >= 0.3 and trial.seed == 2:
            return None
        return valley(0.3)(trial)

    means = whole(played("race", grid, scores), grid)
    assert best(means, "training") == 0.1
    assert len(means) >= KEPT


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("grid", [Grid((0.1,), (0, 1, 2)), Grid((0.1, 0.3), (0, 1)), Grid((0.1, 0.3, 1.0), (0,))])
def test_small_grids_are_trained_whole(name, grid):
    results = played(name, grid, valley(0.1 if len(grid.rates) == 1 else 0.3 if len(grid.rates) == 3 else 0.1))
    assert grid.of(grid.rates) <= results.keys()
    if len(grid.rates) == 1:
        assert results.keys() == grid.of(grid.rates)


@pytest.mark.parametrize("name", SEARCHES)
def test_what_is_expected_is_about_what_comes(name):
    grid = Grid(RATES, (0, 1, 2))
    number = len(played(name, grid, valley(0.3)))
    assert 0.7 * number <= SEARCHES[name]().expected(grid) <= 1.4 * number


# --- studies ---------------------------------------------------------------------------------------------------------

CONFIG = StudyConfig(
    gates=("plain",),
    depths=(2, 3),
    seeds=(0, 1, 2),
    width=6,
    recipe=Recipe(steps=25, batch_size=32, learning_rates=(0.01, 0.03, 0.1)),
)


@pytest.fixture(scope="module")
def raced(tmp_path_factory) -> Study:
    return run_study(checked(CONFIG), tmp_path_factory.mktemp("raced") / "study", workers=2)


def files(study: Study) -> dict[str, bytes]:
    """Curves, probes and weights, bit for bit."""
    names = ("metrics.jsonl", "probes.parquet", "model.safetensors")
    return {f"{run.path.name}/{name}": (run.path / name).read_bytes() for run in study.runs() for name in names}


def test_a_study_goes_beyond_its_grid_and_says_what_it_trained(raced):
    info = raced.info()
    assert info["status"] == "done"
    for depth in CONFIG.depths:
        cells = [cell for cell in info["cells"] if cell["depth"] == depth]
        tried = sorted({cell["learning_rate"] for cell in cells})
        assert tried[-1] > 0.1, "these nets want a higher rate than any that was asked for"
        (chosen,) = [row["learning_rate"] for row in info["chosen"] if row["depth"] == depth]
        for rate in chosen.values():
            assert tried[0] < rate < tried[-1]
            assert {cell["seed"] for cell in cells if cell["learning_rate"] == rate} == {0, 1, 2}
        assert len(cells) < len(tried) * 3, "not all rates have all seeds"
    assert {run.path.name for run in raced.runs()} == {cell["id"] for cell in info["cells"]}


def test_a_race_goes_on_to_the_same_bits_wherever_it_was_stopped(raced, tmp_path):
    whole_study = files(raced)
    copied = Study(shutil.copytree(raced.path, tmp_path / "study"))
    cells = copied.info()["cells"]
    beyond = [cell for cell in cells if cell["learning_rate"] > 0.1 or cell["seed"] == 2]
    for cell in beyond:  # rounds after the first one
        shutil.rmtree(copied.run(cell["id"]).path)
    again = run_study(checked(CONFIG), copied.path, workers=1)
    assert files(again) == whole_study
    assert again.info()["cells"] == cells


def test_a_seed_more_computes_only_what_is_new(raced, tmp_path):
    copied = Study(shutil.copytree(raced.path, tmp_path / "study"))
    before = files(copied)
    times = {run.path.name: (run.path / "run.json").stat().st_mtime_ns for run in copied.runs()}
    grown = run_study(checked(replace(CONFIG, seeds=(0, 1, 2, 3))), copied.path, workers=1)
    after = files(grown)
    assert {name: after[name] for name in before} == before
    first = {cell["id"] for cell in copied.info()["cells"] if cell["seed"] == 0}
    assert all((grown.run(own).path / "run.json").stat().st_mtime_ns == times[own] for own in first & times.keys())
    new = {cell["id"] for cell in grown.info()["cells"]} - times.keys()
    assert new
    assert {cell["seed"] for cell in grown.info()["cells"] if cell["id"] in new} >= {3}


def test_an_unknown_search_is_told_with_those_there_are():
    with pytest.raises(ValueError, match=r"unknown search 'rase'. Did you mean 'race'\? Valid: full, grid, race"):
        checked(replace(CONFIG, search="rase"))


# --- depths -----------------------------------------------------------------------------------------------------------


def descended(limit: int, valid=lambda depth: depth, most: int = 10**6) -> list[int]:
    """The depths that are tried of nets that train to a limit."""
    holds: dict[int, bool] = {}
    while (depth := next_depth(holds, lambda near: found if (found := valid(near)) <= most else None)) is not None:
        assert depth not in holds, "no depth is tried twice"
        holds[depth] = depth <= limit
    return [*holds]


@pytest.mark.parametrize("limit", [2, 3, 5, 7, 13, 16, 26, 47, 64, 100, 511])
def test_the_depth_at_which_nets_stop_is_found_to_an_eighth(limit):
    tried = descended(limit)
    deepest, stopped = max(d for d in tried if d <= limit), min(d for d in tried if d > limit)
    assert stopped - deepest <= max(1, deepest // 8)
    assert tried[:2] == [2, 4]
    assert len(tried) <= 14


def test_of_families_whose_depths_have_gaps_only_valid_ones_are_tried():
    tried = descended(40, lambda depth: depth + (2 - depth) % 6)  # He et al.'s: 6 n + 2
    assert {depth % 6 for depth in tried} == {2}
    assert {38, 44} <= {*tried}, "the last that trains, and the next one"


def test_a_search_without_an_end_goes_to_the_deepest_there_is_and_a_hopeless_one_gives_up():
    assert descended(10**9, most=100) == [2, 4, 8, 16, 32, 64]
    assert descended(0) == [2, 4, 8]


def test_nets_that_hold_only_from_some_depth_on_are_searched_all_the_same():
    assert next_depth({2: False, 4: True}, lambda depth: depth) == 8
    assert next_depth({2: False, 4: True, 8: False}, lambda depth: depth) == 6


class Nothing(nn.Module):
    def forward(self, x):
        return 0 * x


@pytest.fixture(scope="module")
def reached(tmp_path_factory) -> Study:
    class Halting(sw.Family, name="halting"):
        """Plain nets of more than five blocks answer the same whatever they see; no net has more than 12."""

        study_depths = (2, 4)

        @staticmethod
        def check_depth(depth: int) -> None:
            if not 1 <= depth <= 12:
                raise ValueError(f"depth must be from 1 to 12; it is {depth}.")

        @staticmethod
        def make(*, gate: str, depth: int, in_features: int, num_classes: int, width: int = 32) -> sw.SkipNet:
            bodies = [nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth)]
            for body in bodies:
                nn.init.xavier_normal_(body[0].weight)
            head = nn.Linear(width, num_classes)
            end = Nothing() if gate.startswith("plain") and depth > 5 else nn.Identity()
            stem = nn.Sequential(nn.Flatten(), nn.Linear(in_features, width))
            return sw.SkipNet(stem, sw.skip_row(gate, bodies), nn.Sequential(end, head))

    config = replace(
        CONFIG,
        net="halting",
        gates=("plain", "residual"),
        depths="auto",
        seeds=(0, 1, 2),
        width=None,
        recipe=Recipe(steps=400, batch_size=32, learning_rates=(0.1,)),
    )
    out = tmp_path_factory.mktemp("reached") / "study"
    yield run_study(checked(config), out, workers=2, budget="5m")
    FAMILIES.remove("halting")


def test_a_study_finds_the_depth_at_which_nets_stop(reached):
    info = reached.info()
    depths = {gate: {cell["depth"] for cell in info["cells"] if cell["gate"] == gate} for gate in ("plain", "residual")}
    assert depths == {"plain": {2, 4, 5, 6, 8}, "residual": {2, 4, 8}}
    assert info["choices"]["depths"] == {"plain": "found", "residual": "limit"}
    found = Findings(summarise(reached))
    assert reach_of(found, "plain") == (5, 6)
    assert reach_of(found, "residual") == (8, None)
    answer = verdict(found.summary).answers[0]
    assert (
        "plain nets were seen to train as well as shallower ones to depth 5, and no longer at depth 6" in answer.lower()
    )
    assert (
        "residual nets were seen to train as well as shallower ones to depth 8, the deepest that such nets can be"
        in answer
    )
    (row,) = [row for row in rows(found.summary) if row["stops"] is not None]
    assert (row["gate"], row["depth"], row["stops"]) == ("plain", 5, 6)


def test_a_study_of_depths_goes_on_where_it_was(reached, tmp_path):
    copied = Study(shutil.copytree(reached.path, tmp_path / "study"))
    cells = copied.info()["cells"]
    for cell in cells:
        if cell["depth"] in (6, 8):
            shutil.rmtree(copied.run(cell["id"]).path)
    again = run_study(StudyConfig.from_dict(copied.info()["config"]), copied.path, workers=1, budget="5m")
    assert files(again) == files(reached)
    assert again.info()["cells"] == cells


@pytest.mark.parametrize(
    ("settings", "budget", "message"),
    [
        ({"depths": "auto"}, "1s", "budget must be 10 seconds or more, finite; it is 1 s"),
        ({"depths": "auto"}, "soon", "budget 'soon' is no time: write 90s, 10m or 1h30m"),
        ({"depths": (2, 3)}, "10m", "a budget is for a study that searches depths: give it with --depths auto"),
    ],
)
def test_budgets_that_cannot_be_are_told(settings, budget, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_study(replace(CONFIG, **settings), tmp_path, budget=budget)


def test_nothing_stands_beside_auto():
    with pytest.raises(ValueError, match=r"auto finds depths by itself.*Valid: --depths auto, or --depths 5"):
        check_arguments("study", ["--depths", "auto", "5"])


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), (45.5, 45.5)])
def test_times_are_read_as_people_write_them(text, expected):
    assert seconds(text, "budget", least=10) == expected


# --- the work before it is done ---------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_work_and_writes_nothing(raced, tmp_path, capsys):
    flags = "study --gates plain --depths 2 3 --width 6 --steps 25 --batch-size 32 --learning-rates 0.01 0.03 0.1"
    asked = [*flags.split(), "--workers", "2", "--dry-run", "--out"]
    assert main([*asked, str(tmp_path / "new")]) == 0
    assert not (tmp_path / "new").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Gates plain; depths 2 3; seeds 0 1 2; search: race."
    assert lines[1] == "About 20 trainings."
    assert re.fullmatch(
        r"About \d+ s on 2 workers, by a few steps of plain at depth 2 and plain at depth 3\.", lines[2]
    )
    assert re.fullmatch(r"About \d\.\d GiB of memory for each worker, and \d+ MiB on disk in .*new\.", lines[3])
    before = files(raced)
    assert main([*asked, str(raced.path)]) == 0
    number = len(raced.info()["cells"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [f"About {number} trainings, {number} of them on disk.", "Nothing is left to be trained."]
    assert files(raced) == before


def test_time_is_told_by_what_steps_take(tmp_path):
    config = replace(CONFIG, depths=(2, 30))
    recipes = [replace(CONFIG.recipe, steps=steps) for steps in (50, 20_000)]
    short, long = (forecast(plan_study(replace(config, recipe=recipe), tmp_path)) for recipe in recipes)
    assert long.seconds > 5 * short.seconds, "400 times the steps; the rest is before and after them"
    assert [pair.depth for pair in short.timed] == [2, 30]
    assert short.disk == sum(10 * (4 * parameters + 60_000) for parameters in (502, 1678)), "390 + 42 (depth - 1) + 70"
