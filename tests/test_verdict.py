"""The verdict's sentences on summaries whose right sentence is known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest

from skipway.report.means import Mean
from skipway.report.metric import ERROR
from skipway.report.numbers import percent, plus_minus, rounded
from skipway.report.summary import Choice, Group, Guessing, Summary
from skipway.report.verdict.chance import state
from skipway.report.verdict.findings import Claim, Findings
from skipway.report.verdict.inference import step, trend
from skipway.report.verdict.reach import reach_of
from skipway.report.verdict.rules import rules
from skipway.report.verdict.sentences import verdict

SIZES = {"train": 1257, "validation": 180, "test": 360}
INFO = {"data": {"name": "digits", "classes": list("0123456789"), "sizes": SIZES}}
GUESS = Guessing(math.log(10), 0.9)
# The demo's recorded runs: gate -> depth -> training loss, training error, test error, each with its deviation.
DIGITS = {
    "plain": {
        5: (0.00014, 0.00003, 0.0, 0.0, 0.015, 0.003),
        20: (0.0037, 0.0030, 0.001, 0.001, 0.030, 0.006),
        50: (0.49, 0.05, 0.203, 0.019, 0.272, 0.039),
        100: (1.0, 0.4, 0.434, 0.152, 0.521, 0.100),
    },
    "residual": {
        5: (0.00019, 0.00002, 0.0, 0.0, 0.007, 0.002),
        20: (0.00017, 0.00004, 0.0, 0.0, 0.014, 0.007),
        50: (0.00014, 0.00004, 0.0, 0.0, 0.011, 0.006),
        100: (0.00011, 0.00002, 0.0, 0.0, 0.009, 0.003),
    },
}


def mean(value: float, std: float = 0.0, n: int = 3) -> Mean:
    """Seeds with this mean and standard deviation."""
    return Mean((value,) if n == 1 else (value - std, value, value + std)[:n] if n == 3 else (value - std, value + std))


def group(
    gate: str, depth: int, loss: float, error: float = 0.02, std: float = 0.004, fitted=None, n=3, **more
) -> Group:
    """A net's results: training loss, test and validation error with their deviation, training error."""
    trained = {} if fitted is None else {"train_metric": mean(fitted, fitted / 20, n), "best_train_metric": fitted}
    made = {
        "training": Choice(0.1),
        "validation": Choice(0.1),
        "rates": 5,
        "cells": 15,
        "finished": 15,
        "train_loss": mean(loss, loss / 10, n),
        "validation_metric": mean(error, std, n),
        "test_metric": mean(error, std, n),
    }
    return Group(gate=gate, depth=depth, **{**made, **trained, **more})


def summary(*groups: Group, info=INFO) -> Summary:
    return Summary(info=info, groups=groups)


def digits() -> Summary:
    made = []
    for gate, row in DIGITS.items():
        for depth, (loss, loss_std, fitted, fitted_std, error, std) in row.items():
            own = {"train_loss": mean(loss, loss_std), "train_metric": mean(fitted, fitted_std)}
            made.append(group(gate, depth, loss, error, std, **own, best_train_metric=fitted, parameters=5112 * depth))
    return summary(*made)


def diverged(gate: str, depth: int) -> Group:
    reasons = ("the loss was not finite at step 37",)
    return Group(gate=gate, depth=depth, cells=15, finished=15, diverged=15, every_rate_diverged=True, reasons=reasons)


def sentence(found: Summary, *parts: str) -> str:
    """The one sentence of the verdict that holds all parts."""
    told = verdict(found).sentences
    matches = [text for text in told if all(part in text for part in parts)]
    assert len(matches) == 1, f"{parts} in {len(matches)} sentences of {told}"
    return matches[0]


def nothing_like(found: Summary, *parts: str) -> bool:
    return not any(part in text for part in parts for text in verdict(found).sentences)


def test_what_the_demo_found_in_five_sentences():
    told = verdict(digits()).answers
    assert told == [
        "Depth makes plain nets harder to train: their training error is 0.0 ± 0.0 % at depth 5 and 43.4 ± 15.2 % at "
        "depth 100. No learning rate tried brings the deeper one near the shallower one, on the very data that it "
        "learns from: this is the degradation problem, not overfitting.",
        "Depth does not raise the training error of residual nets: at depth 100 it is 0.0 ± 0.0 % with residual, "
        "each at the learning rate that trains it best. The seeds rule out a rise by more than 0.4 points.",
        "At depth 100 the test error is 52.1 ± 10.0 % with plain and 0.9 ± 0.3 % with residual: residual is better "
        "than plain.",
        "At depth 5 the test error is 1.5 ± 0.3 % with plain and 0.7 ± 0.2 % with residual: with 3 seeds no difference "
        "from plain is shown for residual; anything from 1.5 points better to 4.4 points worse is possible.",
        "The validation error goes from 0.7 % at depth 5 to 0.9 % at depth 100 with residual: more depth does not pay, "
        "or by less than 0.7 points.",
    ]


