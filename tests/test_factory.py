"""Nets of one's own: a function, a file, a module. What a study rests on is checked before anything is trained."""

from __future__ import annotations

import copy
import functools
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import skipway as sw
from helpers import CLASSES, digits, stacks_of
from skipway.anatomy.skips import find_skips
from skipway.batch.specification import Specification, TensorSpec
from skipway.cli.main import main
from skipway.cli.own import use_net
from skipway.data.images.dataset import ImagePipeline
from skipway.data.load import load
from skipway.nets.factory import FUNCTIONS, factory, use
from skipway.report.summary import summarise
from skipway.report.table import columns
from skipway.report.verdict.sentences import verdict
from skipway.runs.config import RunConfig
from skipway.runs.fit import draws_of
from skipway.runs.plan import plan_run
from skipway.skip.as_found import as_found
from skipway.skip.gate import GATES
from skipway.studies.config import StudyConfig
from skipway.studies.grid import Cell, Plan, checked
from skipway.studies.planned import default_out
from skipway.studies.runner import run_study
from skipway.tasks.make import make_task, use_loss
from skipway.training.evaluate import evaluate
from skipway.training.recipe import Recipe
from skipway.training.replicas import Single

RECIPE = Recipe(learning_rates=(0.1,), steps=4, batch_size=32)
SOURCE = """
from torch import nn
import skipway as sw


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return self.linear(x).relu()


def mlp(depth, gate, specification, width=8):
    blocks = sw.skip_row(gate, [Block(width) for _ in range(depth)])
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *blocks, nn.Linear(width, specification.outputs))
"""


def mlp(depth: int, gate: str, width: int = 8) -> nn.Module:
    bodies = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *sw.skip_row(gate, bodies), nn.Linear(width, 10))


def study(make, **changes) -> StudyConfig:
    config = StudyConfig(net=use(make), gates=("plain", "residual"), depths=(2, 4), seeds=(0,), recipe=RECIPE)
    return replace(config, **changes)


