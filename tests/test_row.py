"""A rule on bodies by hand: a row knows its depth, a lone block is asked for it, and nets are built no other way."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import skipway as sw
from helpers import body, dense
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, Flow, Gate
from skipway.skip.placement import Placement

# What depends on depth, and the same rule with a fixed setting in place of what follows from depth.
BY_DEPTH = {
    "residual": "residual:scale=1",
    "highway": "highway:bias=-2",
    "highway-separate": "highway-separate:bias=-2",
    "highway-deep": "highway-deep:bias=-2",
    "shortcut-only": "shortcut-only:scale=1",
    "layerscale": "layerscale:init=0.1",
    "fixup": None,
    "stochastic-depth": None,
    "stochastic-depth:scale=1": None,
}


def bodies(count: int, width: int = 4) -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [body("vector", width) for _ in range(count)]


@pytest.mark.parametrize("gate", GATES)
def test_a_row_by_hand_is_what_our_nets_are_made_of(gate):
    """From one seed: the net's stem, bodies and head are drawn first, then the gates."""
    net = dense(gate, blocks=9, layers=2)
    torch.manual_seed(0)
    plain = dense("plain", blocks=9, layers=2)
    row = sw.skip_row(gate, [block.body for block in plain.blocks])
    found, expected = row.state_dict(), net.blocks.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_each_rule_knows_its_place_in_a_row():
    fixup = sw.skip_row("fixup", bodies(10))
    for block, start in zip(fixup, bodies(10), strict=True):
        assert torch.equal(block.body[0].weight, start[0].weight * 10**-0.5)
        assert not block.body[2].weight.any()
    survival = [block.gate.survival for block in sw.skip_row("stochastic-depth", bodies(4))]
    assert survival == pytest.approx([0.875, 0.75, 0.625, 0.5])
    assert sw.skip_row("layerscale", bodies(48))[0].gate.scale[0].item() == pytest.approx(1e-6)
    assert sw.skip_row("highway", bodies(50))[0].gate.transform.bias[0].item() == pytest.approx(-math.log(50))
    assert "block 2 of 4" in repr(sw.skip_row("plain", bodies(4))[2])


@pytest.mark.parametrize("gate", BY_DEPTH)
def test_a_lone_block_is_asked_for_the_depth_that_its_rule_needs(gate):
    with pytest.raises(ValueError) as error:
        Skip(gate, body("vector"))
    assert all(way in str(error.value) for way in ("count=", "index=", "skip_row", "highway:bias=-2"))
    Skip(gate, body("vector"), index=0, count=1)
    if fixed := BY_DEPTH[gate]:
        Skip(fixed, body("vector"))


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate not in BY_DEPTH])
def test_a_rule_that_does_not_depend_on_depth_asks_for_nothing(gate):
    Skip(gate, body("vector"))


def test_a_body_that_normalises_leaves_residual_no_depth_to_ask_for():
    Skip("residual", nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))


def test_a_lone_block_that_knows_its_place_starts_as_in_a_row():
    row = sw.skip_row("fixup", bodies(10))
    alone = [Skip("fixup", start, index=place, count=10) for place, start in enumerate(bodies(10))]
    for block, other in zip(row, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(block.parameters(), other.parameters(), strict=True))


def test_residual_and_highway_by_name_leave_the_body_as_it_is():
    for short in (sw.Residual, sw.Highway):
        (start,), (inner,) = bodies(1), bodies(1)
        short(inner)
        assert all(torch.equal(a, b) for a, b in zip(start.parameters(), inner.parameters(), strict=True))


def test_a_rule_of_ones_own_is_asked_for_its_depth_too():
    class Sums(Gate):
        def __init__(self, placement: Placement) -> None:
            super().__init__(placement)
            self.share = 1 / placement.count

        def forward(self, z: Tensor) -> Flow:
            return Flow(self.share, 1.0)

    GATES.add("test-sums", Sums)
    try:
        with pytest.raises(ValueError, match="count="):
            Skip("test-sums", body("vector"))
        assert [block.gate.share for block in sw.skip_row("test-sums", bodies(4))] == [0.25] * 4
    finally:
        GATES.remove("test-sums")


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 3), (0, 0)])
def test_a_place_that_is_none_is_refused(index, count):
    with pytest.raises(ValueError, match="from 0 to count - 1"):
        Skip("highway", body("vector"), index=index, count=count)


def test_a_row_takes_shortcuts_pre_and_post():
    inner = [nn.Linear(4, 6), nn.Linear(6, 6)]
    row = sw.skip_row("residual:scale=1", inner, "B", pre=[None, nn.Tanh()], post=nn.BatchNorm1d(6)).eval()
    x = torch.randn(8, 4)
    y = row[0].post(inner[0](x) + row[0].shortcut(x))
    torch.testing.assert_close(row(x), row[1].post(inner[1](y.tanh()) + y.tanh()))
    assert row[0].post is not row[1].post
    same = nn.Identity()
    assert sw.skip_row("plain", inner, [same, None])[0].shortcut is same


@pytest.mark.parametrize("name", ["shortcut", "pre", "post"])
def test_what_is_given_for_each_block_is_counted(name):
    with pytest.raises(ValueError, match=f"{name} is one module for all, or one for each of the 3 blocks; 2 are given"):
        sw.skip_row("plain", bodies(3), **{name: [None, None]})


def test_a_row_draws_shortcuts_before_gates():
    """So nets of different gates share their shortcuts, from one seed."""
    made = [sw.skip_row(gate, bodies(3), "C") for gate in ("residual", "highway")]
    assert all(
        torch.equal(a.shortcut.projection.weight, b.shortcut.projection.weight) for a, b in zip(*made, strict=True)
    )