def test_the_rise_that_the_seeds_rule_out_is_the_largest_of_all_depths_and_gates():
    nets = [net for net in digits().groups if net.gate == "residual"]
    nets += [replace(net, gate="rezero", train_metric=mean(0.002, 0.0005)) for net in nets]
    found = Findings(summary(*nets))
    highs = [
        found.change(after, before, "train").high
        for gate in ("residual", "rezero")
        for before, after in combinations(found.nets(gate), 2)
    ]
    assert ERROR.difference(max(highs)) != ERROR.difference(min(highs))
    text = sentence(found.summary, "Depth does not raise the training error of residual and rezero nets")
    assert text.endswith(f"The seeds rule out a rise by more than {ERROR.difference(max(highs))}.")


ONLY = Choice(0.1, "only")


def cifar(rate: Choice = ONLY, n: int = 3, **changes) -> Summary:
    """README's short study on CIFAR-10, at one learning rate."""
    rows = {
        ("plain", 20): (1.80, 0.04, 0.697, 0.017, 0.691, 0.020),
        ("plain", 56): (2.26, 0.02, 0.861, 0.019, 0.859, 0.020),
        ("residual", 20): (1.65, 0.06, 0.624, 0.026, 0.618, 0.035),
        ("residual", 56): (1.77, 0.04, 0.677, 0.008, 0.672, 0.007),
    }
    made = []
    for (gate, depth), (loss, loss_std, fitted, fitted_std, error, std) in rows.items():
        own = {"train_loss": mean(loss, loss_std, n), "train_metric": mean(fitted, fitted_std, n), "rates": 1}
        own |= {"training": rate, "validation": rate, "best_train_metric": fitted}
        made.append(group(gate, depth, loss, error, std, n=n, **{**own, **changes}))
    sizes = {"train": 45_000, "validation": 5_000, "test": 10_000}
    return summary(*made, info={"data": {**INFO["data"], "sizes": sizes}})


def test_at_the_only_rate_degradation_is_called_that_of_this_rate():
    text = sentence(cifar(), "Depth makes plain nets harder to train")
    assert "69.7 ± 1.7 % at depth 20 and 86.1 ± 1.9 % at depth 56." in text
    assert text.endswith(
        "At 0.1, the one learning rate tried, the deeper net does not fit its own training data as the shallower one "
        "does: at this rate it is the degradation problem, not overfitting."
    )
    assert "residual is better than plain" in sentence(cifar(), "At depth 56")


def test_what_three_seeds_cannot_tell_is_said_with_its_interval():
    text = sentence(cifar(), "cannot tell whether depth matters")
    assert text == (
        "3 seeds cannot tell whether depth matters with residual: the training error is 62.4 ± 2.6 % at depth 20 and "
        "67.7 ± 0.8 % at depth 56; compared to the shallowest net, the deepest may be up to 4.8 points better or 13.9 "
        "points worse."
    )


HIGHEST = Choice(0.3, "highest")


def test_where_the_deepest_nets_best_rate_is_at_the_edge_depth_is_not_blamed():
    text = sentence(cifar(HIGHEST), "deeper plain nets do not fit")
    assert text == (
        "At the learning rates tried, deeper plain nets do not fit their training data as shallower ones do: their "
        "training error is 69.7 ± 1.7 % at depth 20 and 86.1 ± 1.9 % at depth 56. But the best rate at depth 56, 0.3, "
        "is the highest tried, so another may help."
    )
    healthy = cifar(HIGHEST, gradient_ratios=(1.0,))
    assert nothing_like(healthy, "degradation", "Depth makes", "Depth stops", "get harder to train")
    shallow = [replace(net, training=ONLY) if net.depth == 56 else net for net in cifar(HIGHEST).groups]
    assert "Depth makes plain" in sentence(summary(*shallow, info=cifar().info), "degradation"), "no other edge matters"