def test_a_function_is_one_net_by_file_by_module_and_from_python(tmp_path, monkeypatch):
    (tmp_path / "nets_found_twice.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    specs = ["nets_found_twice:mlp", str(tmp_path / "nets_found_twice.py") + ":mlp"]
    for spec in specs:
        use_net(spec)
    monkeypatch.syspath_prepend(str(tmp_path))
    specs.append(use(importlib.import_module("nets_found_twice").mlp, "somewhere.else:mlp"))
    ids = {plan_run(RunConfig(net=spec, gate="plain", depth=2, recipe=RECIPE)).id for spec in specs}
    assert len(ids) == 1


def test_a_loss_of_ones_own_is_known_by_its_code_and_not_by_its_module():
    def squared(outputs, targets):
        return ((outputs - nn.functional.one_hot(targets, 10)) ** 2).mean(1)

    ids = []
    for module in ("here", "there"):
        squared.__module__ = module
        config = RunConfig(net="residual-dense-3", task=use_loss(squared), recipe=RECIPE)
        ids.append(plan_run(config).id)
    assert ids[0] == ids[1]


def test_from_python_a_function_is_a_net(tmp_path):
    def make(depth, gate):
        return mlp(depth, gate)

    found = sw.study(
        net=make, gates="residual", depths=[2, 4], seeds=0, learning_rates=0.1, recipe=RECIPE, out=tmp_path, workers=1
    )
    assert found.info()["status"] == "done"
    run = found.run(found.info()["cells"][0]["id"])
    saved = sw.load_net(run.path, net=make)
    scores = saved.net.eval()(torch.zeros(2, 64))
    assert scores.shape == (2, 10)
    with pytest.raises(ValueError, match="give that function again"):
        sw.load_net(run.path)


def deep(depth):
    layers = [layer for _ in range(depth) for layer in (nn.Linear(8, 8), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *layers, nn.Linear(8, 10))


def test_what_a_function_does_not_take_is_not_varied_and_that_is_said(tmp_path, caplog):
    found = run_study(study(deep, gates=("plain", "highway")), tmp_path, workers=1)
    assert {cell["gate"] for cell in found.info()["cells"]} == {"own"}
    assert f"the net {use(deep)} takes no gate, so plain and highway were not varied" in caplog.text
    said = " ".join(verdict(summarise(found)).sentences)
    assert "The net takes no gate, so gates were not varied" in said
    assert "has no block" not in said


def test_a_run_is_loaded_by_its_path_or_itself_and_other_code_is_told(tmp_path, caplog):
    def make(depth, gate):
        return mlp(depth, gate)

    def edited(depth, gate):
        net = mlp(depth, gate)
        net.append(nn.Tanh())
        return net

    found = run_study(study(make, depths=(2,)), tmp_path / "study", workers=1)
    assert sw.Study(str(found.path)) == found
    run = next(sw.Study(str(found.path)).runs())
    assert sw.Run(str(run.path)).info() == run.info()
    one, other = sw.load_net(run, net=make).net, sw.load_net(str(run.path), net=make).net
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert not caplog.records
    sw.load_net(run, net=edited)
    assert f"{run.path} was trained with other code of its net" in caplog.text
    with pytest.raises(ValueError, match="is a study's directory, and holds many nets: give a run of it"):
        sw.load_net(found, net=make)


def test_a_module_that_was_trained_is_loaded_without_a_word(tmp_path, caplog):
    net = mlp(2, "residual")
    sw.load_net(sw.fit(net, "digits", RECIPE, out=tmp_path), net=lambda: net)
    assert not caplog.records


def test_a_module_is_trained_as_it_is_and_stays_as_it_was(tmp_path):
    net = mlp(2, "residual")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    run = sw.fit(net, "digits", RECIPE, out=tmp_path)
    assert run.info()["status"] == "done"
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_module_whose_parameters_have_hooks_is_refused(kind, tmp_path):
    net = mlp(2, "residual")
    getattr(net[1].weight, kind)(lambda told: None)
    with pytest.raises(ValueError, match=r"parameter 1\.weight of this Sequential has hooks.* Give a function"):
        sw.fit(net, "digits", RECIPE, out=tmp_path)
    assert not list(tmp_path.iterdir())


class Counter(nn.Module):
    """What it does depends on how often it ran: it keeps count in all the ways that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(8, 8), 0
        self.register_buffer("added", torch.zeros(()))
        self.register_buffer("assigned", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.added += 1
        self.assigned = self.assigned + 1
        return self.linear(x) * (1 + (self.calls + self.added + self.assigned) / 100)


def counting(depth):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *[Counter() for _ in range(depth)], nn.Linear(8, 10))


def test_no_check_runs_the_net_that_is_trained():
    planned = plan_run(RunConfig(net=use(counting), depth=2, recipe=RECIPE))
    assert all((c.calls, c.added, c.assigned) == (0, 0, 0) for c in planned.net if isinstance(c, Counter))


def test_a_net_that_counts_its_calls_trains_alike_in_a_study_and_alone(tmp_path):
    together = run_study(study(counting, seeds=(0, 1)), tmp_path / "study", workers=1)
    alone = sw.fit(counting, "digits", RECIPE, depth=2, seed=0, out=tmp_path / "alone")
    run = together.run(alone.info()["id"])
    assert run.info()["metrics"]["train_loss"] == alone.info()["metrics"]["train_loss"]
    ours, theirs = (sw.load_net(r.path, net=counting).net.state_dict() for r in (run, alone))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


class Noisy(nn.Module):
    """It draws in evaluation mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x) + torch.randn_like(x) / 10


class NoisyOnlyInTraining(Noisy):
    def forward(self, x):
        return super().forward(x) if self.training else self.linear(x)


def noisy(depth, layer=Noisy):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *[layer() for _ in range(depth)], nn.Linear(8, 10))


def noisy_only_in_training(depth):
    return noisy(depth, NoisyOnlyInTraining)


