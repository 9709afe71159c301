"""Short trainings whose numbers are kept in golden.json: who changes one raises a version, so that ids change too.

`python tests/golden.py` writes the file anew. It refuses where numbers changed and no version did.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import CLASSES, digits
from skipway.data.images.augment import AUGMENTATIONS, make_augmentations
from skipway.data.images.batches import BatchStream
from skipway.nets.factory import factory
from skipway.nets.registry import FAMILIES, build_family
from skipway.runs.definitions import definitions
from skipway.settings.registry import Spec
from skipway.skip.gate import GATES
from skipway.training.loop import Training
from skipway.training.recipe import RECIPES, Recipe
from skipway.training.replicas import Single
from skipway.training.world import ALONE

FILE = Path(__file__).with_name("golden.json")
# Losses agree to float32's rounding, 6e-8, times what six steps make of it: 7e-7 at most under four instruction sets
# and two thread counts (LOG.md). A factor of 70 is left for others.
TOLERANCE = 5e-5
_DEPTHS = {"dense": 5, "imagenet": 18, "highway-mnist": 10, "highway-cifar": 19}  # others: 8
_WIDTHS = {"highway-2025": None, "dense": 12}  # others: 4, 8 where the family's least
_STEPS, _BATCH = 6, 16


@dataclass(frozen=True)
class Case:
    """A net and how it is trained, on digits."""

    family: str = "dense"
    gate: str = "highway"
    recipe: Recipe = RECIPES["dense"]
    depth: int | None = None

    @property
    def versions(self) -> dict[str, int]:
        """Of all that its numbers depend on."""
        named = definitions(factory(self.family), self.gate, self.recipe.augment)
        return {"recipe": Recipe.version, **{f"{each.kind} {each.name}": each.entry.version for each in named}}

    def losses(self) -> list[float]:
        """The training loss of each step."""
        data, _ = digits()
        recipe = replace(self.recipe, batch_size=_BATCH, steps=_STEPS, epochs=None)
        recipe = replace(recipe, warmup_steps=min(2, recipe.warmup_steps))
        stream = BatchStream(
            data.train,
            data.pipeline(preprocess=recipe.preprocess).preprocess,
            batch_size=_BATCH,
            seeds=[0],
            augment=make_augmentations(recipe.augment),
            scale=data.scale,
            num_classes=data.num_classes,
        )
        training = Training(Single(self._net()), stream, recipe, CLASSES, rates=[0.05], steps=_STEPS)
        losses = []
        for _ in range(_STEPS):
            training.advance()
            losses += training.meter.take(ALONE)[0]
        return [float(f"{loss:.8g}") for loss in losses]

    def _net(self) -> nn.Module:
        data, _ = digits()
        name = Spec.parse(self.family).name
        torch.manual_seed(0)
        net = build_family(
            self.family,
            gate=self.gate,
            depth=self.depth or _DEPTHS.get(name, 8),
            shape=data.shape,
            classes=data.num_classes,
            width=_WIDTHS.get(name, 8),
        )
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # its masks come from other generators on other processors
        return net


def cases() -> dict[str, Case]:
    """All of them, by what each is there to hold."""
    layers = {"fixup": "dense:layers=2"}
    adamw = Recipe(optimizer="adamw", weight_decay=0.1, schedule="exponential")
    constant = Recipe(schedule="constant", preprocess="channel", nesterov=True)
    recipes = {**RECIPES, "adamw": adamw, "constant": constant}
    small = {name: replace(r, augment=("crop:pad=2", "flip") if r.augment else ()) for name, r in recipes.items()}
    return {
        **{f"gate {name}": Case(layers.get(name, "dense"), name) for name in GATES},
        **{f"gate layerscale, depth {depth}": Case(gate="layerscale", depth=depth) for depth in (21, 26)},
        **{f"family {name}": Case(name) for name in FAMILIES},
        **{f"family {name}, residual": Case(name, "residual") for name in FAMILIES},
        **{f"shortcut {name}": Case(f"cifar:shortcut={name}") for name in ("A:pad=sides", "B", "C", "dropout")},
        **{f"recipe {name}": Case(recipe=recipe) for name, recipe in small.items()},
        **{f"augmentation {name}": Case(recipe=Recipe(augment=(_on_digits(name),))) for name in AUGMENTATIONS},
    }


def _on_digits(augmentation: str) -> str:
    return {"cutout": "cutout:size=4"}.get(augmentation, augmentation)


def defaults() -> dict[str, Any]:
    """A recipe's fields as they stand, which an identity leaves out."""
    values = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING}
    return json.loads(json.dumps({name: value for name, value in values.items() if name != "learning_rates"}))


def agree(losses: list[float], kept: list[float]) -> bool:
    """Whether numbers are those that were kept."""
    return losses == pytest.approx(kept, rel=TOLERANCE)


def main() -> None:
    """Write the file."""
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    found: dict[str, Any] = {}
    for name, case in cases().items():
        entry, losses = kept.get(name), case.losses()
        if entry and entry["versions"] == case.versions:
            assert agree(losses, entry["losses"]), f"{name}: numbers changed, and no version of {[*case.versions]}."
            losses = entry["losses"]
        found[name] = {"versions": case.versions, "losses": losses}
    old = kept.get("defaults")
    if old and old["version"] == Recipe.version:
        assert old["fields"].items() <= defaults().items(), "a default of Recipe changed, and not its version."
    found["defaults"] = {"version": Recipe.version, "fields": defaults()}
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in found.items())
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