def test_nothing_is_concluded_against_a_gate_whose_rate_is_at_the_edge():
    found = cifar(HIGHEST)
    text = sentence(found, "At depth 56")
    assert "residual is not compared, since the best learning rate of the worse one is at an edge" in text
    assert nothing_like(found, "better than", "worse than")
    edges = sentence(found, "nothing is concluded")
    assert "the best learning rate with plain at depth 20 and 56 and residual at depth 20 and 56: a rate" in edges
    nets = [replace(net, validation=Choice(0.1)) if net.gate == "plain" else net for net in found.groups]
    fair = summary(*nets, info=found.info)
    assert "residual is better than plain" in sentence(fair, "At depth 56"), "the better one could only gain"
    apart = sentence(fair, "nothing is concluded")
    assert "the learning rate that trains best with plain at depth 20 and 56 and residual at depth 20 and 56" in apart
    assert "and the learning rate that generalises best with residual at depth 20 and 56: a rate" in apart


def paying(first: Choice, last: Choice) -> Summary:
    rows = ((20, 0.09, first), (44, 0.07, first), (110, 0.05, last))
    nets = [group("residual", depth, 0.01, error, 0.002, validation=rate) for depth, error, rate in rows]
    return summary(*nets, info={"data": {"sizes": {"validation": 5000, "test": 10_000}}})


def test_it_is_told_from_which_depth_on_more_does_not_pay():
    """As many steps as the data ask for (ring-transfer): no deeper net can be better."""
    errors = {4: 0.25, 7: 0.06, 8: 0.0, 12: 0.0, 16: 0.004}
    sizes = {"data": {"sizes": {"validation": 5000, "test": 10_000}}}
    nets = [group(gate, depth, 0.01, own, own / 50) for gate in ("plain", "residual") for depth, own in errors.items()]
    text = sentence(summary(*nets, info=sizes), "More depth pays")
    assert text.endswith("No deeper net was seen to be better than that of depth 8 with plain and residual.")
    assert nothing_like(paying(Choice(0.1), HIGHEST), "No deeper net")


# --- how deep, and at which rates -------------------------------------------------------------------------------------


def descended(stops: dict[str, int | None], ends: dict[str, str], n: int = 3, std: float = 0.01) -> Summary:
    """A study that searched depths: nets fit their data until they stop."""
    made = []
    for gate, limit in stops.items():
        for depth in (2, 4, 8, 16, 24, 32):
            error, loss = (0.001, 0.002) if limit is None or depth < limit else (0.3, 1.0)
            own = {"train_loss": mean(loss, loss / 10, n), "train_metric": mean(error, error and std / 10, n)}
            made.append(group(gate, depth, loss, n=n, **own, best_train_metric=error))
    return summary(*made, info={**INFO, "config": {"depths": "auto"}, "choices": {"depths": ends}})


def test_how_deep_nets_go_is_the_first_answer():
    ends = {"plain": "found", "residual": "budget", "highway": "limit"}
    found = descended({"plain": 24, "residual": None, "highway": None}, ends)
    assert verdict(found).answers[0] == (
        "How deep do they go? Plain nets were seen to train as well as shallower ones to depth 16, and no longer at "
        "depth 24; residual nets were seen to train as well as shallower ones to depth 32, the deepest that the budget "
        "allowed; highway nets were seen to train as well as shallower ones to depth 32, the deepest that such nets "
        "can be."
    )
    assert reach_of(Findings(found), "plain") == (16, 24)
    named = replace(found, info={**found.info, "config": {"depths": [2, 4, 8]}})
    assert nothing_like(named, "How deep")


def test_where_nets_stop_is_no_claim_that_the_seeds_do_not_carry():
    found = descended({"plain": 24}, {"plain": "found"}, n=1)
    assert "to depth 16, and worse at depth 24, which so few seeds do not show" in verdict(found).answers[0]


def test_nets_that_train_nowhere_are_told_so():
    found = descended({"plain": 2}, {"plain": "found"})
    groups = [replace(net, train_metric=mean(0.9), best_train_metric=0.9, train_loss=mean(2.3)) for net in found.groups]
    assert "train at none of the depths tried, 2 to 32" in sentence(replace(found, groups=tuple(groups)), "How deep")


def test_a_deeper_net_holds_only_near_the_best_shallower_one():
    nets = [
        group("plain", 4, 0.5, fitted=0.2),
        group("plain", 8, 0.01, fitted=0.01),
        group("plain", 16, 0.4, fitted=0.18),
    ]
    assert Findings(summary(*nets)).holds("plain") == {4: True, 8: True, 16: False}
    near = replace(nets[-1], best_train_metric=0.015)
    assert Findings(summary(*nets[:-1], near)).holds("plain")[16], "some rate that was tried fits"