def test_what_a_net_draws_in_evaluation_follows_from_the_seed(tmp_path):
    def trained(name):
        torch.rand(len(name))  # wherever the global generator stands
        run = sw.fit(noisy, "digits", RECIPE, depth=2, seed=3, out=tmp_path / name)
        return {key: value for key, value in run.info()["metrics"].items() if key != "seconds"}, run

    (first, run), (second, other) = trained("a"), trained("another")
    assert first == second
    assert [{**row, "seconds": 0} for row in run.metrics()] == [{**row, "seconds": 0} for row in other.metrics()]
    scored = run_study(study(noisy, seeds=(3, 4), depths=(2,)), tmp_path / "study", workers=1).run(run.info()["id"])
    assert {name: scored.info()["metrics"][name] for name in first if name.endswith("loss")} == {
        name: value for name, value in first.items() if name.endswith("loss")
    }


def test_each_seed_and_split_has_draws_of_its_own():
    data, preprocess = digits()
    torch.manual_seed(0)
    net = Single(noisy(2))

    def loss(seed, split):
        draws = draws_of(seed, split)
        return float(evaluate(net, data.validation, ImagePipeline(preprocess), CLASSES, draws=draws).loss)

    asked = [(0, "validation"), (1, "validation"), (0, "test")]
    found = [loss(*each) for each in asked]
    assert len(set(found)) == 3
    assert found == [loss(*each) for each in asked]


def test_a_net_is_evaluated_in_evaluation_mode_and_stays_in_training():
    data, preprocess = digits()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 10))
    x, y = next(ImagePipeline(preprocess).batches(data.validation, len(data.validation)))
    net(x)
    before = copy.deepcopy(net)
    scores = evaluate(Single(net), data.validation, ImagePipeline(preprocess), CLASSES, batch_size=50)
    assert all(module.training for module in net.modules())
    assert all(map(torch.equal, net.state_dict().values(), before.state_dict().values()))
    expected = nn.functional.cross_entropy(before.eval()(x), y)
    assert float(scores.loss) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_what_is_drawn_in_evaluation_is_not_missed_in_training(tmp_path):
    losses = []
    for make in (noisy, noisy_only_in_training):
        run = sw.fit(make, "digits", RECIPE, depth=2, seed=3, out=tmp_path / make.__name__)
        losses.append([row["train_loss"] for row in run.metrics()])
    assert losses[0] == losses[1]


def test_signals_are_measured_on_a_net_that_stays_as_it_was():
    from skipway.anatomy.layers import layers_of_net
    from skipway.probe.signals import measure

    net = counting(2).eval()
    x = torch.randn(4, 64)
    measure(net, x, lambda outputs: outputs.mean(), layers=layers_of_net(net, x))
    assert not any(module.training for module in net.modules())
    assert [(c.calls, float(c.added), float(c.assigned)) for c in net if isinstance(c, Counter)] == [(0, 0, 0)] * 2


class Remembers(nn.Module):
    """An attribute and a buffer come to be in a forward pass."""

    def forward(self, x):
        self.last = x
        self.register_buffer("late", x.mean())
        return x


def test_what_a_net_first_has_in_a_pass_is_gone_after_it():
    net = nn.Sequential(Remembers())
    with as_found(net):
        net(torch.ones(2, 3))
        assert net[0].last is not None
    assert not hasattr(net[0], "last")
    assert not [*net.buffers()]


def frozen(depth, gate):
    return mlp(depth, gate).requires_grad_(False)


def without_weights(depth):
    return nn.Sequential(nn.Flatten(), *[nn.ReLU() for _ in range(depth)])


def test_an_edit_of_the_function_is_another_net():
    def made(activation):
        return lambda depth, gate: nn.Sequential(mlp(depth, gate), activation())

    ids = []
    for activation in (nn.Identity, nn.Tanh):
        config = RunConfig(net=use(made(activation)), gate="plain", depth=2, recipe=RECIPE)
        ids.append(plan_run(config).id)
    assert ids[0] != ids[1]


def no_depth(depth, gate):
    return mlp(2, gate)


def narrow(depth, gate):
    return nn.Sequential(mlp(depth, gate), nn.Linear(10, 3))


