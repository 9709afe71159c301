"""Replicas of anybody's nets: `Mapped` against each net alone through the real loop, trials, and studies that use them.

Tolerances as in tests/test_replicas.py: 64 u x steps x growth, for sums of up to 64 terms here as well.
"""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import nn

import skipway as sw
from helpers import CLASSES, stacks_of
from skipway.nets.factory import use
from skipway.rundir.integrity import read_run
from skipway.runs.fit import Resources, train_nets
from skipway.skip.as_found import as_found
from skipway.studies import trials
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Plan, checked
from skipway.studies.runner import run_study
from skipway.studies.trials import Trials
from skipway.training.execution import Execution
from skipway.training.mapped import Mapped
from skipway.training.mapped_trial import speed_up, why_not_mapped
from skipway.training.optim import make_update
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas, Single

STEPS, RATES = 12, (0.01, 0.03, 0.1)


class Layer(nn.Module):
    """Of somebody's own: nothing tells what it does to a leading dimension."""

    def __init__(self, width: int = 12, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(width, width), nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.linear(x).tanh())


def mlp(dropout: float = 0.0) -> nn.Module:
    blocks = sw.skip_row("highway", [Layer(dropout=dropout) for _ in range(3)])
    return nn.Sequential(nn.Linear(10, 12), *blocks, nn.Linear(12, 3))