def test_a_depth_that_fails_below_one_that_trains_is_not_where_nets_stop():
    ends = {4: (0.01, 0.01), 8: (0.4, 0.18), 16: (0.01, 0.01)}
    nets = [group("plain", depth, loss, fitted=error) for depth, (loss, error) in ends.items()]
    assert reach_of(Findings(summary(*nets)), "plain") == (16, None)


def rate(best: float, low: float, high: float) -> Choice:
    return Choice(best, "", low, high)


def test_a_rate_moves_where_brackets_are_apart():
    shallow, deep = rate(0.3, 0.1, 1.0), rate(0.03, 0.01, 0.1)
    made = {"plain": (shallow, deep), "residual": (deep, shallow), "highway": (shallow, rate(0.1, 0.03, 0.3))}
    nets = [
        group(gate, depth, 0.01, training=own)
        for gate, ends in made.items()
        for depth, own in zip((5, 100), ends, strict=True)
    ]
    assert sentence(summary(*nets), "the learning rate that trains best") == (
        "From the shallowest net to the deepest, the learning rate that trains best falls with plain (0.3 at depth 5, "
        "0.03 at depth 100), rises with residual (0.03 at depth 5, 0.3 at depth 100) and is not known to move with "
        "highway (0.3 at depth 5, 0.1 at depth 100)."
    )
    edge = [replace(net, training=Choice(0.3, "highest", 0.1)) for net in nets]
    assert nothing_like(summary(*edge), "From the shallowest")


def test_depth_pays_only_if_no_other_rate_might_help_the_shallowest_net():
    assert "More depth pays" in sentence(paying(Choice(0.1), HIGHEST), "validation error falls")
    text = sentence(paying(HIGHEST, Choice(0.1)), "validation error falls from 9.0 %")
    assert text.endswith("but the best learning rate of the shallowest net is at an edge, so another may help it.")
    assert nothing_like(paying(HIGHEST, Choice(0.1)), "More depth pays")


def errors(*shares: float, std: float = 0.005, n: int = 3, rates: int = 5) -> Summary:
    """Residual nets with these training and validation errors over depths, and losses that follow them."""
    nets = []
    for depth, share in zip((5, 10, 20, 50, 100), shares, strict=False):
        loss, low, high = max(share, 1e-4), max(0.0, share - std), share + std
        own = {"train_metric": Mean((low, share, high)[:n]), "best_train_metric": share, "rates": rates}
        nets.append(group("residual", depth, loss, share, std, n=n, **own))
    return summary(*nets)


@pytest.mark.parametrize(
    ("shares", "ends"),
    [
        ((0.30, 0.03, 0.001, 0.0, 0.89), "0.2 ± 0.3 % at depth 50 and 89.0 ± 0.5 % at depth 100"),
        ((0.10, 0.0, 0.01, 0.09), "0.2 ± 0.3 % at depth 10 and 9.0 ± 0.5 % at depth 50"),
    ],
    ids=["only the deepest fails", "the deepest is no worse than the shallowest"],
)
def test_the_deepest_net_is_held_to_the_best_shallower_one(shares, ends):
    assert ends in sentence(errors(*shares), "the degradation problem")


def test_a_depth_between_that_fails_is_told_and_not_blamed_on_depth():
    found = errors(0.0, 0.30, 0.0, 0.0, std=0.0005)
    assert sentence(found, "training error of residual nets") == (
        "The training error of residual nets is not the same at all depths: 0.0 ± 0.0 % at depth 5, 30.0 ± 0.1 % at "
        "depth 10 and 0.0 ± 0.0 % at depth 50. The training loss is not shown to rise with depth."
    )
    assert nothing_like(found, "Depth does not", "Depth makes")
    assert "not the same" not in verdict(errors(0.02, 0.03, 0.02, 0.02)).answers[0], "it may be chance"


def test_how_far_depths_differ_counts_for_less_among_many_pairs_and_rates():
    level = {"train_loss": mean(0.01, 0.001)}

    def found(rates: int) -> Summary:
        nets = errors(0.10, 0.13, 0.12, 0.115, std=0.005, rates=rates).groups
        return summary(*(replace(net, **level) for net in nets))

    assert "is not the same at all depths" in verdict(found(1)).answers[0]
    text = verdict(found(30)).answers[0]
    assert text.endswith(
        "compared to the shallowest net, the deepest may be up to 0.0 points better or 3.1 points worse."
    )
    own = Findings(found(1))
    first, second = own.nets("residual")[:2]
    one, many = (own.change(second, first, "train", among) for among in (1, 100))
    assert one.shown
    assert not many.shown
    assert many.low < one.low < one.high < many.high


