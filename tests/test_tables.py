"""Tables: files and frames, columns of every kind, what is missing, targets, and what is refused in which words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skipway as sw
from skipway.data.load import load, name_of
from skipway.data.part import Part

GENERATOR = np.random.default_rng(0)


def people(size=60):
    """Rows of every kind of column, with what is missing."""
    frame = pd.DataFrame(
        {
            "height": GENERATOR.normal(170, 9, size).round(1),
            "age": GENERATOR.integers(18, 90, size),
            "member": GENERATOR.random(size) > 0.5,
            "town": GENERATOR.choice(["Bern", "Oslo", "Rome"], size),
            "price": GENERATOR.normal(5, 1, size),
        }
    )
    frame.loc[[3, 9, 11], "height"] = np.nan
    frame.loc[::13, "town"] = None
    return frame


PEOPLE = people()


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "people.csv"
    PEOPLE.to_csv(path, index=False)
    return path


def inputs(data, split, **settings):
    return torch.cat([x for x, _ in data.pipeline(**settings).batches(split, 25)])


# --- files and frames ------------------------------------------------------------------------------------------------


def test_a_file_and_a_frame_of_the_same_rows_are_the_same_data(tmp_path, csv):
    PEOPLE.to_parquet(tmp_path / "people.parquet")
    PEOPLE.to_csv(tmp_path / "tabs.tsv", sep="\t", index=False)
    PEOPLE.to_csv(tmp_path / "semicolons.csv", sep=";", index=False)
    ours = load(f"{csv}:target=price")
    assert ours.name == "people.csv:target=price"
    others = [
        load(f"{tmp_path}/people.parquet:target=price"),
        load(f"{tmp_path}/tabs.tsv:target=price"),
        load(f"{tmp_path}/semicolons.csv:target=price"),
        load(csv, target="price"),
        load(PEOPLE, target="price"),
        load(pa.Table.from_pandas(PEOPLE), target=["price"]),
        load((PEOPLE.drop(columns="price"), PEOPLE["price"])),
        load({"data": PEOPLE.drop(columns="price"), "target": PEOPLE["price"]}),
        load(PEOPLE.assign(id=range(60), note="x"), target="price", drop=["id", "note"]),
    ]
    for other in others:
        assert other.fingerprint == ours.fingerprint
        assert torch.equal(inputs(other, other.test), inputs(ours, ours.test))


@pytest.mark.parametrize(
    "other",
    [
        {"train": PEOPLE.assign(price=PEOPLE["price"].where(PEOPLE.index != 7, 4.0))},
        {"train": PEOPLE.assign(town=PEOPLE["town"].replace({"Bern": "Basel"}))},
        {"train": PEOPLE.rename(columns={"age": "years"})},
        {"train": PEOPLE[:50], "test": PEOPLE[50:]},
    ],
    ids=["target", "texts", "name", "splits"],
)
def test_the_fingerprint_is_of_all_that_counts(other):
    assert load(other, target="price").fingerprint != load(PEOPLE, target="price").fingerprint


def test_a_frame_has_a_name_by_which_it_is_found():
    data = load(PEOPLE, target="price", drop="town")
    assert data.request.data.startswith("frame:")
    assert data.request.data.endswith(":target=price,drop=town")
    assert load(data.request.data).fingerprint == data.fingerprint
    assert name_of(PEOPLE) == data.request.data.split(":target")[0]


def test_files_of_a_folder_are_its_splits(tmp_path):
    PEOPLE[:20].to_parquet(tmp_path / "train-00000-of-00002.parquet")
    PEOPLE[20:40].to_parquet(tmp_path / "train-00001-of-00002.parquet")
    PEOPLE[40:].to_csv(tmp_path / "test.csv", index=False)
    data = load(f"{tmp_path}:target=price")
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 20)
    assert data.validation_rule == "0.1 of train, at random, seed 0"
    assert data.test.targets.tolist() == pytest.approx(PEOPLE["price"][40:].tolist())
    frames = load({"train": PEOPLE[:40], "test": PEOPLE[40:]}, target="price")
    assert frames.fingerprint == data.fingerprint


def test_names_of_classes_in_the_hubs_parquet_are_used(tmp_path):
    import datasets

    features = datasets.Features({"x": datasets.Value("float32"), "y": datasets.ClassLabel(names=["off", "on"])})
    rows = datasets.Dataset.from_dict({"x": np.arange(20.0), "y": [0, 1] * 10}, features=features)
    rows.to_parquet(tmp_path / "train.parquet")
    for data in (load(f"{tmp_path}:target=y"), load(rows, target="y"), load({"train": rows}, target="y")):
        assert data.classes == ("off", "on")
        assert len(data.test) == 4
    unlabelled = datasets.Dataset.from_dict({"x": [1.0, 2.0], "y": [0, -1]}, features=features)
    with pytest.raises(ValueError, match="column 'y', is missing in 1 of 2 rows, the first of them row 1"):
        load(unlabelled, target="y")


def test_a_hub_data_set_with_named_columns(tmp_path, csv, monkeypatch):
    import datasets

    # Where `datasets` keeps what it has read from the Hub, and finds it when that is out of reach.
    made = datasets.load_dataset("csv", data_files=str(csv), cache_dir=str(tmp_path / "made"))
    rows = Path(made["train"].cache_files[0]["filename"])
    place = tmp_path / "cache" / "somebody___people" / "default" / "0.0.0" / ("0" * 40)
    place.parent.mkdir(parents=True)
    rows.rename(rows.with_name("people-train.arrow")).parent.rename(place)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = load("somebody/people:target=price")
    assert data.fingerprint == load(PEOPLE, target="price").fingerprint


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_are_those_of_scikit_learns_pipeline():
    data = load(PEOPLE, target="price")
    at = [PEOPLE.index[np.isclose(PEOPLE["price"], value, rtol=1e-6)][0] for value in data.train.targets.tolist()]
    train = PEOPLE.loc[at].astype({"member": float})
    assert train["town"].isna().any()
    numbers = ["height", "age", "member"]
    sklearns = ColumnTransformer(
        [
            ("scaled", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("marks", make_pipeline(SimpleImputer(add_indicator=True)), ["height"]),
            ("towns", OneHotEncoder(sparse_output=False), ["town"]),
        ]
    ).fit(train)
    wanted = sklearns.transform(train)
    assert sklearns.get_feature_names_out()[-1] == "towns__town_nan"  # its category for what is missing is our mark
    wanted = np.concatenate([wanted[:, :3], wanted[:, [4, -1]], wanted[:, 5:-1]], 1)
    np.testing.assert_allclose(inputs(data, data.train), wanted, atol=1e-5)
    assert data.pipeline().transform.encoding.features == (
        *numbers,
        *("height is missing", "town is missing"),
        *("town=Bern", "town=Oslo", "town=Rome"),
    )
    assert data.spec.shape == (8,)


def test_none_fills_marks_and_encodes_but_scales_nothing():
    data = load(PEOPLE, target="price")
    got, held = inputs(data, data.train, preprocess="none"), data.train.inputs["numbers"]
    missing = held[:, 0].isnan()
    assert torch.equal(got[~missing, 0], held[~missing, 0])
    assert got[missing, 0].tolist() == pytest.approx([held[~missing, 0].mean().item()] * int(missing.sum()))
    assert set(got[:, 2].tolist()) == {0.0, 1.0}


def test_a_value_that_training_had_not_is_all_zeros():
    frames = {"train": PEOPLE, "test": PEOPLE.assign(town="Kyiv")}
    data = load(frames, target="price")
    assert not inputs(data, data.test)[:, -3:].any()
    assert inputs(data, data.train)[:, -3:].any()


def test_what_is_missing_where_training_missed_nothing_is_filled_without_a_mark():
    frames = {"train": PEOPLE.dropna()[:30], "test": PEOPLE[::13].assign(height=np.nan)}
    data = load(frames, target="price")
    assert data.spec.shape == (6,)
    assert inputs(data, data.test)[:, 0].abs().max() < 1e-5
    assert not inputs(data, data.test)[:, 3:].any()


def test_categories_of_pandas_are_text_even_if_they_are_numbers():
    frame = PEOPLE[["age", "price"]].assign(floor=pd.Categorical(GENERATOR.integers(1, 4, 60)))
    assert load(frame, target="price").pipeline().transform.encoding.features == (
        *("age", "floor=1", "floor=2", "floor=3"),
    )


def test_a_pipeline_comes_back_from_json_and_meets_other_values():
    data = load(PEOPLE, target="price")
    state = json.loads(json.dumps(data.pipeline().to_dict()))
    restored = data.restored(state)
    assert torch.equal(torch.cat([x for x, _ in restored.batches(data.test, 9)]), inputs(data, data.test))
    # Another table of the same columns has its towns in other places of its list.
    other = load(PEOPLE.assign(town=PEOPLE["town"].replace({"Bern": "Aachen"})), target="price")
    got = torch.cat([x for x, _ in other.restored(state).batches(other.test, 9)])
    wanted = inputs(data, data.test)
    wanted[:, 5] = 0  # Bern
    assert torch.equal(got, wanted)
    with pytest.raises(ValueError, match=r"fitted on columns of numbers \(height, age, member\) and of text \(town\)"):
        load(PEOPLE, target="price", drop="age").restored(state)


def test_streams_of_rows_are_whole_and_go_on():
    data = load(PEOPLE, target="price")
    pipeline = data.pipeline()
    stream = pipeline.stream(data.train, batch_size=9, seeds=[0, 1])
    parts = [pipeline.stream(data.train, batch_size=9, seeds=[0, 1], part=Part(i, 3)) for i in range(3)]
    x, _ = next(stream)
    assert x.shape == (2, 9, 8)
    assert torch.equal(torch.cat([next(part)[0] for part in parts], 1), x)
    again = pipeline.stream(data.train, batch_size=9, seeds=[0, 1])
    again.load_state_dict(stream.state_dict())
    assert torch.equal(next(again)[0], next(stream)[0])


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task", "usual", "classes"),
    [
        (GENERATOR.normal(size=60), None, "regression", ()),
        (np.arange(60) % 20, None, "classification", tuple(map(str, range(20)))),
        (np.arange(60) % 21, None, "regression", ()),
        (np.arange(60) % 20, "regression", "classification", ()),
        (np.arange(60) % 15 + 0.0, "classification", "regression", tuple(map(str, range(15)))),
        (np.arange(60) % 2 == 0, None, "classification", ("False", "True")),
        (np.where(np.arange(60) % 2, "yes", "no"), None, "classification", ("no", "yes")),
        (pd.Categorical(np.arange(60) % 3), None, "classification", ("0", "1", "2")),
    ],
)
def test_a_target_says_what_it_is_for(values, task, usual, classes):
    data = load(PEOPLE.assign(goal=values), target="goal", task=task)
    assert (data.task, data.classes) == (usual, classes)
    assert data.targets(data.train).dtype == (torch.int64 if classes else torch.float32)
    assert ("stratified" in data.validation_rule) == bool(classes)


def test_several_targets_are_numbers_of_one_row():
    data = load(PEOPLE, target="price+age")
    assert data.train.targets.shape == (43, 2)
    assert data.describe()["target"] == ["price", "age"]
    assert load(PEOPLE, target=["price", "age"]).fingerprint == data.fingerprint
    plus = PEOPLE.rename(columns={"price": "a+b"})
    assert load(plus, target="a+b").describe()["target"] == ["a+b"]


@pytest.mark.parametrize("bunch", [load_wine, load_breast_cancer, load_diabetes])
def test_a_bunch_of_frames_is_the_table_of_its_arrays(bunch):
    data, arrays = load(bunch(as_frame=True)), load(bunch())
    assert data.task == arrays.task
    torch.testing.assert_close(inputs(data, data.test), inputs(arrays, arrays.test), atol=1e-5, rtol=1e-5)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "settings", "message"),
    [
        (PEOPLE, {}, r"which column .* learned\? Give sw.load\(table, target='COLUMN'.*Columns: height, age, member"),
        (PEOPLE, {"target": "prise"}, "unknown column of frame:.* 'prise'. Did you mean 'price'"),
        (PEOPLE, {"target": "price+prise"}, "'prise'. Did you mean 'price'"),
        (PEOPLE, {"target": "price", "drop": "agee"}, "'agee'. Did you mean 'age'"),
        (PEOPLE[["price"]], {"target": "price"}, "no column is left to learn from"),
        (PEOPLE, {"target": "height"}, "the target, column 'height', is missing in 3 of 60 rows, the first .* row 3 "),
        (PEOPLE.assign(price=3.5), {"target": "price"}, "column 'price': the target is 3.5 in every sample"),
        (
            PEOPLE.assign(price=["7"] * 59 + ["?"]),
            {"target": "price", "task": "regression"},
            "the target, column 'price', is text, and numbers are asked for: 1 of 60 values are none, the first, '.', "
            "in row 59 ",
        ),
        (PEOPLE.dropna(), {"target": "age+town"}, "the target, column 'town', is text, and numbers are asked for"),
        (PEOPLE.assign(price=pd.Timestamp(0)), {"target": "price"}, "'price', holds timestamp.*; a target is numbers"),
        (PEOPLE.assign(when=pd.Timestamp(0)), {"target": "price"}, "column 'when' holds dates or times .* drop=when"),
        (PEOPLE.assign(when=[[1]] * 60), {"target": "price"}, "column 'when' holds list<.*drop=when"),
        (PEOPLE.assign(when=None), {"target": "price"}, "column 'when' is empty in every row: leave it out"),
        (PEOPLE.assign(age=[1.0] * 58 + [np.inf, 1e300]), {"target": "price"}, "'age': 2 of 60 numbers are infinite"),
        (PEOPLE.assign(age=[1, "b"] * 30), {"target": "price"}, "a column of this DataFrame is not of one type"),
        (
            {"train": PEOPLE, "test": PEOPLE.assign(price="x")},
            {"target": "price"},
            "a column is not of one type in all splits",
        ),
        (
            {"train": PEOPLE, "test": PEOPLE[["age", "town"]]},
            {"target": "price"},
            "train has the column 'height', and test has not. All splits need the same",
        ),
        (
            {"train": PEOPLE.assign(height=np.nan), "test": PEOPLE},
            {"target": "price"},
            "column 'height' is empty in every training row",
        ),
        ((PEOPLE, PEOPLE["price"]), {}, "the target's name, 'price', is that of an input, too"),
        (PEOPLE, {"target": "price", "image_size": 8}, "image_size=8 is for images"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_it(frame, settings, message):
    with pytest.raises(ValueError, match=message):
        load(frame, **settings)


def test_too_many_different_texts_are_refused():
    frame = pd.DataFrame({"x": [f"name {place}" for place in range(300)], "y": np.arange(300.0)})
    with pytest.raises(ValueError, match=r"column 'x' holds 216 different texts in training, such as .*; up to 100"):
        load(frame, target="y")
    frame["x"] = [str(place) for place in range(299)] + ["n.a."]
    with pytest.raises(ValueError, match=r"\(most are numbers, and would be read as such without 'n.a.'\)"):
        load({"train": frame, "test": frame}, target="y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", "is not readable as a table: CSV parse error: Expected 2 columns, got 3"),
        (",a,b\n0,1,2\n1,3,4\n", "column 1 has no name. If these are row numbers that pandas wrote"),
        ("a,a,b\n0,1,2\n1,3,4\n", "two columns are called 'a'"),
        ("", "is not readable as a table: Empty CSV file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        load(f"{tmp_path}/t.csv:target=b")


def test_places_where_there_is_no_table_are_told(tmp_path):
    with pytest.raises(ValueError, match="there is no file '.*none.csv'"):
        load(f"{tmp_path}/none.csv:target=x")
    with pytest.raises(
        ValueError, match="holds no file for training that ends in .csv or .tsv or .parquet. Valid: a folder with"
    ):
        load(f"{tmp_path}:target=x")
    with pytest.raises(ValueError, match="there is no file or folder 'nothing', and it is no name of the Hub's"):
        load("nothing:target=x")
    with pytest.raises(OSError, match="the Hub did not give 'somebody/nothing'"):
        load("somebody/nothing:target=x")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="bad.parquet is not readable as a table"):
        load(f"{tmp_path}/bad.parquet:target=x")


def test_images_are_no_columns(shared):
    with pytest.raises(ValueError, match="column 'image' holds struct<.*drop=image"):
        load(f"{shared}/data/mnist:target=label")


def test_options_are_held_to_what_there_is(csv):
    with pytest.raises(ValueError, match="gives 'target' twice"):
        load(f"{csv}:target=a,target=b")
    with pytest.raises(ValueError, match="gives target=price, and target='age' was given beside it"):
        load(f"{csv}:target=price", target="age")


# --- a study ---------------------------------------------------------------------------------------------------------


def test_one_command_studies_a_table(csv, tmp_path):
    recipe = sw.Recipe(steps=2, learning_rates=(0.1,), batch_size=16)
    run = sw.fit("residual-dense-3", f"{csv}:target=price", recipe, out=tmp_path / "run")
    info = run.info()
    assert info["config"]["data"] == f"{csv}:target=price"
    assert {"train_rmse", "validation_rmse", "test_rmse"} <= set(info["metrics"])
    saved = sw.load_net(run.path)
    data = load(f"{csv}:target=price")
    x, _ = next(data.restored(saved.preprocess).batches(data.test, 12))
    assert saved.net(x).shape == (12, 1)
    pq.write_table(pa.table(PEOPLE), tmp_path / "p.parquet")
    same = sw.fit("residual-dense-3", f"{tmp_path}/p.parquet:target=price", recipe, out=tmp_path / "again")
    assert same.info()["id"] == info["id"]


@pytest.mark.parametrize("missing", [False, True])
def test_columns_that_float32_would_round_away_are_standardised_first(missing):
    when = 1.7e12 + 10 * np.random.default_rng(0).normal(size=300)
    given = np.where(np.arange(300) % 7 == 0, np.nan, when) if missing else when
    data = load(pa.table({"when": given, "kind": ["a", "b"] * 150, "price": 1.7e9 + when - 1.7e12}), target="price")
    x, y = next(data.pipeline().batches(data.train, 1000))
    assert x.dtype == torch.float32
    there = x[:, 1] == 0 if missing else x[:, 0] > -100
    assert float(torch.corrcoef(torch.stack([x[there, 0].double(), y[there]]))[0, 1]) == pytest.approx(1, abs=1e-6)
    again = data.restored(json.loads(json.dumps(data.pipeline().to_dict())))
    assert torch.equal(next(again.batches(data.train, 1000))[0], x)
    assert next(data.pipeline(preprocess="none").batches(data.train, 1000))[0].dtype == torch.float32


# --- what people get wrong --------------------------------------------------------------------------------------------


def written(folder, values, encoding="utf-8", name="t"):
    path = folder / "table.csv"
    rows = [f'{place},"{value}"' for place, value in enumerate(values)]
    path.write_bytes("\n".join([f"x,{name}", *rows]).encode(encoding))
    return path


@pytest.mark.parametrize("task", [None, "regression"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [*(f"{place / 7:.4f}" for place in range(30)), "oops"],
            r"1 of 31 values are none, the first, 'oops', in row 30",
        ),
        ([f"{place / 7:.2f}".replace(".", ",") for place in range(30)], r"'0,00', in row 0 .* written with a point"),
        ([*(f"{place}e-05" for place in range(30)), "-"], r"1 of 31 values are none, the first, '-', in row 30"),
    ],
)
def test_a_target_of_numbers_that_is_read_as_text_is_told_with_its_first_word(values, said, task, tmp_path):
    with pytest.raises(ValueError, match=f"column 't', is (read as )?text.*{said}"):
        load(f"{written(tmp_path, values)}:target=t", task=task)


def test_texts_and_few_numbers_among_them_are_classes(tmp_path):
    few = load(f"{written(tmp_path, ['1', '2', 'many'] * 10)}:target=t")
    assert few.classes == ("1", "2", "many")
    asked = load(f"{written(tmp_path, [*map(str, range(30)), 'many'] * 9)}:target=t", task="classification")
    assert len(asked.classes) == 31


@pytest.mark.parametrize(("name", "line"), [("größe", 1), ("t", 3)])
def test_text_that_is_not_utf8_is_told_with_its_line(name, line, tmp_path):
    values = ["a", "ö" if name == "t" else "b", "a"] * 10
    path = written(tmp_path, values, "cp1252", name)
    with pytest.raises(ValueError, match=rf"table.csv, line {line}: byte 0xf6 is not UTF-8.*encoding='cp1252'"):
        load(f"{path}:target=x,drop={name}")
    assert load(f"{written(tmp_path, values, name=name)}:target=x").columns.values[name] == tuple(sorted(set(values)))


def test_a_target_is_not_dropped(csv):
    with pytest.raises(ValueError, match="column 'price' is the target, and drop leaves it out"):
        load(f"{csv}:target=price,drop=price")


def test_a_frame_without_a_target_is_told_how_to_load_it():
    with pytest.raises(ValueError, match=r"Give sw.load\(table, target='COLUMN'\)") as caught:
        sw.study(PEOPLE)
    assert "frame:" not in str(caught.value)


def test_a_file_is_read_anew_by_every_study_and_where_the_caller_is(tmp_path, monkeypatch):
    """The pool of workers outlives a study, and they are in a directory of their own."""
    settings = {"depths": 2, "gates": "plain", "seeds": 0, "steps": 2, "learning_rates": 0.1, "width": 4, "workers": 1}
    found = []
    for folder, rows in (("a", PEOPLE), ("b", PEOPLE[:50]), ("b", PEOPLE[:40])):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        rows.to_csv("people.csv", index=False)
        found.append(sw.study("people.csv:target=price", out=tmp_path / f"study-{len(rows)}", **settings))
    assert all(study.info()["status"] == "done" for study in found)
    fingerprints = {study.info()["data"]["fingerprint"] for study in found}
    assert len(fingerprints) == 3
