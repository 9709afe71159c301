"""Text: corpora whose next token is asked for, texts with a target, vocabularies, masks, and what is refused."""

from __future__ import annotations

import json
import math
from collections import Counter

import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import nn

import skipway as sw
from skipway.batch.specification import TensorSpec
from skipway.batch.trees import call, first
from skipway.data import kept
from skipway.data.load import load, name_of
from skipway.data.part import Part

DESCR = load_diabetes().DESCR  # 1,755 characters of English that scikit-learn ships


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(DESCR)
    return path


# --- corpora ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "length", "joint"), [("characters", 16, ""), ("words", 5, " ")])
def test_samples_of_a_corpus_are_its_text_and_targets_one_place_ahead(corpus, unit, length, joint):
    data = load(f"{corpus}:length={length},unit={unit}")
    text = DESCR if unit == "characters" else " ".join(DESCR.split())
    pipeline = data.pipeline()
    words = ["", "?", *pipeline.transform.vocabulary.tokens]
    for split in (data.train, data.validation, data.test):
        for x, y in pipeline.batches(split, 10):
            assert x.dtype == torch.int64
            assert torch.equal(x[:, 1:], y[:, :-1])
            for row, ahead in zip(x.tolist(), y.tolist(), strict=True):
                if 1 not in (*row, *ahead):  # training had all of them
                    assert joint.join(words[token] for token in (*row, ahead[-1])) in text
    samples = sum(map(len, (data.train, data.validation, data.test)))
    assert samples == (len(DESCR if unit == "characters" else DESCR.split()) - 1) // length
    assert data.task == "next-token"
    assert data.name == f"corpus.txt:length={length},unit={unit}"


