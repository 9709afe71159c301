"""A trained net that is loaded again: it answers for inputs as people have them, in the targets' unit."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from torch import nn

import skipway as sw

STEPS = sw.Recipe(steps=60, batch_size=32, learning_rates=(0.03,))
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype("float32") * 3 + 5
Y = (X @ np.array([3.0, -2.0, 1.0, 4.0]) * 20 + 1000).astype("float32")


def mlp(depth, gate, features=4, outputs=1):
    row = sw.skip_row(gate, [nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(depth)])
    return nn.Sequential(nn.Linear(features, 8), row, nn.Linear(8, outputs))


def of_two(depth, gate):
    return mlp(depth, gate, outputs=2)


def of_a_table(depth, gate):
    return mlp(depth, gate, features=6)


def fitted(data, out, net=mlp, **settings):
    return sw.fit(net, data, STEPS, gate="residual", depth=2, out=out, **settings)


def test_a_regression_answers_in_the_targets_unit(tmp_path):
    run = fitted((X, Y), tmp_path / "run")
    saved = sw.load_net(run.path, net=mlp)
    data = sw.load((X, Y))
    answers = saved.predict(data.test.inputs)[:, 0]
    rmse = float(((answers - data.test.targets) ** 2).mean().sqrt())
    assert rmse == pytest.approx(run.info()["metrics"]["test_rmse"], rel=1e-5)
    assert abs(float(answers.mean()) - Y.mean()) < Y.std()
    assert saved.task.state() == data_state(data)
    assert saved.net.training, "the net's mode is as it was"
    assert torch.equal(saved.predict(X), saved.predict(torch.from_numpy(X)))


def data_state(data):
    targets = data.train.targets.double()
    return {"mean": float(targets.mean().float()), "deviation": float(targets.std(correction=0).float())}


def test_a_studys_nets_answer_so_too(tmp_path):
    study = sw.study(
        (X, Y), net=mlp, gates="residual", depths=2, seeds=[0, 1], recipe=STEPS, workers=1, out=tmp_path / "study"
    )
    for run in study.runs():
        saved = sw.load_net(run.path, net=mlp)
        targets = torch.from_numpy(Y)
        assert float(((saved.predict(X)[:, 0] - targets) ** 2).mean().sqrt()) < 0.5 * float(targets.std())


def test_several_targets_have_a_scale_each(tmp_path):
    both = np.stack([Y, Y / 1000], 1)
    saved = sw.load_net(fitted((X, both), tmp_path / "run", of_two).path, net=of_two)
    answers = saved.predict(X)
    assert torch.allclose(answers.mean(0), torch.from_numpy(both.mean(0)), rtol=0.1)
    assert torch.allclose(saved.task.mean, torch.from_numpy(both).mean(0), rtol=0.1)


def test_a_table_is_answered_by_its_columns(tmp_path):
    columns = {name: X[:, place] for place, name in enumerate("abcd")}
    kinds = np.where(X[:, 0] > 5, "high", "low")
    table = pa.table({**columns, "kind": kinds, "price": Y})
    run = fitted(sw.load(table, target="price"), tmp_path / "run", of_a_table)
    saved = sw.load_net(run.path, net=of_a_table)
    data = sw.load(table, target="price")
    x, _ = next(data.restored(saved.preprocess).batches(data.test, 100))
    unseen = pa.table({**{name: table[name] for name in ("kind", "d", "c", "b", "a")}, "other": Y})
    with torch.no_grad():
        wanted = saved.net.eval()(x) * saved.task.deviation + saved.task.mean
    answers = saved.predict(unseen)
    for row in wanted:
        assert bool(torch.isclose(answers, row, rtol=1e-5).any())
    with pytest.raises(ValueError, match="'kind'"):
        saved.predict(pa.table(columns))
    with pytest.raises(ValueError, match="trained on a table"):
        saved.predict(X)


def test_classes_and_losses_of_ones_own_are_answered_as_the_net_does(tmp_path):
    saved = sw.load_net(fitted((X, (Y > 1000).astype(int)), tmp_path / "classes", of_two).path, net=of_two)
    assert saved.predict(X).shape == (300, 2)
    assert (saved.predict(X).argmax(1).numpy() == (Y > 1000)).mean() > 0.8

    def own(outputs, targets):
        return (outputs[:, 0] - targets / 1000).abs()

    run = fitted((X, Y), tmp_path / "own", task=own)
    saved = sw.load_net(run.path, net=mlp)
    assert saved.task.function is own
    answers = saved.predict(X)
    from skipway.tasks.own import LOSSES

    del LOSSES[saved.fitted["spec"]]
    assert saved.task is None
    with pytest.raises(ValueError, match="which is not defined here"):
        saved.predict(X)
    assert answers.shape == (300, 1)


def test_images_are_answered_from_their_pixels(tmp_path):
    saved = sw.load_net(sw.fit("residual-dense-3", "digits", sw.Recipe(steps=40), out=tmp_path / "run").path)
    test = sw.load("digits").test
    assert (saved.predict(test.images).argmax(1) == test.labels).float().mean() > 0.5
    with pytest.raises(ValueError, match="uint8 tensor"):
        saved.predict(test.images.float())


def test_other_inputs_are_refused(tmp_path):
    saved = sw.load_net(fitted((X, Y), tmp_path / "run").path, net=mlp)
    with pytest.raises(ValueError, match="was fitted on samples of"):
        saved.predict(X[:, :3])


def test_a_file_that_tells_no_task_opens_as_before(tmp_path):
    run = fitted((X, Y), tmp_path / "run")
    with safe_open(run.weights, "pt") as file:
        about = json.loads(file.metadata()["skipway"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    assert about["task"]["spec"] == "regression"
    del about["task"]
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "old.safetensors", {"skipway": json.dumps(about)})
    saved = sw.load_net(tmp_path / "old.safetensors", net=mlp)
    assert saved.task is None
    assert saved.fitted is None
    assert float(saved.predict(X).mean().abs()) < 10, "as .net has it"


@pytest.mark.parametrize("form", ["arrays", "table"])
def test_one_sample_of_numbers_beyond_float32s_digits_is_answered_as_among_many(form, tmp_path):
    when = 1.7e12 + 1e5 * RNG.normal(size=(300, 1))
    price = 1.7e9 + (when[:, 0] - 1.7e12) / 1e3
    table = pa.table({"when": when[:, 0], "price": price})
    data = sw.load((when, price)) if form == "arrays" else sw.load(table, target="price")

    def of_one(depth, gate):
        return mlp(depth, gate, features=1)

    saved = sw.load_net(fitted(data, tmp_path / "run", of_one).path, net=of_one)
    answers = saved.predict(when if form == "arrays" else table)[:, 0]
    alone = saved.predict(when[:1] if form == "arrays" else table[:1])[:, 0]
    assert float(answers[0]) == pytest.approx(float(alone[0]), abs=1e-3)
    rmse = float(((answers - torch.from_numpy(price)) ** 2).mean().sqrt())
    assert rmse < 0.3 * price.std()