def test_the_lesser_chance_of_two_ways_to_rise_counts_twice():
    found = Findings(errors(0.01, 0.01, 0.03, rates=1))
    losses = [
        replace(found.loss_scale.sample(net.train_loss, "train"), least=found._loss_spread)
        for net in found.nets("residual")
    ]
    ways = trend(losses, [math.log(depth) for depth in (5, 10, 20)]), step(losses)
    assert found.ps[Claim("harder", "residual")] == pytest.approx(2 * min(way.p_above() for way in ways))


def test_a_deepest_net_that_gained_nothing_does_not_pay_whatever_the_trend():
    nets = [
        replace(net, depth=depth, validation_metric=mean(error, 0.0005))
        for net, depth, error in zip(errors(0.1, 0.1, 0.1).groups, (5, 90, 100), (0.1, 0.02, 0.101), strict=True)
    ]
    big = {"data": {"sizes": {"train": 50_000, "validation": 50_000, "test": 50_000}}}
    found = Findings(summary(*nets, info=big))
    assert Claim("pays", "residual") in found.shown
    assert found.pays("residual") == "unknown"


def test_the_best_validation_error_is_told_where_it_is_between_the_ends():
    fitted = {"train_loss": mean(0.01, 0.001), "train_metric": mean(0.0), "best_train_metric": 0.0}
    nets = [replace(net, **fitted) for net in errors(0.10, 0.02, 0.05, 0.09).groups]
    text = sentence(summary(*nets), "The validation error")
    assert "from 10.0 % at depth 5 to 9.0 % at depth 50 with residual (lowest: 2.0 % at depth 10)" in text
    assert "(lowest" not in sentence(errors(0.10, 0.09, 0.08, 0.08), "alidation error")


def test_more_depth_does_not_pay_only_if_no_depth_gained():
    """A depth between may have gained what the deepest lost again."""
    big = {"data": {"sizes": {"train": 50_000, "validation": 50_000, "test": 50_000}}}
    level, between = (
        summary(*errors(*shares, std=0.001).groups, info=big) for shares in ((0.1,) * 3, (0.1, 0.07, 0.1))
    )
    assert "more depth does not pay" in sentence(level, "The validation error")
    assert "no gain from more depth is shown, and one of up to 3." in sentence(between, "The validation error")


def test_two_seeds_that_agree_are_no_certainty():
    nets = [
        group("plain", depth, 0.01, n=2, train_metric=Mean((share, share)), best_train_metric=share)
        for depth, share in ((5, 0.0056), (20, 0.0111))
    ]
    text = sentence(summary(*nets), "training error")
    assert text.startswith("2 seeds cannot tell whether depth matters with plain: the training error is 0.6 ± 0.0 %")
    assert nothing_like(summary(*nets), "Depth does not")


def test_seeds_that_agree_by_luck_show_no_difference_where_others_scatter():
    """One seed in three fails: that all of one net's do and none of another's is chance, for all that they agree."""
    lucky, unlucky, mixed = (0.30, 0.31, 0.29), (0.80, 0.81, 0.79), (0.30, 0.80, 0.31)
    rows = {("plain", 5): lucky, ("plain", 20): unlucky, ("residual", 5): mixed, ("residual", 20): mixed}
    nets = []
    for (gate, depth), shares in rows.items():
        own = {name: Mean(shares) for name in ("train_metric", "validation_metric", "test_metric")}
        own["train_loss"] = Mean(tuple(2.3 * share for share in shares))
        nets.append(group(gate, depth, 1.0, best_train_metric=min(shares), rates=1, **own))
    assert not Findings(summary(*nets)).shown
    alone = [net for net in nets if net.gate == "plain"]
    assert Findings(summary(*alone)).shown == {Claim("harder", "plain")}, "where no net scatters, it is no luck"


def test_a_rate_that_lets_the_deeper_net_fit_is_no_degradation():
    found = digits()
    helped = [replace(net, best_train_metric=0.004) if net.depth == 100 else net for net in found.groups]
    assert nothing_like(summary(*helped), "Depth makes", "degradation")
    worse = [replace(net, best_train_metric=0.011) if net.depth == 100 else net for net in found.groups]
    assert "degradation problem" in sentence(summary(*worse), "Depth makes plain")


