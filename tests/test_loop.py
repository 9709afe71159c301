"""The training loop against a loop written out by hand, and what it tells its hooks."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from helpers import CLASSES, cross_entropy, dense, digits, error_rate
from skipway.data.images.batches import BatchStream
from skipway.data.images.dataset import ImagePipeline
from skipway.skip.gate import GATES
from skipway.training.evaluate import Scores, evaluate
from skipway.training.loop import Curves, Hook, Row, Training, curve_plan, train
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, stack

RECIPE = Recipe(batch_size=32, schedule="exponential", decay=0.1, warmup_steps=3)


def stream(seeds: Sequence[int], batch_size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    data, preprocess = digits()
    return BatchStream(data.train, preprocess, batch_size=batch_size, seeds=seeds)


def run(
    net: Replicas,
    recipe: Recipe = RECIPE,
    *,
    steps: int = 12,
    rates: Sequence[float] = (0.1,),
    seeds: Sequence[int] = (0,),
    intervals: int = 4,
    hooks: Sequence[Hook] = (),
) -> Curves:
    data, preprocess = digits()
    return train(
        net,
        stream(seeds),
        recipe,
        CLASSES,
        rates=rates,
        steps=steps,
        epoch_steps=10,
        validate=lambda replicas: evaluate(replicas, data.validation, ImagePipeline(preprocess), CLASSES),
        intervals=intervals,
        hooks=hooks,
    )


def test_the_loop_is_the_loop_that_one_would_write():
    data, preprocess = digits()
    net = dense("highway", blocks=2)
    reference = copy.deepcopy(net)
    replicas = stack([net])
    curves = run(replicas)

    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    batches, losses, errors, rows = stream([0]), [], [], []
    for step in range(12):
        x, y = next(batches)
        scores = reference(x[0])
        loss = nn.functional.cross_entropy(scores, y[0])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        learning_rate = 0.1 * ((step + 1) / 4 if step < 3 else 0.1 ** ((step - 3) / 9))
        optimizer.param_groups[0]["lr"] = learning_rate
        optimizer.step()
        losses.append(loss.item())
        errors.append((scores.argmax(1) != y[0]).float().mean().item())
        if step % 3 == 2:
            with torch.no_grad():
                scores = reference(preprocess(data.validation.images))
                rows.append(
                    {
                        "step": step + 1,
                        "epoch": (step + 1) / 10,
                        "learning_rate": learning_rate,
                        "train_loss": sum(losses) / 3,
                        "train_error": sum(errors) / 3,
                        "validation_loss": nn.functional.cross_entropy(scores, data.validation.labels).item(),
                        "validation_error": (scores.argmax(1) != data.validation.labels).float().mean().item(),
                    }
                )
            losses, errors = [], []

    assert len(curves.rows) == 1
    assert len(curves.rows[0]) == len(rows) == 4
    for found, expected in zip(curves.rows[0], rows, strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    for p, q in zip(replicas.member(0).parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gate", GATES)
def test_from_one_seed_a_training_is_the_same_bit_for_bit(gate):
    found = []
    for _ in range(2):
        net = stack([dense(gate, blocks=3, seed=1)])
        torch.manual_seed(5)
        curves = run(net, seeds=[1])
        found.append((curves, [p.detach().clone() for p in net.parameters()]))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(p, q) for p, q in zip(found[0][1], found[1][1], strict=True))


class Log(Hook):
    def __init__(self, name: str, log: list) -> None:
        self.name, self.log = name, log

    def on_start(self, net: Replicas) -> None:
        self.log.append((self.name, "start", float(next(net.parameters()).detach().sum()), net.training))

    def on_interval(self, step: int, steps: int, rows: Sequence[Row]) -> None:
        self.log.append((self.name, step, steps, list(rows)))

    def on_end(self, net: Replicas, step: int) -> None:
        self.log.append((self.name, "end", float(next(net.parameters()).detach().sum()), net.training))


def test_hooks_are_told_of_start_intervals_and_end_in_their_order():
    log: list = []
    net = stack([dense("plain", blocks=2, seed=seed) for seed in (0, 1)])
    before = float(next(net.parameters()).detach().sum())
    curves = run(net, rates=(0.1, 0.01), seeds=(0, 1), hooks=[Log("a", log), Log("b", log)])
    after = float(next(net.parameters()).detach().sum())
    assert [entry[:2] for entry in log] == [
        (name, moment) for moment in ("start", 3, 6, 9, 12, "end") for name in ("a", "b")
    ]
    assert log[0][2:] == (before, True)
    assert log[-1][2:] == (after, True)
    assert before != after
    told = [entry for entry in log if entry[0] == "a" and isinstance(entry[1], int)]
    assert [entry[2] for entry in told] == [12] * 4
    for place in range(2):
        assert [entry[3][place] for entry in told] == curves.rows[place]


def test_hooks_of_one_class_each_get_their_own_state_back():
    class Counts(Hook):
        def __init__(self, start: int = 0) -> None:
            self.value = start

        def state_dict(self) -> dict[str, int]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.value = state["value"]

    def training(hooks: Sequence[Hook]) -> Training:
        net = stack([dense("plain", blocks=1)])
        return Training(net, stream([0]), RECIPE, CLASSES, rates=[0.1], steps=2, hooks=hooks)

    saved = training([Counts(3), Hook(), Counts(5), Counts(7)]).state_dict()
    fresh = [Counts(), Hook(), Counts(), Counts()]
    training(fresh).load_state_dict(saved)
    assert [hook.value for hook in fresh if isinstance(hook, Counts)] == [3, 5, 7]


def test_a_hook_may_leave_out_what_it_does_not_need():
    run(stack([dense("plain", blocks=1)]), hooks=[Hook()])


def test_rows_hold_each_replicas_own_learning_rate():
    net = stack([dense("plain", blocks=1) for _ in range(2)])
    curves = run(net, Recipe(schedule="constant", batch_size=32), rates=(0.1, 0.02), seeds=(0, 0))
    assert [row["learning_rate"] for row in curves.rows[0]] == pytest.approx([0.1] * 4)
    assert [row["learning_rate"] for row in curves.rows[1]] == pytest.approx([0.02] * 4)


@pytest.mark.parametrize(("steps", "intervals", "expected"), [(10, 4, [2, 5, 8, 10]), (3, 3, [1, 2, 3]), (7, 1, [7])])
def test_intervals_are_even_and_end_with_the_training(steps, intervals, expected):
    curves = run(stack([dense("plain", blocks=1)]), steps=steps, intervals=intervals)
    assert [row["step"] for row in curves.rows[0]] == expected


def test_a_curve_has_enough_points_and_costs_a_tenth_of_the_training():
    assert curve_plan(300, 128, 180) == (30, 180)
    assert curve_plan(5, 128, 180) == (5, 180)
    # As many as cost a tenth of the training: 0.3 x 1000 x 100 / 2000, a forward pass being a third of a step.
    assert curve_plan(1000, 100, 2000) == (15, 2000)
    # Eight points on all 5,000 would cost as much as three tenths.
    assert curve_plan(300, 128, 5_000) == (8, 0.3 * 300 * 128 / 8)
    assert curve_plan(20, 16, 5_000) == (8, 500)
    for steps in range(30, 4000, 70):
        points, samples = curve_plan(steps, 128, 5_000)
        assert 8 <= points <= 30
        assert samples <= 5_000
        assert points * samples <= max(8 * 500, 0.3 * steps * 128)


def test_the_first_step_that_was_not_finite_is_remembered():
    """A learning rate that throws the weights out of float32's range with the first step: the second loss tells."""
    net = stack([dense("plain", blocks=2, seed=seed) for seed in (0, 1)])
    curves = run(net, Recipe(schedule="constant", batch_size=32, clip=None), rates=(0.01, 1e38), seeds=(0, 1))
    assert curves.diverged_at == [None, 2]
    assert all(math.isfinite(row["train_loss"]) for row in curves.rows[0])
    assert not math.isfinite(curves.rows[1][-1]["train_loss"])


