"""What a recipe treats apart: counted on nets whose parameters are known."""

from __future__ import annotations

import pytest

from skipway.nets.registry import build
from skipway.training.groups import ParameterGroup, parameter_groups
from skipway.training.recipe import RECIPES, Recipe
from skipway.training.replicas import Single, Stack

AUTHORS = RECIPES["highway-cifar"]


def test_the_highway_authors_biases_learn_twice_as_fast_and_do_not_decay():
    found = parameter_groups(build("highway-cifar-19", num_classes=10), AUTHORS)
    biases = {name: treatment for name, treatment in found.items() if name.endswith("bias")}
    assert len(biases) == 18 + 14 + 1
    assert set(biases.values()) == {ParameterGroup(rate=2.0, decay=0.0)}
    assert {found[name] for name in found.keys() - biases} == {ParameterGroup(rate=1.0, decay=1e-3)}


def test_a_batch_norms_shift_is_no_bias_and_does_not_decay_either():
    found = parameter_groups(build("highway-20", num_classes=10), AUTHORS)
    assert sum(treatment.rate == 2.0 for treatment in found.values()) == 9 + 1  # the gates' and the last layer's
    assert {found[name] for name in found if "bn" in name} == {ParameterGroup(rate=1.0, decay=0.0)}


def test_he_et_al_treat_all_alike():
    found = parameter_groups(build("resnet-20", num_classes=10), RECIPES["he2015"])
    assert set(found.values()) == {ParameterGroup(rate=1.0, decay=1e-4)}


@pytest.mark.parametrize("gate", ["rezero", "layerscale"])
def test_a_gates_scale_is_no_weight(gate):
    found = parameter_groups(build(f"{gate}-8", num_classes=10), Recipe(weight_decay=0.1, decay_on="weights"))
    scales = [treatment for name, treatment in found.items() if name.endswith("gate.scale")]
    assert scales == [ParameterGroup(rate=1.0, decay=0.0)] * 3


def test_a_stack_is_treated_as_its_nets_are():
    nets = [build("layerscale-dense-4", in_features=8, num_classes=3) for _ in range(2)]
    assert parameter_groups(Stack(nets).template, AUTHORS) == parameter_groups(Single(nets[0]).template, AUTHORS)