def deaf(depth, gate):
    return nn.Sequential(nn.Flatten(), nn.Linear(63, 10), *[nn.Linear(10, 10) for _ in range(depth)])


def dicey(depth, gate):
    generator = torch.Generator()
    generator.seed()
    net = mlp(depth, gate)
    with torch.no_grad():
        net[1].weight.normal_(generator=generator)
    return net


def reseeded(depth, gate):
    torch.manual_seed(0)
    return mlp(depth, gate)


def ungated(depth, gate):
    return mlp(depth, "residual")


def unskipped(depth, skip):
    return mlp(depth, "residual")


def generous(depth, gate):
    return nn.Sequential(mlp(depth, gate), nn.Linear(10, 13))


class Twice(nn.Sequential):
    def forward(self, x):
        return super().forward(x), x


def twofold(depth, gate):
    return Twice(mlp(depth, gate))


def broken(depth, gate):
    return {"y": mlp}["x"](depth, gate)


class Listing(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.hidden, self.head = [nn.Linear(64, 64) for _ in range(depth)], nn.Linear(64, 10)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.hidden:
            x = layer(x)
        return self.head(x)


def no_module(depth, gate):
    return [mlp(depth, gate)]


def greedy(depth, gate, vocabulary):
    return mlp(depth, gate)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_depth, "its nets of depth 2 and 4 have the same parameters. What makes them must heed `depth`"),
        (narrow, "do not fit the task classification: one score for each class is asked for, (2, 10)"),
        (generous, "outputs for a batch of 2, (2, 13), do not fit the task classification: one score for each class"),
        (twofold, "it returns a tuple, and the task classification takes one tensor: return that alone"),
        (deaf, "it does not take a batch of these data, (2, 1, 8, 8)"),
        (dicey, "made twice of one seed, 1.weight differs. Draw initial weights from torch's global generator"),
        (reseeded, "its nets of the seeds 0 and 1 start from the same weights at depth 2"),
        (ungated, "its nets of the gates plain and residual are the same at depth 4"),
        (unskipped, "its nets of the gates plain and residual are the same at depth 4"),
        (
            broken,
            f"test_factory:broken: KeyError: 'x' ({__file__}, line {broken.__code__.co_firstlineno + 1}, in broken)",
        ),
        (Listing, "The layers in `hidden` of Listing, a list, are not registered, and would not be trained"),
        (no_module, "it must return a torch.nn.Module; it returned a list"),
        (frozen, "all its parameters are frozen, so there is nothing to train. At least one parameter must have"),
        (without_weights, "it has no parameters, so there is nothing to train"),
        (greedy, "it asks for vocabulary, which a study cannot give. It may take depth, gate, skip, width"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_study_cannot_rest_on_is_refused_with_the_rule(make, words, tmp_path):
    with pytest.raises(ValueError) as error:
        run_study(study(make, seeds=(0, 1)), tmp_path / "study", workers=1)
    assert words in str(error.value)
    assert not (tmp_path / "study").exists()


class HandMade(nn.Module):
    """A block that keeps its rule to itself: no part of it tells."""

    def __init__(self, gate):
        super().__init__()
        self.linear, self.carries = nn.Linear(8, 8), gate == "residual"

    def forward(self, x):
        y = self.linear(x).relu()
        return x + y if self.carries else y


def by_hand(depth, gate):
    blocks = [HandMade(gate) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *blocks, nn.Linear(8, 10))


def blank(depth, gate):
    net = by_hand(depth, gate)
    nn.init.zeros_(net[-1].weight)  # all answer alike, and do not learn alike
    return net


@pytest.mark.parametrize("make", [by_hand, blank])
def test_gates_that_only_the_outputs_or_gradients_tell_are_a_study(make):
    config, data = study(make), load("digits")
    assert len(stacks_of(Plan.of(checked(config), data))) == 4


class Checking(nn.Linear):
    def forward(self, x):
        if torch.isnan(x).any():
            raise ValueError("a number is missing")
        return super().forward(x) * float(x.std() + 1)


MASK = torch.ones(8)


class Masked(nn.Linear):
    def forward(self, x):
        return super().forward(x) * MASK


class Rewired(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        plain = super().forward
        self.forward = lambda x: plain(x).relu()


@pytest.mark.parametrize("body", [Checking, Masked, Rewired])
def test_a_net_that_shapes_alone_do_not_run_is_trained_and_its_cost_is_left_open(body, tmp_path):
    def make(depth, gate):
        row = sw.skip_row(gate, [body(8, 8) for _ in range(depth)])
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), row, nn.Linear(8, 10))

    found = run_study(study(make), tmp_path, workers=1)
    assert found.info()["failures"] == {}
    nets = [run.info()["net"] for run in found.runs()]
    assert {net["multiply_adds"] for net in nets} == {None}
    assert {net["parameters"] for net in nets} == {65 * 8 + depth * 9 * 8 + 9 * 10 for depth in (2, 4)}
    summary = summarise(found)
    shown = next(column for column in columns(summary) if column.heading == "Multiply-adds")
    assert {shown.cell(group) for group in summary.groups} == {"–"}