@pytest.mark.parametrize("claim", [Claim("harder", "plain"), Claim("pays", "residual")], ids=lambda claim: claim.kind)
def test_a_trend_counts_for_less_the_more_rates_it_was_chosen_from(claim):
    nets = digits().groups if claim.kind == "harder" else paying(ONLY, ONLY).groups
    few, many = (Findings(summary(*(replace(net, rates=rates) for net in nets))).ps[claim] for rates in (1, 7))
    assert many == pytest.approx(7 * few)


def test_two_seeds_show_less_than_three():
    assert "Depth makes plain" in sentence(cifar(), "harder to train")
    assert nothing_like(cifar(n=2), "Depth makes", "better than")
    assert "2 seeds cannot tell" in sentence(cifar(n=2), "whether depth matters")
    assert "from 2 seeds, so how much of that is chance cannot be told" in sentence(cifar(n=2), "At depth 56")
    assert sentence(cifar(n=2), "The validation error").endswith("; 2 seeds cannot tell whether more depth pays.")


def test_one_seed_claims_nothing():
    found = cifar(n=1)
    assert Findings(found).ps == {}
    text = sentence(found, "One seed cannot tell whether depth matters with plain and residual")
    assert "69.7 % at depth 20 and 86.1 % at depth 56 with plain" in text
    assert "from 1 seed, so how much of that is chance cannot be told" in sentence(found, "At depth 56")
    assert "one seed cannot tell whether more depth pays" in sentence(found, "The validation error")


def test_depth_that_pays():
    nets = [group("residual", depth, 0.01, error, 0.002) for depth, error in ((20, 0.09), (44, 0.07), (110, 0.05))]
    sizes = {"data": {"sizes": {"validation": 5000, "test": 10_000}}}
    text = sentence(summary(*nets, info=sizes), "More depth pays")
    assert text == (
        "More depth pays: the validation error falls from 9.0 % at depth 20 to 5.0 % at depth 110 with residual."
    )
    level = [replace(net, validation_metric=mean(0.02, 0.002)) for net in nets]
    assert "more depth does not pay, or by less than" in sentence(summary(*level, info=sizes), "The validation error")
    few = {"data": {"sizes": {"validation": 100, "test": 10_000}}}
    assert "one of up to 7.9 points is possible" in sentence(summary(*nets, info=few), "The validation error"), (
        "100 images leave more open"
    )


def test_a_gate_that_is_worse_and_gates_that_are_equal():
    big = {"data": {**INFO["data"], "sizes": {"train": 50_000, "validation": 5_000, "test": 100_000}}}
    pair = [group("plain", 5, 1e-3, 0.02, 0.001), group("residual", 5, 1e-3, 0.05, 0.001)]
    assert "residual is worse than plain" in sentence(summary(*pair, info=big), "At depth 5")
    equal = [pair[0], replace(pair[1], test_metric=mean(0.0201, 0.001))]
    assert "residual and plain differ by less than 0.3 points." in sentence(summary(*equal, info=big), "At depth 5")


def test_without_a_plain_net_the_first_gate_is_what_others_are_compared_with():
    found = [group("residual", 5, 1e-3, 0.30, 0.002), group("highway", 5, 1e-3, 0.05, 0.002)]
    assert "highway is better than residual" in sentence(summary(*found), "At depth 5")


def test_parameters_are_told_where_they_differ():
    nets = [group("plain", 5, 1e-3, parameters=100), group("highway", 5, 1e-3, parameters=120)]
    assert "(parameters: 100 with plain and 120 with highway)" in sentence(summary(*nets), "At depth 5")
    nets[1] = replace(nets[1], parameters=105)
    assert nothing_like(summary(*nets), "(parameters")


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((0.02, 0.03, 0.04), "trains"),
        ((0.84, 0.84, 0.85), "trains"),
        ((0.02, 0.03, 0.87), "some seeds fail"),
        ((0.86, 0.88, 0.9), "at chance"),
    ],
)
def test_states_of_a_net_whose_guess_is_wrong_in_nine_of_ten(errors, kind):
    assert state(group("plain", 5, 1.0, train_metric=Mean(errors)), GUESS) == kind


def test_chance_is_the_best_constant_answers():
    """Of data of which 90 % are one class, a net that says that class has learned nothing."""
    net = group("plain", 50, 0.33, train_metric=mean(0.099, 0.001))
    info = {"data": {**INFO["data"], "guessing": {"loss": 0.33, "error": 0.1}}}
    assert state(net, summary(net, info=info).guessing) == "at chance"
    assert state(net, summary(net).guessing) == "trains", "told nothing of the classes' shares, they count as equal"