class Conv(nn.Module):
    """Reshapes and means that a leading dimension would spoil, batch norms, a weight in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6, momentum=0.3)])
        self.again = self.second
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.norms[0](self.first(x)).tanh()
        x = x + self.norms[1](self.second(x)).tanh()
        return self.head((x + self.again(x)).mean((2, 3)).reshape(len(x), 6))


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, 10), nn.Linear(10, 10), nn.Linear(10, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).tanh())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Cell(nn.Module):
    """An LSTM written by hand, of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.head = nn.Linear(4 + 6, 4 * 6), nn.Linear(6, 3)

    def forward(self, x):
        h = c = x.new_zeros(len(x), 6)
        for step in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([step, h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


class Counts(nn.Module):
    """What it keeps it assigns anew, and never changes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 3)
        self.register_buffer("mean", torch.zeros(10))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.linear(x - self.mean)


class Decides(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 3)

    def forward(self, x):
        y = self.linear(x)
        return y if y.mean() > 0 else -y


class Rolls(nn.Module):
    """Draws from Python's generator, which torch knows nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 3)

    def forward(self, x):
        return self.linear(x) * random.random()


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.head = nn.Linear(10, 10), nn.Linear(10, 3)
        self.linear.weight.requires_grad_(False)

    def forward(self, x):
        return self.head(self.linear(x).tanh())


class Hooked(nn.Module):
    """Its layer learns twice as fast, by a hook."""

    def __init__(self, post: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(10, 3)
        if post:
            self.linear.weight.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(2))
        else:
            self.linear.weight.register_hook(lambda gradient: 2 * gradient)

    def forward(self, x):
        return self.linear(x)


class Spare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.spare = nn.Linear(10, 3), nn.Linear(10, 3)

    def forward(self, x):
        return self.head(x)


SHAPES = {Conv: (2, 4, 4), Recurrent: (5, 4), Cell: (5, 4)}
EXACT = [mlp, Conv, Cell, Tied]


def batches(make, count: int, size: int = 8, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shape = SHAPES.get(make, (10,))
    return [
        (torch.randn(size, *shape, generator=generator, dtype=dtype), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def nets_of(make, dtype=torch.float64) -> list[nn.Module]:
    made = []
    for seed in range(len(RATES)):
        torch.manual_seed(seed)
        made.append(make().to(dtype))
    return made


def trained(net: Replicas, make, rates, recipe: Recipe) -> Replicas:
    """Trained by the update that the loop takes, on batches that differ from replica to replica by their order."""
    update = make_update(net, recipe)
    dtype = next(net.parameters()).dtype
    for x, y in batches(make, STEPS, dtype=dtype):
        inputs, targets = (t.expand(net.count, *t.shape) for t in (x, y))
        CLASSES.losses(net(inputs), targets).mean(1).sum().backward()
        update.step(torch.tensor(rates))
    return net


@pytest.mark.parametrize(
    "recipe",
    [Recipe(), Recipe(optimizer="adamw", clip=None), Recipe(nesterov=True, weight_decay=1e-3)],
    ids=["sgd", "adamw", "nesterov"],
)
@pytest.mark.parametrize("make", EXACT)
def test_a_mapped_replica_trains_as_it_would_alone(make, recipe):
    nets = nets_of(make)
    together = trained(Mapped(copy.deepcopy(nets)), make, RATES, recipe)
    # AdamW divides by gradients near zero. (Its decay has the precision of the rates, float32, in a stack.)
    tolerance = 1e-11 if recipe.optimizer == "sgd" else 1e-8
    for index, (net, rate) in enumerate(zip(nets, RATES, strict=True)):
        alone = trained(Single(copy.deepcopy(net)), make, [rate], recipe).net.state_dict()
        found = together.member(index).state_dict()
        assert list(found) == list(alone)
        for name, expected in alone.items():
            torch.testing.assert_close(found[name], expected, rtol=tolerance, atol=tolerance, msg=name)
            assert not torch.equal(expected, net.state_dict()[name]), f"{name} was not trained"


@pytest.mark.parametrize("make", EXACT)
def test_these_pass_the_trial(make):
    net = nets_of(make, torch.float32)[0]
    before = copy.deepcopy(net.state_dict())
    drawn = torch.get_rng_state()
    assert why_not_mapped(net, batches(make, 3), CLASSES.losses) is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(0.5), "it draws random numbers, as dropout does"),
        (Recurrent, "mapped over replicas it raises RuntimeError: Batching rule not implemented for aten::lstm"),
        (Counts, "its buffer mean changes otherwise than alone"),
        (Decides, "mapped over replicas it raises RuntimeError"),
        (Rolls, "its outputs differ from those alone"),
        (Frozen, "linear.weight is not trained"),
        (Spare, "spare.weight gets no gradient"),
        (Hooked, "linear.weight has hooks, which replicas would not call"),
        (lambda: Hooked(post=True), "linear.weight has hooks, which replicas would not call"),
        (lambda: sw.skip_row("stochastic-depth", [nn.Linear(10, 10) for _ in range(3)]), "a gate of it draws random"),
        (lambda: nn.Sequential(nn.Linear(10, 10).double(), nn.Linear(10, 3)), "its parameters are of several types"),
    ],
    ids=[
        "dropout",
        "lstm",
        "assigned buffer",
        "branch",
        "python's dice",
        "frozen",
        "spare",
        "hook",
        "post hook",
        "gate",
        "types",
    ],
)
def test_these_do_not_and_the_reason_says_why(make, words):
    assert why_not_mapped(make(), batches(make, 3), CLASSES.losses).startswith(words)


def test_a_mapping_that_mixes_replicas_up_is_noticed(monkeypatch):
    forward = Mapped.forward
    monkeypatch.setattr(Mapped, "forward", lambda self, x: forward(self, x).flip(0))
    assert why_not_mapped(mlp(), batches(mlp, 3), CLASSES.losses) == "its outputs differ from those alone"


def test_a_gradient_that_reaches_another_replica_is_noticed(monkeypatch):
    def leaks(self, x):
        outputs = forward(self, x)
        return outputs + (outputs - outputs.detach()).flip(0)

    forward = Mapped.forward
    monkeypatch.setattr(Mapped, "forward", leaks)
    assert why_not_mapped(mlp(), batches(mlp, 3), CLASSES.losses).startswith("the gradient of")


# --- studies ---------------------------------------------------------------------------------------------------------

RECIPE = Recipe(learning_rates=(0.01, 0.03), steps=120, batch_size=32)


def own(depth, gate, specification):
    hidden = sw.skip_row(gate, [Layer() for _ in range(depth)])
    return nn.Sequential(nn.Linear(10, 12), hidden, nn.BatchNorm1d(12), nn.Linear(12, specification.outputs))


def dropping(depth, gate, specification):
    return nn.Sequential(own(depth, gate, specification), nn.Dropout(0.1))


def asked(make, **changes) -> StudyConfig:
    data = sw.load(load_diabetes(return_X_y=True)).request.data
    config = StudyConfig(net=use(make), data=data, gates=("residual",), depths=(2,), seeds=(0, 1), recipe=RECIPE)
    return checked(replace(config, task="regression", search="grid", **changes))


@pytest.fixture
def pays(monkeypatch):
    """Replicas are said to be twice as fast, whatever this machine does meanwhile."""
    monkeypatch.setattr(trials, "speed_up", lambda *args: 2.0)


def test_a_study_of_somebodys_nets_trains_replicas_and_says_so(pays, tmp_path):
    study = run_study(asked(own), tmp_path / "together", workers=1)
    assert study.info()["status"] == "done"
    ids = {cell["id"] for cell in study.info()["cells"]}
    for run in study.runs():
        info = read_run(run)
        assert info["choices"]["mapped"]
        assert set(info["choices"]["stack"]) == ids
        assert info["choices"]["why"] == "4 replicas as one computation are 2.00 times as fast as one after another"
        assert (info["computed"]["mapped"], info["computed"]["replicas"]) == (True, 4)
    (decided,) = study.info()["choices"]["replicas"].values()
    assert (decided["replicas"], decided["mapped"]) == (4, True)


def test_the_numbers_are_those_of_one_after_another(pays, monkeypatch, tmp_path):
    together = run_study(asked(own), tmp_path / "together", workers=1)
    monkeypatch.setattr(trials, "speed_up", lambda *args: 0.5)
    alone = run_study(asked(own), tmp_path / "elsewhere" / "alone", workers=1)
    for run in alone.runs():
        info, other = run.info(), together.run(run.id).info()  # of the same name
        assert "mapped" not in info["computed"]
        assert info["computed"]["replicas"] == 1
        assert info["choices"]["why"] == "4 replicas as one computation are 0.50 times as fast as one after another"
        for name in ("train_loss", "validation_loss", "train_rmse"):
            # 32 terms, 120 steps in single precision: 32 x 120 x 6e-8 = 2e-4, and smooth nets.
            assert other["metrics"][name] == pytest.approx(info["metrics"][name], rel=1e-3)
        for ours, theirs in zip(run.probes(), together.run(run.id).probes(), strict=True):
            assert ours["name"] == theirs["name"]
            if ours["moment"] == "start":  # each net is measured by itself: no rounding, either
                assert ours == theirs
        weights, others = (sw.load_net(r.path, net=own_again).net for r in (run, together.run(run.id)))
        for name, tensor in weights.state_dict().items():
            torch.testing.assert_close(others.state_dict()[name], tensor, rtol=1e-2, atol=1e-3, msg=name)


def own_again(depth, gate):
    """The net as a saved run tells it: without the data."""
    hidden = sw.skip_row(gate, [Layer() for _ in range(depth)])
    return nn.Sequential(nn.Linear(10, 12), hidden, nn.BatchNorm1d(12), nn.Linear(12, 1))


def test_what_draws_is_trained_one_after_another_and_the_record_says_why(tmp_path):
    study = run_study(asked(dropping), tmp_path, workers=1)
    for run in study.runs():
        choices = run.info()["choices"]
        assert not choices["mapped"]
        assert choices["stack"] == [run.id]
        assert choices["why"].startswith("it draws random numbers, as dropout does")


def test_a_study_that_is_started_again_goes_by_what_was_decided(pays, monkeypatch, tmp_path):
    study = run_study(asked(own), tmp_path, workers=1)

    def again(*args):
        raise AssertionError("it was decided before")

    monkeypatch.setattr(trials, "speed_up", again)
    monkeypatch.setattr(trials, "why_not_mapped", again)
    larger = run_study(asked(own, seeds=(0, 1, 2)), tmp_path, workers=1)
    assert larger.info()["status"] == "done"
    assert len(list(larger.runs())) == 6
    assert larger.info()["choices"]["replicas"] == study.info()["choices"]["replicas"]


@pytest.mark.parametrize(
    ("changes", "recompute", "why"),
    [
        ({"recipe": replace(RECIPE, steps=3)}, False, "the trainings are too short to earn a trial of replicas"),
        ({}, True, "blocks are computed again, which replicas cannot be"),
        ({"seeds": (0,), "recipe": replace(RECIPE, learning_rates=(0.01,))}, False, None),
    ],
)
def test_where_no_trial_is_made(changes, recompute, why, monkeypatch):
    monkeypatch.setattr(trials, "why_not_mapped", lambda *args: pytest.fail("it was tried"))
    config = asked(own, **changes)
    plan = Plan.of(config, sw.load(config.data, task="regression"))
    ways = Trials(torch.device("cpu"), recompute=recompute)
    assert {(s.mapped, s.why, len(s.cells)) for s in stacks_of(plan, ways)} == {(False, why, 1)}


def test_a_mapped_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    from skipway.training.checkpoint import Checkpoints
    from skipway.training.loop import Hook

    class Stops(Hook):
        def on_step(self, training) -> None:
            if training.step == 7:
                raise KeyboardInterrupt

    config = asked(own)
    data = sw.load(config.data, task="regression")
    plan = Plan.of(config, data)
    cells = [cell for stack in stacks_of(plan) for cell in stack.cells]

    def fit(*hooks, **resources):
        seeds, rates = ([getattr(cell, name) for cell in cells] for name in ("seed", "learning_rate"))
        given = Resources(asked=Execution(mapped=True), **resources)
        nets = [plan.build(cell) for cell in cells]
        return train_nets(nets, data, plan.task, config.recipe, seeds=seeds, rates=rates, resources=given, hooks=hooks)

    whole = fit()
    kept = {"checkpoints": Checkpoints(tmp_path, ("a",)), "seconds_between_checkpoints": 0.0}
    with pytest.raises(KeyboardInterrupt):
        fit(Stops(), **kept)
    rest = fit(**kept)
    assert rest.metrics[0]["train_loss"] == whole.metrics[0]["train_loss"]
    for one, other in zip(whole.nets, rest.nets, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def by_own_mean(outputs, targets):
    """A loss that takes the mean of its batch, over replicas too where their batches are one."""
    wrong = nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    return (wrong - wrong.mean()) ** 2


def test_the_trial_gives_each_net_batches_of_its_own():
    """With one batch for all, what is summed over replicas may look like what is not."""
    seen = []

    def losses(outputs, targets):
        seen.append(targets)
        return CLASSES.losses(outputs, targets)

    assert why_not_mapped(nets_of(Conv)[0], batches(Conv, 3), losses) is None
    together = [targets for targets in seen if len(targets) == 2]
    assert len(together) == 3
    assert all(not torch.equal(*targets) for targets in together)
    assert why_not_mapped(nets_of(Conv)[0], batches(Conv, 3), by_own_mean) is not None


class Stashes(Layer):
    def forward(self, x):
        self.last = super().forward(x).detach()
        return super().forward(x)


def test_mapped_nets_that_keep_what_they_computed_stay_as_they_were():
    """What they keep is a tensor of the mapping, which nobody can read after it."""
    net = Mapped([Stashes(), Stashes()])
    net(torch.randn(2, 3, 12))
    before = net.net.last
    with as_found(net.net):
        net.net.eval()
        net(torch.randn(2, 3, 12))
        assert net.net.last is not before
    assert net.net.last is before
    assert net.net.training


def test_speed_is_measured_on_copies():
    nets = nets_of(Conv, torch.float32)
    before = copy.deepcopy([net.state_dict() for net in nets])
    assert speed_up(nets, batches(Conv, 1)[0], CLASSES.losses) > 0
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