def test_one_seed_may_stand_for_nets_that_are_always_the_same():
    config, data = study(reseeded), load("digits")
    assert len(stacks_of(Plan.of(checked(config), data))) == 4


def test_what_a_partial_binds_is_not_varied():
    config = study(functools.partial(mlp, gate="highway"), gates=("plain", "residual"))
    plan = Plan.of(checked(config), load("digits"))
    assert plan.config.gates == ("own",)
    net = plan.build(Cell("own", 2, 0.1, 0))
    assert [skip.skip.gate.name for skip in find_skips(net)] == ["highway", "highway"]


def test_a_loss_of_ones_own_takes_several_outputs():
    def of_the_first(outputs, targets):
        return nn.functional.cross_entropy(outputs[0], targets, reduction="none")

    config = RunConfig(net=use(twofold), gate="plain", depth=2, task=use_loss(of_the_first), recipe=RECIPE)
    assert plan_run(config).task.name == ""


@pytest.mark.parametrize(
    ("returned", "words"),
    [(lambda z: z.sigmoid(), "returned a Tensor: its"), (lambda z: sw.Flow(None, None), "returned Flow(None, None)")],
)
@pytest.mark.parametrize("net", ["dense", "a function"])
def test_a_gate_that_returns_no_flow_is_refused_before_it_is_trained(returned, words, net, tmp_path):
    class Wrong(sw.Gate, name="wrong-by-test"):
        def forward(self, z):
            return returned(z)

    try:
        config = study(mlp, gates=("wrong-by-test",))
        with pytest.raises(ValueError) as error:
            run_study(config if net == "a function" else replace(config, net=net), tmp_path / "study", workers=1)
    finally:
        GATES.remove("wrong-by-test")
    assert f"Wrong {words}" in str(error.value)
    assert "forward(z) returns skipway.Flow(t, c)" in str(error.value)
    assert not (tmp_path / "study").exists()


def test_a_width_that_is_not_taken_is_refused(tmp_path):
    with pytest.raises(ValueError, match="it takes no width, and 5 was asked for"):
        run_study(study(lambda depth, gate: mlp(depth, gate), width=5), tmp_path, workers=1)


def test_a_loss_of_ones_own_is_a_task(tmp_path):
    def squared(outputs, targets):
        return ((outputs - nn.functional.one_hot(targets, 10)) ** 2).mean(1)

    run = sw.fit("residual-dense-3", "digits", RECIPE, task=squared, out=tmp_path / "fine")
    metrics = run.info()["metrics"]
    assert metrics["test_loss"] > 0
    assert "test_error" not in metrics
    assert run.info()["task"]["metric"] is None
    with pytest.raises(ValueError, match=r"must be one number each, \(2,\); it is \(\)"):
        sw.fit("residual-dense-3", "digits", RECIPE, task=lambda a, b: squared(a, b).mean(), out=tmp_path / "scalar")


def detached(outputs, targets):
    return nn.functional.cross_entropy(outputs.detach(), targets, reduction="none")


