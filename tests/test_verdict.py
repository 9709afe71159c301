"""The verdict's sentences on summaries whose right sentence is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skipway.report.findings import differ, pays_until, reach, worse
from skipway.report.numbers import percent, plus_minus, rounded
from skipway.report.summary import Group, Mean, Summary
from skipway.report.verdict import verdict

# The digits study of the papers' notes: depth -> (training loss, test error %, its standard deviation).
DIGITS = {
    "plain": {5: (0.00024, 2.6, 0.4), 20: (0.0027, 4.3, 0.3), 50: (0.69, 34.9, 4.4), 100: (1.16, 55.7, 9.6)},
    "residual": {5: (0.00040, 2.4, 0.6), 20: (0.00043, 2.7, 0.4), 50: (0.00027, 2.9, 0.6), 100: (0.00044, 2.7, 0.7)},
    "highway": {5: (0.0037, 2.0, 0.6), 20: (0.0056, 2.1, 0.4), 50: (0.014, 2.6, 0.7), 100: (0.020, 2.6, 0.8)},
}
INFO = {
    "data": {"name": "digits", "classes": list("0123456789"), "sizes": {"train": 1257, "validation": 180, "test": 360}}
}


def group(gate: str, depth: int, loss: float, error: float = 0.02, std: float | None = 0.004, **more) -> Group:
    n = 3 if std is not None else 1
    spread = {"train_loss": Mean(loss, loss / 10 if std is not None else None, n)}
    errors = {"validation_error": Mean(error, std, n), "test_error": Mean(error, std, n)}
    return Group(
        **{"gate": gate, "depth": depth, "learning_rate": 0.1, "cells": 15, "finished": 15, **spread, **errors, **more}
    )


def summary(*groups: Group, info=INFO) -> Summary:
    return Summary(info=info, groups=groups)


def digits(**changes) -> Summary:
    made = []
    for gate, row in DIGITS.items():
        for depth, (loss, error, std) in row.items():
            wrong = Mean(0.24 if loss > 0.5 else 0.0, 0.01, 3)
            made.append(group(gate, depth, loss, error / 100, std / 100, train_error=wrong, **changes))
    return summary(*made)


def diverged(gate: str, depth: int) -> Group:
    reasons = ("the loss was not finite at step 37",)
    return Group(gate=gate, depth=depth, cells=15, finished=15, diverged=15, every_rate_diverged=True, reasons=reasons)


def sentence(found: Summary, *parts: str) -> str:
    """The one sentence of the verdict that holds all parts."""
    matches = [text for text in verdict(found) if all(part in text for part in parts)]
    assert len(matches) == 1, f"{parts} in {len(matches)} sentences of {verdict(found)}"
    return matches[0]


def test_digits_plain_stops_at_50_and_not_at_20():
    text = sentence(digits(), "plain nets", "stop training")
    assert text == (
        "The plain nets train at depth 20 (training loss 0.0027) but stop training at depth 50: training loss 0.69 "
        "there, 2,900 times the 0.00024 of depth 5; at depth 100 the loss is 1.2."
    )


def test_digits_stop_is_not_overfitting_and_says_how_much_of_the_training_data_is_wrong():
    text = sentence(digits(), "not overfitting")
    assert "With plain, depth makes the error on the training data itself worse: 0.0 ± 1.0 % at depth 5" in text
    assert "24.0 ± 1.0 % at depth 100" in text
    assert "degradation" not in text, "nets that have stopped are worse off than that"
    assert "With residual it does not: 0.0 ± 1.0 %" in sentence(digits(), "With residual")


def test_digits_skips_go_on_to_the_deepest():
    assert "go on to depth 100, the deepest studied: training loss 0.00044" in sentence(digits(), "The residual nets")
    assert "go on to depth 100, the deepest studied: training loss 0.020" in sentence(digits(), "The highway nets")


def test_digits_shallow_nets_gain_nothing_and_deep_ones_do():
    shallow = sentence(digits(), "At depth 5, where plain trains too")
    assert shallow.endswith("no difference beyond the spread of 3 seeds.")
    assert "2.6 ± 0.4 % with plain, 2.4 ± 0.6 % with residual and 2.0 ± 0.6 % with highway" in shallow
    deep = sentence(digits(), "At depth 100, where the plain nets no longer train, test errors are 55.7 ± 9.6 %")
    assert deep.endswith("residual and highway are better than plain beyond the spread of 3 seeds.")


def test_nets_that_stopped_are_not_tested_for_a_difference():
    """Their seeds end so far apart that a test on three of them would call 41 % and 1 % the same."""
    nets = [group("plain", 5, 0.001), group("residual", 5, 0.001)]
    nets += [group("plain", 50, 0.86, 0.414, 0.193), group("residual", 50, 0.001, 0.013, 0.002)]
    text = sentence(summary(*nets), "At depth 50")
    assert text.endswith("test errors are 41.4 ± 19.3 % with plain and 1.3 ± 0.2 % with residual.")


def test_a_real_gain_of_the_shallow_net_is_said():
    found = summary(group("plain", 5, 1e-3, 0.05, 0.002), group("residual", 5, 1e-3, 0.02, 0.002))
    assert sentence(found, "At depth 5").endswith("residual is better than plain beyond the spread of 3 seeds.")
    found = summary(group("plain", 5, 1e-3, 0.02, 0.002), group("residual", 5, 1e-3, 0.05, 0.002))
    assert sentence(found, "At depth 5").endswith("residual is worse than plain beyond the spread of 3 seeds.")


def test_digits_say_where_depth_stops_paying():
    text = sentence(digits(), "More depth stops paying")
    assert "depth 5 with plain (validation error 2.6 %), residual (validation error 2.4 %)" in text
    assert "highway (validation error 2.0 %)" in text


def test_depth_that_still_pays():
    nets = [group("residual", depth, 0.01, error, 0.002) for depth, error in ((20, 0.09), (44, 0.07), (110, 0.05))]
    assert "depth 110 with residual (validation error 5.0 %)" in sentence(summary(*nets), "still pays")
    assert pays_until(summary(*nets), "residual") is nets[2]
    level = replace(nets[2], validation_error=Mean(0.069, 0.002, 3))
    assert pays_until(summary(nets[0], nets[1], level), "residual") is nets[1]
    assert "depth 44 with residual" in sentence(summary(*nets[:2], level), "stops paying")


def test_one_seed_is_called_one_seed():
    nets = [group(gate, depth, 0.01, 0.02, None) for gate in ("plain", "residual") for depth in (5, 20)]
    assert "from a single seed" in sentence(summary(*nets), "At depth 5,")
    assert not any("paying" in text or "still pays" in text for text in verdict(summary(*nets)))


def cifar(std: float | None = 0.006, **late) -> Summary:
    """A short study on CIFAR-10 of the nets of He et al.: training errors of 300 steps."""
    errors = {("plain", 20): 0.69, ("plain", 56): 0.82, ("residual", 20): 0.63, ("residual", 56): 0.70}
    errors |= {("highway", 20): 0.65, ("highway", 56): 0.64}
    n = 3 if std else 1
    nets = [
        replace(
            group(gate, depth, 1.0, error - 0.2, std, train_error=Mean(error, std, n)),
            train_loss=Mean(2.8 * error - 0.1, 0.02 if std else None, n),
            **late.get(f"{gate}_{depth}", {}),
        )
        for (gate, depth), error in errors.items()
    ]
    return summary(*nets)


def test_degradation_shows_in_the_training_error():
    """Plain-56 trains, but fits its training data worse than plain-20; residual-56 by less, highway-56 not at all."""
    text = sentence(cifar(), "still train at depth 56", "plain")
    assert "but worse than at depth 20: training loss 2.2 against 1.8" in text
    text = sentence(cifar(), "With plain, depth makes the error on the training data itself worse")
    assert "worse: 69.0 ± 0.6 % at depth 20, 82.0 ± 0.6 % at depth 56." in text
    assert "that is the degradation problem, not overfitting" in text
    text = sentence(cifar(), "With residual")
    assert "it gets worse too, but by less: 63.0 ± 0.6 % at depth 20, 70.0 ± 0.6 % at depth 56" in text
    assert "(7.0 points against 13.0 with plain)" in text
    assert "With highway it does not: 65.0 ± 0.6 % at depth 20, 64.0 ± 0.6 % at depth 56." in text


def test_degradation_from_one_seed_says_so():
    text = sentence(cifar(None), "the degradation problem")
    assert "82.0 % at depth 56 (one seed, so how much of that is chance cannot be told)" in text


def test_degradation_within_the_spread_of_the_seeds_is_none():
    assert not any("depth makes" in text for text in verdict(cifar(0.12)))


def test_degradation_that_only_the_last_batches_show():
    """Final weights whose error scatters, as after a few hundred steps with batch norm; the batches' does not."""
    late = {
        f"plain_{depth}": {
            "train_error": Mean(0.8, 0.1, 3),
            "late_error": Mean(error, 0.01, 3),
            "late_steps": 50,
        }
        for depth, error in ((20, 0.69), (56, 0.82))
    }
    found = cifar(**late)
    found = summary(*(net for net in found.groups if net.gate == "plain"))
    text = sentence(found, "the degradation problem")
    assert "the error on the training batches of the last 50 steps worse: 69.0 ± 1.0 % at depth 20" in text


