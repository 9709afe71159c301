"""Tensors of one memory: tied weights are saved once and found again; one tensor may be inputs and targets."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors import safe_open
from torch import nn

import skipway as sw
from skipway.batch.storage import apart
from skipway.nets.weights import load_net, weights_bytes
from skipway.training.loop import Hook

TOKENS = torch.randint(0, 10, (120, 9), generator=torch.Generator().manual_seed(0))
DATA = (TOKENS[:, :-1], TOKENS[:, 1:])
STEPS = sw.Recipe(steps=12, batch_size=16, learning_rates=(0.1,))


class Tied(nn.Module):
    """The output layer's weights are the embedding's."""

    def __init__(self, depth=2, gate="residual"):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.row = sw.skip_row(gate, [nn.Linear(8, 8) for _ in range(depth)])
        self.out = nn.Linear(8, 10, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(self.row(self.embedding(x)))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_trained_net_with_tied_weights_is_kept_and_found_again(tmp_path):
    run = sw.fit(Tied, DATA, STEPS, gate="residual", depth=2, out=tmp_path / "run")
    with safe_open(run.weights, "pt") as file:
        assert sorted(file.keys()) == sorted(dict(Tied().named_parameters())), "each parameter once"
    saved = sw.load_net(run.path, net=Tied).net
    assert saved.out.weight is saved.embedding.weight
    assert not torch.equal(saved.out.weight, Tied().out.weight)
    started = Tied()
    sw.load_weights(started, run.weights)
    assert same(started, saved)


def test_a_study_keeps_them_too(tmp_path):
    found = sw.study(
        DATA, net=Tied, gates="residual", depths=2, seeds=[0, 1], recipe=STEPS, workers=1, out=tmp_path / "study"
    )
    for run in found.runs():
        assert run.info()["status"] == "done"
        assert "test_loss" in run.info()["metrics"]
        assert sw.load_net(run.path, net=Tied).net.out.weight.std() > 0


class Stop(Exception):
    """Ends a training in its middle."""


class StopAt(Hook):
    def on_step(self, training):
        if training.step == 7:
            raise Stop


def test_an_interrupted_training_of_them_goes_on_to_the_same_bits(tmp_path):
    whole = sw.fit(Tied, DATA, STEPS, gate="residual", depth=2, out=tmp_path / "whole")
    settings = {"gate": "residual", "depth": 2, "out": tmp_path / "parts", "save_every": 0}
    with pytest.raises(Stop):
        sw.fit(Tied, DATA, STEPS, hooks=[StopAt()], **settings)
    parts = sw.fit(Tied, DATA, STEPS, **settings)
    nets = [sw.load_net(run.path, net=Tied).net for run in (whole, parts)]
    assert same(*nets)


def test_a_watched_net_with_tied_weights_is_kept(tmp_path):
    net = Tied()
    with sw.watch(net, out=tmp_path / "run", save=True) as run:
        run.step(1.0)
    assert not [told for told in sw.Run(tmp_path / "run").info()["unseen"] if "saved" in told]
    assert same(sw.load_net(tmp_path / "run", net=Tied).net, net)


def test_a_file_without_tied_weights_says_nothing_of_them(tmp_path):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert b"shared" not in weights_bytes(net, {}, (), {"function": "x"})
    (tmp_path / "tied.safetensors").write_bytes(weights_bytes(Tied(), {}, (), {"function": "x"}))
    assert load_net(tmp_path / "tied.safetensors", net=Tied).net.out.weight.shape == (10, 8)


def test_one_tensor_may_be_inputs_and_targets():
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    data, copied = sw.load((x, x)), sw.load((x, x.clone()))
    assert data.fingerprint == copied.fingerprint
    assert torch.equal(data.train.inputs, data.train.targets)


def test_memory_of_ones_own():
    whole = torch.arange(12.0)
    views = {"a": whole, "b": whole, "c": whole[:6], "d": whole.view(3, 4).T, "e": whole[6:], "f": torch.zeros(0)}
    tensors, shared = apart({**views, "g": torch.zeros(0)})
    assert shared == {"b": "a"}
    assert list(tensors) == ["a", "c", "d", "e", "f", "g"]
    assert all(torch.equal(tensors[name], views[name]) for name in "acde")
    used = [tensors[name].untyped_storage().data_ptr() for name in "acde"]
    assert all(one != other for one, other in itertools.combinations(used, 2))