DIVERGES = Recipe(schedule="constant", batch_size=32, clip=None)


def test_a_training_of_which_nothing_is_left_ends_at_the_next_look():
    log: list = []
    curves = run(stack([dense("plain", blocks=2)]), DIVERGES, rates=(1e38,), steps=5000, hooks=[Log("a", log)])
    assert curves.diverged_at == [2]
    assert curves.steps == 50
    assert [row["step"] for row in curves.rows[0]] == [50]
    assert [entry[1] for entry in log] == ["start", 50, "end"]


def test_a_stack_goes_on_while_one_replica_lives():
    net = stack([dense("plain", blocks=2, seed=seed) for seed in (0, 1)])
    curves = run(net, DIVERGES, rates=(1e38, 0.01), seeds=(0, 1), steps=60)
    assert curves.diverged_at == [2, None]
    assert curves.steps == 60
    assert curves.rows[1][-1]["train_loss"] < 2.3


# -- evaluation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 180, 512])
def test_evaluation_is_exact_for_any_batch_size(batch_size):
    data, preprocess = digits()
    nets = [dense("highway", blocks=2, seed=seed) for seed in (0, 1)]
    found = evaluate(stack(nets), data.validation, ImagePipeline(preprocess), CLASSES, batch_size=batch_size)
    for place, net in enumerate(nets):
        with torch.no_grad():
            scores = net(preprocess(data.validation.images)).double()
        expected = nn.functional.cross_entropy(scores, data.validation.labels)
        assert float(found.loss[place]) == pytest.approx(float(expected), rel=1e-6)
        assert float(found.metric[place]) == float((scores.argmax(1) != data.validation.labels).double().mean())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_uses_evaluation_mode_and_puts_the_mode_back(training):
    data, preprocess = digits()
    net = stack([dense("stochastic-depth", blocks=4)])
    net.train(training)
    first, second = (evaluate(net, data.validation, ImagePipeline(preprocess), CLASSES) for _ in range(2))
    assert torch.equal(first.loss, second.loss)  # in training mode, blocks would drop out at random
    assert all(module.training == training for module in net.modules())


def test_losses_and_errors_are_each_replicas_own():
    torch.manual_seed(0)
    scores, labels = torch.randn(3, 8, 5), torch.randint(5, (3, 8))
    for place in range(3):
        expected = nn.functional.cross_entropy(scores[place], labels[place])
        torch.testing.assert_close(cross_entropy(scores, labels)[place], expected)
        wrong = (scores[place].argmax(1) != labels[place]).float().mean()
        assert error_rate(scores, labels)[place] == wrong


def test_scores_are_named():
    assert Scores(torch.zeros(1), torch.ones(1))._fields == ("loss", "metric")