def test_nets_that_guess_do_not_degrade():
    nets = [group("plain", depth, 2.3, 0.9, None, train_error=Mean(error)) for depth, error in ((20, 0.87), (56, 0.9))]
    assert not any("depth makes" in text for text in verdict(summary(*nets)))


def test_unequal_spreads_do_not_hide_that_every_seed_does_worse():
    """Depth makes nets scatter, which makes a t test on three of them half blind; ranks are not."""
    shallow, deep = Mean(0.69, 0.01, 3, low=0.68, high=0.70), Mean(0.82, 0.08, 3, low=0.74, high=0.90)
    assert differ(deep, shallow) is False
    assert worse(deep, shallow, least=0.01)
    assert not worse(replace(deep, low=0.69), shallow, least=0.01)
    assert not worse(shallow, deep, least=0.01)


def test_nets_at_chance_do_not_train_even_without_a_shallower_one():
    found = summary(group("plain", 100, 2.30, 0.9, train_error=Mean(0.89, 0.01, 3)))
    text = sentence(found, "The plain nets")
    assert "do not train at depth 100, the only depth studied: they get 89.0 % of their training data wrong" in text
    assert not any("overfitting" in text for text in verdict(found))


def test_divergence_is_a_stop_with_its_reason():
    found = summary(
        group("plain", 5, 0.01), diverged("plain", 50), group("residual", 5, 0.01), group("residual", 50, 0.01)
    )
    text = sentence(found, "The plain nets")
    assert "stop training at depth 50: they diverged at every learning rate: the loss was not finite at step 37" in text
    assert "plain gives no net at all" in sentence(found, "At depth 50")
    assert not any("overfitting" in text for text in verdict(found))