def by_numpy(outputs, targets):
    return torch.from_numpy(outputs.detach().numpy()[:, 0] ** 2)


def returns_numpy(outputs, targets):
    return outputs.detach().numpy()[:, 0]


def wrong_ones(outputs, targets):
    return (outputs.argmax(1) != targets).long()


@pytest.mark.parametrize("net", [mlp, "dense"])
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (detached, "gives numbers that are detached from the net's outputs. Losses must be floating-point numbers"),
        (by_numpy, "gives numbers that are detached from the net's outputs"),
        (returns_numpy, "it is ndarray"),
        (wrong_ones, "gives numbers of type int64. Losses must be floating-point numbers that torch computes"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_loss_that_cannot_be_trained_is_refused_before_anything_is(net, loss, words, tmp_path):
    with pytest.raises(ValueError) as error:
        sw.study(net=net, task=loss, gates="plain", depths=2, seeds=0, recipe=RECIPE, out=tmp_path / "s", workers=1)
    assert words in str(error.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--net", "no_such_module:make"], "there is no module of that name here or installed"),
        (["--net", "math:make"], "math has no function 'make'"),
        (["--plugin", "no_such_plugin"], "there is no module of that name here or installed"),
        (["--net", "my_net.py"], "say which function of the file makes the nets: --net my_net.py:my_net"),
        (["--plugin"], "--plugin needs the name of a module"),
    ],
)
def test_what_is_not_there_is_told(flags, words, capsys):
    assert main(["study", *flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--plugin", "--net"])
def test_a_file_that_ends_the_program_is_named(flag, tmp_path, monkeypatch, capsys):
    name = f"ends_by_{flag.strip('-')}.py"
    (tmp_path / name).write_text("import sys\n\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    assert main(["study", flag, name if flag == "--plugin" else f"{name}:make"]) == 2
    assert f"{flag} {name}: it ends the program when it is imported, by sys.exit(0)" in capsys.readouterr().err


def test_what_a_function_raises_is_told_in_a_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad_net.py").write_text("def bad(depth, gate):\n    return {}['x']\n")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "--net", "bad_net.py:bad", "--depths", "2", "--seeds", "0"]) == 2
    told = capsys.readouterr().err
    assert "net bad_net.py:bad: KeyError: 'x' (" in told
    assert "line 2, in bad)" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("call", "name", "meant"),
    [
        (sw.study, "learning_rate", "learning_rates"),
        (sw.study, "depth", "depths"),
        (functools.partial(sw.fit, "residual-dense-3"), "learning_rates", "learning_rate"),
        (sw.study, "step", "steps"),
    ],
)
def test_a_name_that_is_nearly_an_argument_is_told(call, name, meant):
    with pytest.raises(TypeError, match=rf"there is no setting {name}\. Did you mean {meant}\?"):
        call(**{name: 0.1})


def test_values_may_come_in_arrays(tmp_path):
    found = sw.study(
        net=mlp,
        gates="residual",
        depths=np.array([1, 2]),
        seeds=[np.int64(0)],
        learning_rates=torch.tensor([0.5], dtype=torch.float64),
        recipe=RECIPE,
        out=tmp_path,
        workers=1,
    )
    assert [(cell["depth"], cell["learning_rate"]) for cell in found.info()["cells"]] == [(1, 0.5), (2, 0.5)]


def test_a_study_of_one_module_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a study varies depth: give a function of depth"):
        sw.study(net=mlp(2, "residual"), out=tmp_path / "study")


@pytest.mark.parametrize("join", [True, False])
def test_a_plugin_may_stand_before_the_command(join, tmp_path, monkeypatch, capsys):
    name = f"before_{join}"
    (tmp_path / f"{name}.py").write_text(
        f"import skipway as sw\n\n\nclass Halves(sw.Gate, name='{name.lower()}'):\n"
        "    def forward(self, z):\n        return sw.Flow(0.5, 0.5)\n"
    )
    monkeypatch.chdir(tmp_path)
    flags = [f"--plugin={name}.py"] if join else ["--plugin", f"{name}.py"]
    try:
        assert main([*flags, "gates"]) == 0
    finally:
        GATES.remove(name.lower())
    assert name.lower() in capsys.readouterr().out


def test_functions_of_one_name_have_studies_of_their_own():
    makers = [lambda depth, gate: mlp(depth, gate), lambda depth, gate: mlp(depth, gate, 9)]
    places = {default_out(checked(study(make))) for make in (*makers, makers[0])}
    assert len(places) == 2
    assert all(re.fullmatch(r"digits-test_factory-.*-lambda-[0-9a-f]{8}", place.name) for place in places)
    assert default_out(StudyConfig()).name == "digits-dense"


def test_a_query_tells_the_runs_of_the_study_from_those_of_one_before(tmp_path):
    for depths in ((2,), (2, 3)):
        found = run_study(study(mlp, gates=("residual",), depths=depths), tmp_path / "study", workers=1)
    run_study(study(mlp, gates=("plain",), depths=(3,)), found.path, workers=1)
    sql = "SELECT gate, depth, in_study FROM runs ORDER BY ALL"
    rows = [("plain", 3, True), ("residual", 2, False), ("residual", 3, False)]
    assert sw.query(sql, found)[1] == rows
    assert sw.query("SELECT gate FROM runs WHERE in_study", found)[1] == [("plain",)]
    alone = sw.fit(mlp, "digits", RECIPE, gate="plain", depth=2, out=tmp_path / "alone")
    assert sw.query("SELECT in_study FROM runs", alone)[1] == [(None,)]


def by_skip(depth, skip, seed):
    stem = nn.Linear(64, 8)  # drawn before the blocks
    blocks = [skip(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), stem, *blocks, nn.Linear(8, 10))


def by_row(depth, gate, seed):
    stem = nn.Linear(64, 8)
    bodies = [nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), stem, *sw.skip_row(gate, bodies), nn.Linear(8, 10))


@pytest.mark.parametrize("gate", ["residual", "highway", "fixup", "stochastic-depth", "layerscale"])
def test_a_maker_of_skips_tells_each_block_its_place(gate):
    """The blocks of `skip(body)` know what those of `skip_row` know: the rules that depend on depth start alike."""
    about = Specification(TensorSpec((1, 8, 8)), 10)
    one, other = (factory(use(make)).build(about, gate=gate, depth=5, width=None, seed=3) for make in (by_skip, by_row))
    places = [(block.gate.placement.index, block.gate.placement.count) for block in one if isinstance(block, sw.Skip)]
    assert places == [(index, 5) for index in range(5)]
    if gate in ("residual", "fixup"):  # `skip_row` draws gates after all bodies
        assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert one.state_dict().keys() == other.state_dict().keys()


def minus_its_mean(outputs, targets):
    residuals = outputs[:, 0] - targets
    return (residuals - residuals.mean()) ** 2 + residuals**2


def by_shares(outputs, targets):
    weights = len(targets) / (10 * torch.bincount(targets, minlength=10).clamp(min=1))
    return nn.functional.cross_entropy(outputs, targets, reduction="none") * weights[targets]


@pytest.mark.parametrize("loss", [minus_its_mean, by_shares])
def test_a_loss_that_reads_the_batch_reads_that_of_one_replica(loss):
    torch.manual_seed(0)
    outputs = torch.randn(3, 16, 10, requires_grad=True)
    targets = torch.randint(10, (3, 16))
    found = make_task(use_loss(loss)).losses(outputs, targets)
    expected = torch.stack([loss(*pair) for pair in zip(outputs, targets, strict=True)])
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.mean(1).sum(), outputs)
    for index in range(3):
        alone = outputs[index].detach().requires_grad_()
        (own,) = torch.autograd.grad(loss(alone, targets[index]).mean(), alone)
        assert torch.equal(gradient[index], own)