def test_a_seed_at_chance_is_told_and_its_net_does_not_count_as_trained():
    nets = [group("residual", 20, 1.0, fitted=0.3), group("residual", 56, 1.2, train_metric=Mean((0.3, 0.3, 0.88)))]
    text = sentence(summary(*nets), "stay at chance level")
    assert text == "Some seeds stay at chance level: 1 of 3 with residual at depth 56."
    assert Findings(summary(*nets)).trained("residual") == nets[:1]


def test_falling_from_88_to_22_percent_is_training():
    nets = [group("plain", depth, 0.1, fitted=error) for depth, error in ((5, 0.0), (50, 0.22))]
    assert nothing_like(summary(*nets), "stop", "chance")
    assert (
        "Depth makes plain nets harder to train"
        in verdict(summary(nets[0], replace(nets[1], train_loss=mean(0.7, 0.05)))).answers[0]
    )


def test_a_net_that_stops_training():
    nets = [
        group("plain", 5, 0.001, fitted=0.0),
        group("plain", 100, 2.3, train_metric=mean(0.89, 0.01), best_train_metric=0.89),
    ]
    text = sentence(summary(*nets), "Depth stops plain nets from training")
    assert "0.0 ± 0.0 % at depth 5 and 89.0 ± 1.0 % at depth 100, hardly better than guessing." in text
    assert nothing_like(summary(*nets), "Hardly better"), "it is said once"


def test_nets_that_guess_do_not_degrade():
    rows = ((20, 2.2, 0.87), (56, 2.3, 0.9))
    nets = [group("plain", depth, loss, 0.9, train_metric=mean(error, 0.001)) for depth, loss, error in rows]
    assert nothing_like(summary(*nets), "Depth makes", "Depth stops", "overfitting")
    assert "Hardly better than guessing is every seed of plain at depth 20 and plain at depth 56" in sentence(
        summary(*nets), "guessing"
    )
    assert nothing_like(summary(*nets), "Depth does not", "cannot tell whether depth")
    assert "nothing here shows that depth is the reason" in sentence(summary(*nets), "No net of this study trains")


def test_divergence_at_every_rate_is_told_with_its_reason():
    found = summary(
        group("plain", 5, 0.01), diverged("plain", 50), group("residual", 5, 0.01), group("residual", 50, 0.01)
    )
    text = sentence(found, "diverged at every learning rate tried")
    assert text == (
        "Training diverged at every learning rate tried with plain at depth 50 (the loss was not finite at step 37)."
    )
    assert nothing_like(found, "overfitting")


def test_one_depth_says_nothing_of_depth():
    found = summary(group("rezero", 20, 0.01, fitted=0.01))
    assert "has one depth, 20: it says nothing of what more or less depth would do" in sentence(found, "one depth")
    assert "At the only depth that is in, training error is 1.0 ± 0.1 % with rezero at depth 20." in sentence(
        found, "only depth that"
    )
    assert nothing_like(found, "plain", "harder")


def test_at_a_depth_without_blocks_gates_are_not_compared():
    nets = [group(gate, 1, 0.3, error, blocks=0) for gate, error in (("plain", 0.05), ("residual", 0.02))]
    deeper = [group(gate, 5, 0.01, blocks=4) for gate in ("plain", "residual")]
    found = summary(*nets, *deeper)
    assert "whatever differs there between gates is not their doing" in sentence(found, "At depth 1 a net has no block")
    assert sentence(found, "the test error is").startswith("At depth 5 the test error")
    assert nothing_like(summary(*deeper), "no block")


def test_unfinished_study_says_how_much_is_in():
    waiting = Group(gate="plain", depth=50, cells=15, finished=7)
    found = summary(group("plain", 5, 0.01, fitted=0.01), group("plain", 20, 0.01, fitted=0.01), waiting)
    assert "37 of 45 trainings are in, and 2 of 3 rows" in sentence(found, "not finished")
    assert "at depth 20" in sentence(found, "training error of plain nets")


def test_failed_trainings_are_named():
    broken = Group(gate="mine", depth=50, cells=15, finished=13, failed=2, reasons=("RuntimeError: no memory",))
    text = sentence(summary(group("mine", 5, 0.01), broken), "failed")
    assert text.startswith("2 trainings failed (mine at depth 50): RuntimeError: no memory.")