def test_everything_diverged():
    found = summary(diverged("mine:strength=2", 5), diverged("mine:strength=2", 50))
    text = sentence(found, "The mine:strength=2 nets")
    assert "do not train at any depth: at depth 5 and 50 they diverged at every learning rate" in text
    assert "nothing here shows that depth is the reason" in sentence(found, "No net of this study trains")
    assert not any("stop" in text for text in verdict(found))


def test_one_depth_at_which_nothing_trains_is_not_where_anything_stops():
    nets = [
        diverged("plain", 50),
        group("residual", 50, 2.30, 0.9, train_error=Mean(0.89, 0.01, 3), gradient_ratio=1.0),
    ]
    found = summary(*nets)
    assert "do not train at depth 50, the only depth studied: they diverged" in sentence(found, "The plain nets")
    text = sentence(found, "The residual nets", "the only depth studied")
    assert "do not train at depth 50, the only depth studied: they get 89.0 %" in text
    assert "0 times its size" in sentence(found, "not the reason"), "said of the net that did not diverge"
    assert "has one depth, 50: it says nothing of what more or less depth would do" in sentence(found, "one depth")
    assert not any("stop" in text or "overfitting" in text for text in verdict(found))


def test_one_depth_at_which_plain_does_not_train_is_compared_all_the_same():
    nets = [group("plain", 50, 2.30, 0.9, train_error=Mean(0.89, 0.01, 3)), group("residual", 50, 0.01)]
    text = sentence(summary(*nets), "where the plain nets do not train, test errors are")
    assert text.endswith("residual is better than plain beyond the spread of 3 seeds.")


def test_at_a_depth_without_blocks_gates_are_not_compared():
    nets = [group(gate, 1, 0.3, error, blocks=0) for gate, error in (("plain", 0.05), ("residual", 0.02))]
    deeper = [group(gate, 5, 0.01, blocks=4) for gate in ("plain", "residual")]
    found = summary(*nets, *deeper)
    assert "whatever differs there between gates is not their doing" in sentence(found, "At depth 1 a net has no block")
    assert not any("At depth 1, where plain trains too" in text for text in verdict(found))
    assert sentence(found, "test errors are").startswith("At depth 5, where plain trains too")
    assert not any("no block" in text for text in verdict(summary(*deeper)))