def asks(depth, skip, specification, width=8):
    inner = [skip(nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))) for _ in range(depth)]
    (features,) = specification.shape
    return nn.Sequential(nn.Linear(features, width), *inner, nn.Linear(width, specification.outputs))


@pytest.mark.parametrize("gate", ["residual", "highway"])
def test_a_net_that_was_told_its_data_and_its_blocks_is_loaded_with_its_function(gate, tmp_path):
    x = torch.randn(60, 5)
    y = x.sum(1) + torch.arange(60) / 7
    trained = sw.fit(asks, (x, y), RECIPE, gate=gate, depth=3, width=6, out=tmp_path / "run")
    saved = sw.load_net(trained, net=asks)
    assert [tuple(p.shape) for p in saved.net.parameters()][:2] == [(6, 5), (6,)]
    assert saved.predict(x).shape == (60, 1)
    study_path = sw.study(
        (x, y), net=asks, gates=gate, depths=2, learning_rates=0.1, seeds=0, steps=3, out=tmp_path / "s"
    )
    run = next(study_path.runs())
    assert sw.load_net(run, net=asks).predict(x).shape == (60, 1)


def with_a_unit_a_class(depth, gate, specification):
    *inner, _ = mlp(depth, gate)
    return nn.Sequential(*inner, nn.Linear(8, len(specification.classes)))