def test_the_vocabulary_is_that_of_training_the_commonest_first(corpus):
    data = load(f"{corpus}:length=16")
    counts = Counter(data.symbols[code] for code in data.train.inputs.flatten().tolist())
    assert data.pipeline().transform.vocabulary.tokens == tuple(
        token for token, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    assert data.spec.outputs == 2 + len(counts)
    assert data.spec.inputs == TensorSpec((16,), torch.int64, data.spec.outputs)
    unknown = load({"train": ["abab" * 20], "test": ["abcabcabc" * 9]}, length=4)
    assert 1 in torch.cat([x for x, _ in unknown.pipeline().batches(unknown.test, 9)])
    assert int(unknown.targets(unknown.test).max()) < unknown.spec.outputs == 4


def test_strings_in_memory_are_the_file_of_their_lines(corpus):
    data = load(DESCR.split("\n"), length=16)
    assert data.fingerprint == load(f"{corpus}:length=16").fingerprint
    assert data.request.data == f"{name_of(DESCR.split(chr(10)))}:length=16"
    assert load(data.request.data).fingerprint == data.fingerprint
    assert load(corpus, length=16).fingerprint == data.fingerprint
    assert load(corpus, length=17).fingerprint != data.fingerprint


def test_other_text_of_the_same_pattern_is_other_data():
    assert load(["abab" * 20], length=4).fingerprint != load(["cdcd" * 20], length=4).fingerprint
    other = REVIEWS.assign(body=[body.swapcase() for body in BODIES])
    one, another = (load(frame, text="body", target="label", unit="characters") for frame in (REVIEWS, other))
    assert one.fingerprint != another.fingerprint


def test_a_damaged_text_is_noticed():
    name = name_of(["one more"])
    kept.path_of(name).write_bytes(b"{}")
    with pytest.raises(ValueError, match="is damaged: it does not hold what was kept as text:"):
        load(name)


def test_files_of_a_folder_are_splits_of_a_corpus(tmp_path):
    (tmp_path / "train.txt").write_text(DESCR)
    (tmp_path / "valid.txt").write_text(DESCR[:400])
    (tmp_path / "test.txt").write_text(DESCR[400:900])
    data = load(tmp_path, length=9)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [len(DESCR) // 9, 44, 55]
    assert data.validation_rule == "given by the source"


# --- texts -----------------------------------------------------------------------------------------------------------

BODIES = [line.strip() for line in DESCR.split("\n") if line.strip()]
REVIEWS = pd.DataFrame({"body": BODIES, "label": ["odd" if len(b.split()) % 2 else "even" for b in BODIES], "n": 0})


def test_texts_are_cut_padded_and_masked():
    data = load(REVIEWS, text="body", target="label", length=6)
    assert data.classes == ("even", "odd")
    words = ["", "?", *data.pipeline().transform.vocabulary.tokens]
    tokens = TensorSpec((6,), torch.int64, len(words))
    assert data.spec.inputs == {"tokens": tokens, "mask": TensorSpec((6,), torch.bool)}
    shown = {tuple(body.split()[:6]) for body in BODIES}
    for x, y in data.pipeline().batches(data.train, 10):
        assert torch.equal(x["mask"], x["tokens"] > 0)
        assert y.dtype == torch.int64
        for tokens, mask in zip(x["tokens"].tolist(), x["mask"].tolist(), strict=True):
            assert tuple(words[token] for token in tokens[: sum(mask)]) in shown
    assert load(REVIEWS, text="body", target="label").length == max(len(body.split()) for body in BODIES)
    assert load(REVIEWS, text="body", target="label", unit="characters", length=9).length == 9


def test_a_text_column_of_a_file(tmp_path):
    REVIEWS.to_csv(tmp_path / "reviews.csv", index=False)
    data = load(f"{tmp_path}/reviews.csv:text=body,target=label,length=6")
    assert data.fingerprint == load(REVIEWS, text="body", target="label", length=6).fingerprint
    assert data.describe()["samples"] == "texts"


def test_a_vocabulary_travels_with_the_weights():
    data = load(REVIEWS, text="body", target="label", length=6)
    state = json.loads(json.dumps(data.pipeline().to_dict()))
    for ours, theirs in zip(
        data.pipeline().batches(data.test, 9), data.restored(state).batches(data.test, 9), strict=True
    ):
        assert torch.equal(ours[0]["tokens"], theirs[0]["tokens"])
    other = load(REVIEWS[::-1].reset_index(drop=True), text="body", target="label", length=6)
    words = ["", "?", *state["vocabulary"]]
    x, _ = next(other.restored(state).batches(other.train, 40))  # its codes are others, and its words the same
    shown = {tuple(body.split()[:6]) for body in BODIES}
    known = [row for row in x["tokens"].tolist() if 1 not in row]
    assert known
    assert {tuple(words[token] for token in row if token) for row in known} <= shown
    with pytest.raises(ValueError, match="is of sequences of 6 words; these are of 9 characters"):
        load(REVIEWS, text="body", target="label", unit="characters", length=9).restored(state)


def test_streams_of_text_are_whole_and_go_on(corpus):
    data = load(corpus, length=16)
    pipeline = data.pipeline()
    stream = pipeline.stream(data.train, batch_size=9, seeds=[0, 1])
    parts = [pipeline.stream(data.train, batch_size=9, seeds=[0, 1], part=Part(i, 3)) for i in range(3)]
    x, y = next(stream)
    assert x.shape == y.shape == (2, 9, 16)
    assert torch.equal(torch.cat([next(part)[0] for part in parts], 1), x)
    again = pipeline.stream(data.train, batch_size=9, seeds=[0, 1])
    again.load_state_dict(stream.state_dict())
    assert torch.equal(next(again)[0], next(stream)[0])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (["ab"], {"length": 9}, "train has less than the 10 characters of one sample: give length="),
        (["abcdefg" * 2], {"length": 9}, "there are 1 training samples, and 3 splits are to be made"),
        ([DESCR], {"unit": "bytes"}, "unknown unit of text 'bytes'. Valid: characters, words"),
        ([DESCR], {"length": 0}, "length is a number of tokens, 1 or more"),
        ("none.txt", {}, "there is no text 'none.txt'. Valid: FILE.txt, or a folder with train.txt"),
        (REVIEWS, {"text": "body"}, r"which column is to be learned\? Write frame:.*:text=COLUMN,target=COLUMN"),
        (REVIEWS, {"text": "bodi", "target": "label"}, "'bodi'. Did you mean 'body'"),
        (REVIEWS, {"text": "n", "target": "label"}, "column 'n' holds int64, and text= asks for text"),
        (REVIEWS.assign(body=None), {"text": "body", "target": "label"}, "column 'body' holds null"),
        (
            REVIEWS.assign(body=[None, *BODIES[1:]]),
            {"text": "body", "target": "label"},
            "the text is missing in 1 of .* rows, the first of them row 0",
        ),
        (REVIEWS, {"text": "body", "target": "label", "drop": "n"}, "drop= is not for such data. Valid: text, target"),
        (REVIEWS, {"text": "body", "target": "label", "task": "regression"}, "is text, and numbers are asked for"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_it(source, settings, message):
    with pytest.raises(ValueError, match=message):
        load(source, **settings)


def test_preprocessing_of_numbers_is_not_for_text():
    with pytest.raises(ValueError, match="unknown preprocessing of sequences 'none'. Valid: auto, tokens"):
        load([DESCR]).check(preprocess="none", augment=())


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe" * 9)
    with pytest.raises(ValueError, match="t.txt is not text in UTF-8"):
        load(tmp_path / "t.txt")


# --- a training ------------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    """Words, or the mean of a text's words, through a row of layers."""

    def __init__(self, depth, tokens, outputs):
        super().__init__()
        self.embed = nn.Embedding(tokens, 8, padding_idx=0)
        self.blocks = nn.Sequential(*(nn.Linear(8, 8) for _ in range(depth)))
        self.head = nn.Linear(8, outputs)

    def forward(self, tokens, mask=None):
        x = self.blocks(self.embed(tokens))
        return self.head(x if mask is None else (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


def bag(depth, specification):
    return Bag(depth, first(specification.inputs).tokens, specification.outputs)


@pytest.mark.parametrize("kind", ["corpus", "texts"])
def test_a_net_of_ones_own_learns_from_text(kind, tmp_path):
    source = load([DESCR], length=16) if kind == "corpus" else load(REVIEWS, text="body", target="label", length=6)
    recipe = sw.Recipe(steps=2, learning_rates=(0.1,), batch_size=16)
    run = sw.fit(bag, source, recipe, depth=1, out=tmp_path / "run")
    metrics = run.info()["metrics"]
    assert metrics["train_loss"] < 2 * math.log(source.spec.outputs)
    saved = sw.load_net(run.path, net=lambda depth: bag(depth, source.spec))
    x, _ = next(source.restored(saved.preprocess).batches(source.test, 5))
    assert len(call(saved.net, x)) == min(5, len(source.test))