def test_a_deeper_net_that_trains_again_is_not_hidden():
    nets = [group("plain", 5, 0.001), group("plain", 20, 1.2), group("plain", 50, 0.002)]
    assert sentence(summary(*nets), "Not every deeper").endswith("at depth 50 they train.")
    found = reach(summary(*nets), "plain")
    assert [net.depth for net in found.trained] == [5, 50]
    assert found.deepest is nets[0]


def test_unfinished_study_says_how_much_is_in():
    waiting = Group(gate="plain", depth=50, cells=15, finished=7)
    found = summary(group("plain", 5, 0.01), group("plain", 20, 0.01), waiting)
    assert "37 of 45 trainings are in, and 2 of 3 rows" in sentence(found, "not finished")
    assert "go on to depth 20, the deepest that is in" in sentence(found, "The plain nets")


def test_failed_trainings_are_named():
    broken = Group(gate="mine", depth=50, cells=15, finished=13, failed=2, reasons=("RuntimeError: no memory",))
    text = sentence(summary(group("mine", 5, 0.01), broken), "failed")
    assert text.startswith("2 trainings failed (mine at depth 50): RuntimeError: no memory.")


def test_nothing_in_says_only_that():
    found = summary(Group(gate="plain", depth=5, cells=15, finished=0))
    assert verdict(found) == [text for text in verdict(found) if "0 of 15 trainings are in" in text] != []


def test_one_depth_and_one_gate():
    found = summary(group("rezero", 20, 0.01))
    assert "train at depth 20" in sentence(found, "The rezero nets")
    assert not any("plain" in text for text in verdict(found))


def test_a_study_that_does_not_classify():
    bare = {"train_error": None, "validation_error": None, "test_error": None}
    nets = [replace(group("plain", depth, loss), **bare) for depth, loss in ((5, 0.001), (50, 0.9))]
    found = summary(*nets, info={"data": {}})
    assert "stop training at depth 50" in sentence(found, "The plain nets")
    assert sentence(found, "not overfitting").endswith("does worse on what it is trained on.")
    assert not any("error" in text for text in verdict(found))
    assert not any("guessing" in text for text in verdict(found))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.3e-4, "fades to 1 part in 7,700 with plain"),
        (250.0, "grows 250-fold with plain"),
        (0.0, "vanishes entirely"),
    ],
)
def test_gradient_of_plain_against_residual(ratio, words):
    nets = [group("plain", 100, 0.01, gradient_ratio=ratio), group("residual", 100, 0.01, gradient_ratio=2.1)]
    text = sentence(summary(*nets), "Before training")
    assert words in text
    assert "keeps its size within a factor of ten with residual (2.1 times)" in text


def test_a_stop_with_a_healthy_gradient_is_not_blamed_on_it():
    nets = [group("plain", 5, 0.001, gradient_ratio=0.9), group("plain", 50, 0.9, gradient_ratio=0.7)]
    assert "0.70 times its size" in sentence(summary(*nets), "not the reason")
    fading = [nets[0], replace(nets[1], gradient_ratio=1e-4)]
    assert not any("not the reason" in text for text in verdict(summary(*fading)))


def test_gates_over_depth():
    nets = [
        group("highway", depth, 0.01, transform_start=start, transform_end=end, carry_end=1 - end)
        for depth, start, end in ((5, 0.2, 0.22), (100, 0.01, 0.03))
    ]
    text = sentence(summary(*nets), "the gates of highway")
    assert "0.22 at depth 5 (before it, 0.20) and 0.030 at depth 100 (before it, 0.010)" in text
    assert "3.0 % its own work and 97.0 % what it was given" in text
    residual = summary(group("residual", 5, 0.01, transform_start=1.0, transform_end=1.0, carry_end=1.0))
    assert not any("gates of" in text for text in verdict(residual))
    rezero = summary(group("rezero", 5, 0.01, transform_start=0.0, transform_end=0.3, carry_end=1.0))
    assert "its own work" not in sentence(rezero, "the gates of rezero")


def test_differ_needs_more_from_fewer_seeds():
    assert differ(Mean(0.05, 0.01, 3), Mean(0.03, 0.01, 3)) is False
    assert differ(Mean(0.05, 0.01, 30), Mean(0.03, 0.01, 30)) is True
    assert differ(Mean(0.05, None, 1), Mean(0.03, 0.01, 3)) is None
    assert differ(Mean(0.0300, 0.0, 3), Mean(0.0300 + 1 / 360, 0.0, 3), grain=1 / 360) is False  # one image of 360


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