def skipping_with_a_unit_a_class(depth, skip, specification):
    inner = [skip(nn.Linear(8, 8)) for _ in range(depth)]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), *inner, nn.Linear(8, len(specification.classes)))


@pytest.mark.parametrize("make", [with_a_unit_a_class, skipping_with_a_unit_a_class])
def test_a_net_that_was_told_the_names_of_classes_is_loaded_with_its_function(make, tmp_path):
    run = sw.fit(make, "digits", RECIPE, gate="residual", depth=3, out=tmp_path / "run")
    saved = sw.load_net(run, net=make)
    assert saved.net[-1].out_features == 10
    assert len(find_skips(saved.net)) == 3


def test_a_specification_is_read_as_it_was_written():
    inputs = {"tokens": TensorSpec((7,), torch.int64, tokens=90), "rest": (TensorSpec((2, 3)), TensorSpec(()))}
    about = Specification(inputs, 4, ("a", "b", "c", "d"))
    assert Specification.from_dict(json.loads(json.dumps(about.to_dict())), about.classes) == about


# -- by the command line, in another folder: last, since workers stay where they were started --------------------------


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp("elsewhere")


def test_a_function_in_a_file_is_studied_by_one_command(elsewhere, monkeypatch, capsys):
    (elsewhere / "my_nets.py").write_text(SOURCE)
    monkeypatch.chdir(elsewhere)
    flags = ["--gates", "plain", "highway", "--depths", "2", "3", "--seeds", "0", "--steps", "4", "--workers", "1"]
    assert main(["study", "--net", "my_nets:mlp", *flags, "--learning-rates", "0.1", "--out", "out"]) == 0
    assert "highway" in capsys.readouterr().out
    found = sw.Study(Path("out"))
    run = next(found.runs())
    assert run.info()["net"]["function"] == "my_nets:mlp"
    assert [row["kind"] for row in run.probes()].count("block") >= 4
    # What a file names is never imported: the function must be given again.
    FUNCTIONS.pop("my_nets:mlp")
    assert main(["study", "--config", "out/study.json", "--out", "again"]) == 2
    assert "give it again, as --net my_nets:mlp" in capsys.readouterr().err


def test_a_plugin_registers_a_gate_that_the_command_line_knows(elsewhere, monkeypatch, capsys):
    (elsewhere / "my_gates.py").write_text(
        "import skipway as sw\n\n\nclass Halves(sw.Gate, name='halves-of-a-plugin'):\n"
        "    def forward(self, z):\n        return sw.Flow(0.5, 0.5)\n"
    )
    monkeypatch.chdir(elsewhere)
    flags = ["--gates", "halves-of-a-plugin", "--depths", "2", "3", "--seeds", "0", "--steps", "3", "--workers", "1"]
    command = ["study", "--plugin", "my_gates.py", *flags, "--learning-rates", "0.1", "--out", "gates"]
    assert main(command) == 0
    assert "halves-of-a-plugin" in capsys.readouterr().out