def test_nothing_in_says_only_that():
    found = summary(Group(gate="plain", depth=5, cells=15, finished=0))
    (only,) = verdict(found).sentences
    assert "0 of 15 trainings are in" in only


def test_a_study_that_does_not_classify():
    bare = {"train_metric": None, "validation_metric": None, "test_metric": None}
    nets = [replace(group("plain", depth, loss), **bare) for depth, loss in ((5, 0.001), (50, 0.9))]
    found = summary(*nets, info={"data": {}})
    assert "their training loss is 0.0010 at depth 5 and 0.90 at depth 50." in sentence(found, "Depth makes plain")
    assert nothing_like(found, "error", "guessing")


def test_the_rules_say_the_numbers_that_the_findings_use():
    text = " ".join(rules(digits()))
    assert "95 %" in text
    assert "within 1 point" in text
    assert "5 % of studies" in text
    assert ERROR.difference(0.0123) == "1.2 points"
    assert ERROR.difference(0.01, sign=True) == "+1.0 point"


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ((1.3e-4,), "0.00013 with plain"),
        ((250.0,), "250 with plain"),
        ((0.5, 0.0, 0.4), "0 (0 to 0.50 over seeds) with plain"),
        ((1e-3, 1e-3, 1e3), "0.10 (0.0010 to 1,000 over seeds) with plain"),
        ((1e-4, 1e-6), "1e-5 (1e-6 to 0.00010 over seeds) with plain"),
    ],
)
def test_gradient_of_plain_against_residual(ratios, words):
    nets = [group("plain", 100, 0.01, gradient_ratios=ratios), group("residual", 100, 0.01, gradient_ratios=(2.1,))]
    assert sentence(summary(*nets), "Before training") == (
        f"Before training, the gradient at the first block of a net of depth 100 is {words} and 2.1 with residual "
        "times that at the last block."
    )


def test_of_several_reasons_one_is_an_example():
    reasons = ("the loss was not finite at step 37", "the loss was not finite at step 40")
    net = replace(diverged("plain", 50), reasons=reasons)
    assert net.note == "diverged at every learning rate tried; for example: the loss was not finite at step 37"
    assert diverged("plain", 50).note == "diverged at every learning rate tried: the loss was not finite at step 37"
    found = summary(group("plain", 5, 0.01), net)
    assert "plain at depth 50 (for example: the loss was" in sentence(found, "diverged at every")


def test_a_loss_of_training_with_a_healthy_gradient_is_not_blamed_on_it():
    nets = [group("plain", 5, 0.001, fitted=0.0, gradient_ratios=(0.9,))]
    nets += [group("plain", 50, 0.9, fitted=0.4, gradient_ratios=(0.7,))]
    assert "at 0.70 times its size" in sentence(summary(*nets), "not the reason")
    fading = [nets[0], replace(nets[1], gradient_ratios=(50.0, 0.7, 0.02))]
    assert not any("not the reason" in text for text in verdict(summary(*fading)).sentences)


def test_gates_over_depth():
    nets = [
        group("highway", depth, 0.01, transform_start=start, transform_end=end, carry_end=1 - end)
        for depth, start, end in ((5, 0.2, 0.22), (100, 0.01, 0.03))
    ]
    text = sentence(summary(*nets), "T of highway nets")
    assert "0.22 at depth 5 (0.20 at the start) and 0.030 at depth 100 (0.010 at the start)" in text
    assert "3.0 % of what it computes plus 97.0 % of what it was given" in text
    residual = summary(group("residual", 5, 0.01, transform_start=1.0, transform_end=1.0, carry_end=1.0))
    assert not any("T of residual" in text for text in verdict(residual).sentences)
    rezero = summary(group("rezero", 5, 0.01, transform_start=0.0, transform_end=0.3, carry_end=1.0))
    assert "of what it computes" not in sentence(rezero, "T of rezero nets")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00024, "0.00024"),
        (0.69, "0.69"),
        (2875.0, "2,900"),
        (1.3e-9, "1.3e-9"),
        (0.0, "0"),
        (9.96, "10"),
        (None, "–"),
    ],
)
def test_rounded(value, text):
    assert rounded(value) == text


def test_spreads_share_their_means_decimals():
    assert plus_minus(0.69, 0.0432) == "0.69 ± 0.04"
    assert plus_minus(0.00024, 0.00003) == "0.00024 ± 0.00003"
    assert plus_minus(0.00081, 0.0000041) == "0.000810 ± 0.000004"
    assert plus_minus(1.16, None) == "1.2"
    assert percent(0.026, 0.004) == "2.6 ± 0.4 %"
