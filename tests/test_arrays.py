"""Arrays and tensors: what is taken, in which splits, how it is standardised, streamed, kept and found again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import skipway as sw
from skipway.batch.specification import TensorSpec
from skipway.batch.trees import first, leaves
from skipway.data import kept
from skipway.data.load import load, name_of, settings_of
from skipway.data.part import Part
from skipway.rundir.layout import WEIGHTS
from skipway.tasks.make import make_task
from skipway.training.replicas import Single

DIABETES = load_diabetes(return_X_y=True)


def whole(batches):
    """One pass as two tensors."""
    xs, ys = zip(*batches, strict=True)
    return torch.cat(xs), torch.cat(ys)


def evaluated(data, split, **settings):
    return whole(data.pipeline(**settings).batches(split, 100))


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_splits_are_a_partition_of_the_samples():
    x, y = DIABETES
    data = load((x, y))
    assert (len(data.train), len(data.validation), len(data.test)) == (319, 35, 88)
    assert data.validation_rule == "0.1 of train, at random, seed 0; test 0.2 before that, at random, seed 0"
    parts = [torch.cat([split.inputs, split.targets[:, None]], 1) for split in (data.train, data.validation, data.test)]
    assert sorted(torch.cat(parts).tolist()) == sorted(np.column_stack([x, y]).astype(np.float32).tolist())


def test_the_test_split_is_the_same_whatever_is_held_out_for_validation():
    ours, other = load(DIABETES), load(DIABETES, validation=0.3, split_seed=5)
    assert torch.equal(ours.test.inputs, other.test.inputs)
    assert ours.fingerprint == other.fingerprint
    assert not torch.equal(ours.train.inputs[:10], other.train.inputs[:10])


def test_classes_are_held_out_in_their_shares():
    data = load(load_wine())
    assert data.classes == ("class_0", "class_1", "class_2")
    assert torch.bincount(data.test.targets).tolist() == [round(0.2 * count) for count in (59, 71, 48)]
    assert torch.bincount(data.validation.targets).tolist() == [round(0.1 * count) for count in (47, 57, 38)]


def test_splits_that_are_given_stay_as_they_are():
    x, y = load_breast_cancer(return_X_y=True)
    data = load({"train": (x[:300], y[:300]), "validation": (x[300:400], y[300:400]), "test": (x[400:], y[400:])})
    assert data.validation_rule == "given by the source"
    assert torch.equal(data.test.inputs, torch.tensor(x[400:], dtype=torch.float32))
    assert data.classes == ("0", "1")


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


X, Y = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
X = X.float()


@pytest.mark.parametrize(
    "source",
    [
        (X.numpy(), Y.numpy()),
        (X.double(), Y.tolist()),
        load_digits(),
        TensorDataset(X, Y),
        Items([(x.numpy(), int(y)) for x, y in zip(X, Y, strict=True)]),
        [(x, int(y)) for x, y in zip(X, Y, strict=True)],
        DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True),
        DataLoader(TensorDataset(X, Y), batch_size=None),
    ],
    ids=["numpy", "double and list", "bunch", "tensors", "items", "pairs", "loader", "loader of samples"],
)
def test_every_form_of_the_same_samples_is_the_same_data(source):
    data, ours = load(source), load((X, Y))
    for split in ("train", "validation", "test"):
        one, other = getattr(data, split), getattr(ours, split)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)
    assert data.classes == tuple("0123456789")
    assert data.task == "classification"


def test_inputs_may_be_a_tree_and_masks_and_tokens_pass_as_they_are():
    tokens, mask = torch.randint(1, 9, (40, 5)), torch.rand(40, 5) > 0.2
    x = {"tokens": tokens, "mask": mask, "more": (np.random.default_rng(0).normal(3, 2, (40, 2)),)}
    data = load((x, torch.arange(40) % 2 > 0))
    assert data.spec.inputs == {
        "tokens": TensorSpec((5,), torch.int64),
        "mask": TensorSpec((5,), torch.bool),
        "more": (TensorSpec((2,)),),
    }
    assert data.classes == ("False", "True")
    ((got, _),) = data.pipeline().batches(data.test, 100)
    assert torch.equal(got["tokens"], data.test.inputs["tokens"])
    assert torch.equal(got["mask"], data.test.inputs["mask"])
    assert not torch.equal(got["more"][0], data.test.inputs["more"][0])
    stream = data.pipeline().stream(data.train, batch_size=4, seeds=[0, 0, 1])
    inputs, targets = next(stream)
    assert [leaf.shape[:2] for leaf in leaves(inputs)] == [(3, 4)] * 3
    assert torch.equal(targets[0], targets[1])


@pytest.mark.parametrize(
    ("y", "task", "usual", "classes", "dtype"),
    [
        (np.linspace(0, 1, 20), None, "regression", (), torch.float32),
        (np.linspace(0, 1, 20)[:, None], None, "regression", (), torch.float32),
        (np.arange(20) % 3 * 5, None, "classification", ("0", "5", "10"), torch.int64),
        (np.arange(20) % 3 * 5, "regression:loss=huber", "classification", (), torch.float32),
        (np.arange(20) % 2 * 1.0, "classification", "regression", ("0", "1"), torch.int64),
        (np.array(["no", "yes"] * 10), None, "classification", ("no", "yes"), torch.int64),
        (["no", "yes"] * 10, None, "classification", ("no", "yes"), torch.int64),
        (np.array(["no", "yes"] * 10, dtype=object), None, "classification", ("no", "yes"), torch.int64),
        (np.arange(20)[:, None] % 4, None, "classification", tuple("0123"), torch.int64),
        (np.arange(40).reshape(20, 2), None, "next-token", (), torch.int64),
        (np.arange(40).reshape(20, 2) > 7, None, "regression", (), torch.float32),
        ({"a": np.arange(20)}, None, "regression", (), torch.int64),
    ],
)
def test_targets_say_what_they_are_for(y, task, usual, classes, dtype):
    data = load((np.random.default_rng(0).normal(size=(20, 3)), y), task=task)
    assert (data.task, data.classes) == (usual, classes)
    targets = first(data.targets(data.train))
    assert targets.dtype == dtype
    assert targets.dim() == (1 if classes else first(y).ndim)
    assert data.spec.outputs == (len(classes) or (40 if usual == "next-token" else None))


# --- preprocessing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load_bunch", [load_diabetes, load_breast_cancer, load_digits])
def test_standard_is_scikit_learns_scaler_of_the_training_split(load_bunch):
    x, y = load_bunch(return_X_y=True)  # digits have pixels that are always 0
    data = load((x, y))
    scaler = StandardScaler().fit(data.train.inputs.double().numpy())
    got, _ = evaluated(data, data.test)
    np.testing.assert_allclose(got, scaler.transform(data.test.inputs.double().numpy()), atol=2e-5)


def test_what_is_alike_in_all_samples_becomes_zero():
    x = np.random.default_rng(0).normal(size=(30, 2))
    x[:, 1] = 0.1 + 1e6  # its mean has rounding errors
    data = load((x, np.arange(30) * 1.0))
    got, _ = evaluated(data, data.train)
    assert got[:, 0].std() > 0.5
    assert not got[:, 1].any()


def test_none_passes_everything():
    data = load(DIABETES)
    got, targets = evaluated(data, data.test, preprocess="none")
    assert torch.equal(got, data.test.inputs)
    assert torch.equal(targets, data.test.targets)


@pytest.mark.parametrize("preprocess", ["auto", "none"])
def test_a_pipeline_comes_back_from_json_to_the_same_bits(preprocess):
    data = load(DIABETES)
    pipeline = data.pipeline(preprocess=preprocess)
    restored = data.restored(json.loads(json.dumps(pipeline.to_dict())))
    for ours, theirs in zip(pipeline.batches(data.test, 10), restored.batches(data.test, 10), strict=True):
        assert torch.equal(ours[0], theirs[0])


def test_a_pipeline_of_other_samples_is_refused():
    state = load(load_wine()).pipeline().to_dict()
    with pytest.raises(ValueError, match=r"was fitted on samples of \[\(13,\)\], and these are of \[\(10,\)\]"):
        load(DIABETES).restored(state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preprocess": "pixel"}, "unknown preprocessing of samples 'pixel'. Valid: auto, none, standard"),
        ({"augment": ["flip"]}, "augmentation flip: augmentations change images, and arrays:.* holds none"),
    ],
)
def test_what_is_for_images_is_refused(settings, message):
    data = load(DIABETES)
    with pytest.raises(ValueError, match=message):
        data.check(**{"preprocess": "auto", "augment": (), **settings})
    with pytest.raises(ValueError, match=message):
        data.pipeline(**settings)


# --- streams ---------------------------------------------------------------------------------------------------------


def numbered(size):
    """Samples that say which they are, as they are."""
    x = torch.arange(size).float()[:, None]
    return load({"train": (x, x[:, 0]), "validation": (x, x[:, 0]), "test": (x, x[:, 0])})


def test_every_sample_comes_once_an_epoch_in_each_seeds_own_order():
    data = numbered(10)
    stream = data.pipeline(preprocess="none").stream(data.train, batch_size=4, seeds=[3, 4])
    rows = torch.cat([y for _, y in itertools.islice(stream, 5)], 1)  # two epochs
    for row in rows:
        for epoch in row.split(10):
            assert sorted(epoch.tolist()) == list(range(10))
    assert not torch.equal(rows[0], rows[1])
    alone = data.pipeline(preprocess="none").stream(data.train, batch_size=4, seeds=[4])
    assert torch.equal(torch.cat([y for _, y in itertools.islice(alone, 5)], 1)[0], rows[1])


def test_three_parts_together_see_what_one_alone_would():
    data = load(DIABETES)
    pipeline = data.pipeline()
    streams = [pipeline.stream(data.train, batch_size=20, seeds=[0, 1], part=Part(i, 3)) for i in range(3)]
    for x, y in itertools.islice(pipeline.stream(data.train, batch_size=20, seeds=[0, 1]), 20):
        shares = [next(stream) for stream in streams]
        assert torch.equal(torch.cat([share[0] for share in shares], 1), x)
        assert torch.equal(torch.cat([share[1] for share in shares], 1), y)
    passes = [list(pipeline.batches(data.test, 7, part=Part(i, 3))) for i in range(3)]
    assert torch.equal(whole(itertools.chain(*passes))[0], evaluated(data, data.test)[0])


def test_a_stream_goes_on_where_it_stood():
    data = load(DIABETES)
    stream = data.pipeline().stream(data.train, batch_size=50, seeds=[0, 7, 0])
    for _ in itertools.islice(stream, 9):
        pass
    again = data.pipeline().stream(data.train, batch_size=50, seeds=[0, 7, 0])
    again.load_state_dict(stream.state_dict())
    for (x, y), (same_x, same_y) in itertools.islice(zip(stream, again, strict=True), 9):
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)
    with pytest.raises(ValueError, match="the saved stream has batch_size 50, this one 40"):
        data.pipeline().stream(data.train, batch_size=40, seeds=[0, 7, 0]).load_state_dict(stream.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 11, "seeds": [0]}, "batch size 11 on a split of 10 samples"),
        ({"batch_size": 2, "seeds": []}, "no seed was given"),
        ({"batch_size": 2, "seeds": [0], "part": Part(0, 3)}, "a batch of 2 for 3 processes"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(settings, message):
    data = numbered(10)
    with pytest.raises(ValueError, match=message):
        data.pipeline().stream(data.train, **settings)


# --- the cache -------------------------------------------------------------------------------------------------------


def test_data_in_memory_have_a_name_and_are_found_by_it():
    data = load((*DIABETES,), split_seed=2)
    assert data.name == f"arrays:{data.fingerprint[:16]}" == name_of(DIABETES)
    again = load(data.name, split_seed=2)
    assert torch.equal(again.train.inputs, data.train.inputs)
    assert (again.fingerprint, again.validation_rule, again.task) == (data.fingerprint, data.validation_rule, data.task)
    assert load(data) is data


def test_a_tree_is_found_again_as_it_was():
    x = {"b": torch.rand(9, 2), "a": (torch.arange(9), {"c": torch.rand(9)})}
    data = load((x, np.array(["u", "v", "u"] * 3)))
    again = load(data.name)
    assert list(again.train.inputs) == ["b", "a"]
    assert again.spec == data.spec
    assert torch.equal(again.train.inputs["a"][1]["c"], data.train.inputs["a"][1]["c"])


@pytest.mark.parametrize("change", ["value", "dtype", "order", "split", "names"])
def test_the_fingerprint_is_of_all_that_is_held(change):
    x, y = np.arange(24.0).reshape(12, 2), np.array(["u", "v", "w"] * 4)
    sources = {
        "value": (np.where(x == 5, 6, x), y),
        "dtype": (x.astype(int), y),
        "order": (x[::-1].copy(), y),
        "split": {"train": (x[:9], y[:9]), "test": (x[9:], y[9:])},
        "names": (x, np.where(y == "u", "t", y)),
    }
    assert name_of(sources[change]) != name_of((x, y))


def test_what_is_damaged_or_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path))
    name = name_of(DIABETES)
    path = kept.path_of(name)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: it does not hold what was kept as arrays:"):
        load(name)
    path.write_bytes(content[:-8])
    assert name_of(DIABETES) == name  # given again, what was cut short is written again
    assert load(name).name == name
    path.write_bytes(b"{")
    with pytest.raises(ValueError, match="is damaged"):
        load(name)
    path.unlink()
    with pytest.raises(ValueError, match="are not in the cache of this machine .* Give them again"):
        load(name)


def test_a_config_takes_over_how_data_were_loaded():
    data = load(DIABETES, validation=0.2, split_seed=3, task="regression:loss=huber")
    told = settings_of(data, task=None, image_size=None)
    assert told == {
        "data": data.name,
        "task": "regression:loss=huber",
        "validation": 0.2,
        "split_seed": 3,
        "image_size": None,
    }
    assert settings_of("digits", task="regression") == {"data": "digits", "task": "regression"}
    usual = load(DIABETES)  # to say what is usual is no other setting
    assert settings_of(usual, task="regression") == settings_of(usual)
    with pytest.raises(ValueError, match="loaded with task=None, and task=regression:loss=huber is given"):
        settings_of(usual, task="regression:loss=huber")
    with pytest.raises(ValueError, match="loaded with task=regression:loss=huber, and task=classification is given"):
        settings_of(data, task="classification")
    with pytest.raises(ValueError, match="made by hand"):
        name_of(dataclasses.replace(data, request=None))


# --- what is refused -------------------------------------------------------------------------------------------------


class Endless(IterableDataset):
    def __iter__(self):
        return iter([])


ONES = np.ones((10, 2))
RISING = np.arange(10.0)
BAD = ONES.copy()
BAD[3, 1], BAD[7] = math.nan, math.inf


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((BAD, RISING), r"train inputs: 3 of 20 numbers are NaN or infinite, the first in sample 3, place 1"),
        (({"a": ONES, "b": (BAD,)}, RISING), r"train inputs\['b'\]\[0\]: 3 of 20 numbers"),
        ((ONES, np.where(RISING == 4, math.nan, RISING)), "train targets: 1 of 10 numbers is NaN .* sample 4 "),
        (
            {"train": (ONES, RISING), "test": (BAD, RISING)},
            "test inputs: 3 of 20 numbers are NaN or infinite",
        ),
        ((ONES.astype(str), RISING), "train inputs: there must be numbers; these are text, such as .*1.0.* DataFrame"),
        ((np.array([["a", 1]] * 5, dtype=object), RISING[:5]), "there must be numbers; these are object"),
        ((ONES.astype("datetime64[D]"), RISING), "these are dates"),
        ((ONES * 1j, RISING), "these are complex numbers; give real numbers"),
        (([[1.0], [1.0, 2.0]], RISING[:2]), "train inputs: this is no array"),
        ((ONES, RISING[:9]), r"every array's first dimension counts the samples; .* are 10, 9"),
        ((ONES, np.ones(10)), "the target is 1.0 in every sample"),
        ((ONES, ["yes"] * 10), "the target is 'yes' in every sample"),
        ((ONES, ["a"] * 8 + ["b"] * 2), "class 'b' has 2 training samples, and 3 splits are to be made of them"),
        ((ONES[:2], RISING[:2]), "there are 2 training samples, and 3 splits"),
        ({"train": (ONES, RISING), "test": (ONES[:, :1], RISING)}, "inputs of train are .*2.* and of test .*1"),
        (Endless(), "Endless has no samples by number"),
        (DataLoader(Endless()), "Endless has no samples by number"),
        (Items([(torch.ones(2), 0), (torch.ones(3), 1)]), "do not make a batch of pairs .* pads"),
        (Items([torch.ones(2)] * 4), "do not make a batch of pairs"),
        (Items([(SimpleNamespace(), 1)] * 4), "do not make a batch of pairs"),
        (17, "an object of type int is no data. Valid: a name or a path; "),
        ({"train": 17}, "an object of type dict is no data"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_it(source, message):
    with pytest.raises(ValueError, match=message):
        load(source)


@pytest.mark.parametrize(
    ("y", "settings", "message"),
    [
        (["a", "b"] * 5, {"task": "regression"}, "the target is text, such as 'a', and task regression needs numbers"),
        (RISING, {"image_size": 8}, "image_size=8 is for images"),
        (RISING, {"validation": 1.0}, "validation=1.0: the share of train to hold out must lie between 0 and 1"),
    ],
)
def test_settings_that_do_not_go_with_the_data_are_refused(y, settings, message):
    with pytest.raises(ValueError, match=message):
        load((ONES, y), **settings)


# --- a study ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "diabetes"
    settings = {"net": "dense", "depths": [2, 4], "gates": ["plain", "residual"], "learning_rates": [0.03, 0.1]}
    settings["search"] = "grid"
    recipe = sw.Recipe(steps=30)
    return lambda: sw.study(data=DIABETES, seeds=[0], recipe=recipe, out=out, workers=1, **settings)


def test_a_study_of_arrays_has_the_rmse_that_scikit_learn_finds(study):
    found = study()
    info = found.info()
    assert info["config"]["data"] == name_of(DIABETES)
    assert info["task"]["name"] == "regression"
    data = load(DIABETES)
    guess = math.sqrt(mean_squared_error(data.train.targets, data.train.targets.mean().expand(len(data.train))))
    assert info["data"]["guessing"]["rmse"] == pytest.approx(guess, rel=1e-5)
    targets = data.train.targets.double()
    for run in found.runs():
        saved = sw.load_net(run.path / WEIGHTS)
        pipeline = data.restored(saved.preprocess)
        with torch.no_grad():
            answers = [Single(saved.net.eval())(x[None])[0, :, 0] for x, _ in pipeline.batches(data.validation, 50)]
        wanted = torch.cat(answers).double() * targets.std(correction=0) + targets.mean()
        rmse = math.sqrt(mean_squared_error(data.validation.targets, wanted))
        assert run.info()["metrics"]["validation_rmse"] == pytest.approx(rmse, rel=1e-4)
        assert rmse < 1.1 * guess


def test_the_same_study_again_computes_nothing(study):
    before = {run.path: (run.path / WEIGHTS).stat().st_mtime_ns for run in study().runs()}
    assert {run.path: (run.path / WEIGHTS).stat().st_mtime_ns for run in study().runs()} == before
    assert len(before) == 8


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.arange(40).reshape(20, 2), "these nets take floating-point numbers; a sample of these data is int64"),
        ((np.ones((20, 2)), np.ones((20, 3))), "these nets take one tensor; a sample of these data has 2 tensors"),
    ],
)
def test_inputs_that_our_nets_do_not_take_are_told_before_training(x, message):
    with pytest.raises(ValueError, match=message):
        sw.fit("plain-dense-2", (x, np.arange(20.0)), sw.Recipe(batch_size=8))


def test_fit_takes_what_load_returns(tmp_path):
    recipe = sw.Recipe(steps=2, learning_rates=(0.1,), batch_size=32)
    run = sw.fit("residual-dense-2", load(DIABETES, split_seed=1), recipe, out=tmp_path / "run")
    assert run.info()["config"]["split_seed"] == 1
    assert "test_rmse" in run.info()["metrics"]


# --- numbers that float32 would round away ---------------------------------------------------------------------------

DRAWS = np.random.default_rng(1).normal(size=(300, 2))


def test_numbers_are_standardised_before_they_are_rounded():
    x, y = 1.7e12 + 10 * DRAWS, 1.7e9 + 100 * DRAWS[:, 0]
    data = load((x, y))
    train, targets = evaluated(data, data.train)
    assert train.dtype == torch.float32
    scaled = StandardScaler().fit_transform(data.train.inputs.numpy() - 1.7e12)
    assert np.allclose(train, scaled, atol=1e-3)  # 1.7e12 has steps of 0.0002 in float64
    task = make_task("regression").fit(data.targets(data.train))
    losses = task.losses(torch.zeros(1, len(targets)), targets[None])
    assert losses.dtype == torch.float32
    assert float(losses.mean()) == pytest.approx(1, rel=1e-5)
    answers = task.answers(torch.tensor([0.0, 1.0]))
    assert answers.tolist() == pytest.approx([float(targets.mean()), float(targets.mean() + targets.std())], abs=0.5)
    exact = (targets - task.mean) / task.deviation
    assert float(task.scores(exact.float()[None], targets[None]).max()) < 1e-6
    assert task.load_state(json.loads(json.dumps(task.state()))).mean == task.mean
    again = data.restored(json.loads(json.dumps(data.pipeline().to_dict())))
    assert torch.equal(whole(again.batches(data.train, 100))[0], train)
    assert evaluated(data, data.train, preprocess="none")[0].dtype == torch.float32
    assert data.spec.inputs == TensorSpec((2,))


def test_a_target_of_small_changes_is_not_constant():
    y = 1e6 + 1e-3 * DRAWS[:, 0]
    data = load((DRAWS, y))
    task = make_task("regression").fit(data.targets(data.train))
    assert float(task.deviation) == pytest.approx(1e-3, rel=0.2)
    whole_numbers = load((DRAWS, (2**40 + np.arange(300)).astype(np.int64)), task="regression")
    assert len(torch.unique(whole_numbers.targets(whole_numbers.train))) == len(whole_numbers.train)


def test_a_constant_float64_feature_is_0_beside_one_that_stays_wide():
    data = load((np.column_stack([1.7e12 + DRAWS[:, 0], np.full(300, 0.1)]), DRAWS[:, 1]))
    assert data.train.inputs.dtype == torch.float64
    assert evaluated(data, data.train)[0][:, 1].tolist() == [0.0] * len(data.train)


@pytest.mark.parametrize("x", [DRAWS, DRAWS + 10, DRAWS * 1e30, np.full((300, 2), 0.1), np.round(1e6 * DRAWS)])
def test_ordinary_numbers_are_kept_as_float32_under_the_same_name(x):
    data, same = load((x, DRAWS[:, 0])), load((x.astype("float32"), DRAWS[:, 0].astype("float32")))
    assert data.train.inputs.dtype == torch.float32
    assert data.fingerprint == same.fingerprint


def test_splits_may_differ_in_precision():
    wide = {"train": (1.7e12 + DRAWS, DRAWS[:, 0]), "test": (DRAWS.astype("float32"), DRAWS[:, 0].astype("float32"))}
    data = load(wide)
    assert torch.equal(data.test.inputs.float(), torch.from_numpy(DRAWS).float())


def test_numbers_beyond_float32_are_called_so():
    with pytest.raises(ValueError, match=r"train inputs: 2 of 600 numbers are beyond float32, which ends at 3.4e38, "):
        load((np.where(np.arange(300)[:, None] == 7, 1e300, DRAWS), DRAWS[:, 0]))


def test_missing_targets_are_refused_and_told_as_such():
    with pytest.raises(ValueError, match="first in sample 7 .* what has no target can neither be learned") as caught:
        load((DRAWS, np.where(np.arange(300) == 7, np.nan, DRAWS[:, 0])))
    assert "filled" not in str(caught.value)


def test_whole_numbers_that_may_be_quantities_are_told_so(tmp_path):
    with pytest.raises(ValueError, match="class '17' has 1 training sample.*quantities.*task='regression'"):
        load((DRAWS, np.where(np.arange(300) == 7, 17, np.arange(300) % 3)))
    with pytest.raises(ValueError, match="class 'c' has 1 training sample") as caught:
        load((DRAWS, np.where(np.arange(300) == 7, "c", np.where(np.arange(300) % 2, "a", "b"))))
    assert "quantities" not in str(caught.value)

    def net(depth):
        return torch.nn.Linear(2, 2)

    pairs = np.stack([np.arange(300) % 7, np.arange(300) % 5], 1)
    with pytest.raises(ValueError, match="do not fit the task next-token.*quantities.*task='regression'"):
        sw.fit(net, (DRAWS.astype("float32"), pairs), depth=1, out=tmp_path / "run", batch_size=16)
