"""Recipes: how a net is trained, as data. No torch here, so that the command line can show them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args

from skipway.settings.limits import EPOCHS, STEPS, WARMUP_STEPS
from skipway.settings.registry import Registry, checked
from skipway.training.optimizers import OPTIMIZERS
from skipway.training.schedules import SCHEDULES, Moment

Decayed = Literal["all", "weights"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a net is trained. The defaults are the dense nets' recipe."""

    version: ClassVar[int] = 1
    """Part of a run's identity: one more when a default changes, or what a training does with its recipe."""

    optimizer: str = "sgd"
    """sgd (stochastic gradient descent with momentum), adamw, or one of your own, with settings if need be."""
    learning_rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """At the schedule's height: those that a study tries first, for every gate and depth; of several, it goes beyond
    where the best is the lowest or the highest. The dense nets' best ones reach from 0.03, of plain-100, to 3, of
    highway-100 (LOG.md, "How far the learning rates reach")."""
    momentum: float = 0.9
    """SGD's momentum, AdamW's beta1."""
    nesterov: bool = False
    """Nesterov's form of SGD's momentum."""
    beta2: float = 0.999
    """AdamW's second-moment decay."""
    weight_decay: float = 0.0
    """L2 penalty in the gradient for SGD, decoupled for AdamW."""
    decay_on: Decayed = "all"
    """What weight decay pulls on: all parameters, or the layers' weights alone (no bias, no norm, no gate's scale)."""
    bias_rate: float = 1.0
    """The learning rate of linear and convolution layers' biases, as a multiple of the weights'."""
    batch_size: int = 128
    """Samples in a step."""
    steps: int | None = 300
    """Optimizer steps; or give epochs."""
    epochs: float | None = None
    """Passes over the training split; counts where given, instead of steps."""
    schedule: str = "cosine"
    """How the learning rate falls after the warm-up: constant, step, exponential, cosine (ends at 0), or one of your
    own, with settings if need be."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Where a step schedule multiplies by `decay`, in fractions of the training."""
    decay: float = 0.1
    """A step schedule's factor; the factor an exponential schedule reaches at the end."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    warmup_hold: float | None = None
    """Hold this share of the learning rate over the warm-up, instead of rising."""
    clip: float | None = 1.0
    """Largest norm of the gradient, of each replica by itself; None is no limit."""
    preprocess: str = "auto"
    """How inputs are normalised; auto is what is usual for such data. Of images: pixel (the mean image is subtracted;
    the usual), channel (mean and deviation of each channel), scale, contrast."""
    augment: tuple[str, ...] = ()
    """Random changes of the training images, with settings if need be: crop:pad=4 flip cutout mixup cutmix; and, with
    the extra kornia and named before these, randaugment:n=2,m=9 colorjitter."""

    def problems(self) -> list[str]:
        """Everything that is out of range, a sentence each; empty for a recipe that can be run."""
        rules = [
            _named(self.optimizer, OPTIMIZERS),
            _named(self.schedule, SCHEDULES),
            (
                bool(self.learning_rates) and all(0 < rate < math.inf for rate in self.learning_rates),
                f"learning_rates must be one or more numbers above 0; they are {self.learning_rates}.",
            ),
            (
                len(set(self.learning_rates)) == len(self.learning_rates),
                f"learning_rates must differ from each other; they are {self.learning_rates}.",
            ),
            (0 <= self.momentum < 1, f"momentum must be from 0 to below 1; it is {self.momentum}."),
            (0 <= self.beta2 < 1, f"beta2 must be from 0 to below 1; it is {self.beta2}."),
            (not self.nesterov or self.momentum > 0, "nesterov needs a momentum above 0."),
            (
                not self.nesterov or self.optimizer == "sgd",
                f"nesterov is a form of sgd; the optimizer is {self.optimizer}.",
            ),
            (0 <= self.weight_decay < math.inf, f"weight_decay must be a number from 0; it is {self.weight_decay}."),
            _one_of("decay_on", self.decay_on, get_args(Decayed)),
            (0 < self.bias_rate < math.inf, f"bias_rate must be a number above 0; it is {self.bias_rate}."),
            (self.batch_size >= 1, f"batch_size must be 1 or more; it is {self.batch_size}."),
            (self.steps is not None or self.epochs is not None, "give steps or epochs."),
            (self.epochs != 0, "epochs must be above 0; it is 0."),
            (0 < self.decay <= 1, f"decay must be above 0 and up to 1; it is {self.decay}."),
            (
                self.epochs is not None or self.steps is None or self.warmup_steps < max(1, self.steps),
                f"warmup_steps must be below steps ({self.steps}), or it never ends; it is {self.warmup_steps}.",
            ),
            (
                self.warmup_hold is None or 0 < self.warmup_hold <= 1,
                f"warmup_hold is a share of the learning rate, above 0 and up to 1; it is {self.warmup_hold}.",
            ),
            (self.warmup_hold is None or self.warmup_steps > 0, "warmup_hold needs warmup_steps above 0."),
            (
                self.clip is None or 0 < self.clip < math.inf,
                f"clip must be a number above 0, or none; it is {self.clip}.",
            ),
            (
                all(0 < m < 1 for m in self.milestones) and list(self.milestones) == sorted(self.milestones),
                f"milestones must rise between 0 and 1 (fractions of the training); they are {self.milestones}.",
            ),
        ]
        found = [sentence for holds, sentence in rules if not holds]
        found += STEPS.problems("steps", self.steps)
        found += EPOCHS.problems("epochs", self.epochs)
        found += WARMUP_STEPS.problems("warmup_steps", self.warmup_steps)
        return found

    def total_steps(self, samples: int) -> int:
        """Optimizer steps in all, for a training split of so many samples.

        Raises:
            ValueError: if they are more than `STEPS` allows.
        """
        if self.epochs is not None:
            steps = max(1, math.ceil(self.epochs * samples / self.batch_size))
            for sentence in STEPS.problems(f"the steps of {self.epochs:,g} epochs", steps):
                raise ValueError(sentence)
            return steps
        assert self.steps is not None
        return self.steps

    def rate_factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by at a step (from 0) of so many."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1) if self.warmup_hold is None else self.warmup_hold
        done = (step - self.warmup_steps) / max(1, steps - self.warmup_steps)
        return _factor(self.schedule, Moment(done, step, steps, self))

    def identity(self) -> dict[str, Any]:
        """The fields that decide a run's numbers beside its learning rate, where they are not at their defaults.

        Those that have no part in it are left out, too: AdamW's beta2 where SGD trains.
        """
        unused = {"learning_rates", "steps" if self.epochs is not None else "epochs"}
        unused.update(_UNUSED.get(self.optimizer, ()), _UNUSED.get(self.schedule, ()))
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in unused}
        default = {f.name: f.default for f in fields(self)}
        versioned = {} if self.version == 1 else {"version": self.version}
        return {**versioned, **{name: value for name, value in own.items() if value != default[name]}}


# What has no part in the numbers of ours; what one of a user's own may ask for has.
_UNUSED = {
    "sgd": ("beta2",),
    "adamw": ("nesterov",),
    "step": (),
    "exponential": ("milestones",),
    "constant": ("milestones", "decay"),
    "cosine": ("milestones", "decay"),
}


def _factor(schedule: str, at: Moment) -> float:
    """A schedule's factor at a moment.

    Raises:
        ValueError: if it is no number from 0.
    """
    # In every step: one of ours is not parsed.
    spec = None if schedule in _UNUSED else checked(schedule, SCHEDULES)
    made = SCHEDULES[schedule]() if spec is None else SCHEDULES[spec.name](**dict(spec.settings))
    factor = made.factor(at)
    if not 0 <= factor < math.inf:
        raise ValueError(
            f"schedule {schedule}: at step {at.step} of {at.steps} the learning rate's factor is {factor}; it must be "
            "a number from 0."
        )
    return factor


def _named(spec: str, registry: Registry[Any]) -> tuple[bool, str]:
    """Whether a specification names an entry, and what is wrong with it."""
    try:
        checked(spec, registry)
    except ValueError as error:
        return False, f"{registry.kind} {spec!r} is not valid: {error}"
    return True, ""


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> tuple[bool, str]:
    return value in valid, f"{name} must be one of {', '.join(valid)}; it is {value!r}."


RECIPES: Registry[Recipe] = Registry("recipe")
# Measured for this project on digits: LOG.md, "The digits study".
RECIPES.add("dense", Recipe())

# He et al. 2015 (arXiv 1512.03385, section 4.2) on CIFAR-10: 8.75 % test error with ResNet-20, 6.97 % with ResNet-56.
# Fewer steps (--steps) keep the schedule's shape, since its milestones are shares of the training.
_HE = Recipe(
    learning_rates=(0.1,),
    weight_decay=1e-4,
    batch_size=128,
    steps=64_000,
    schedule="step",
    milestones=(0.5, 0.75),
    clip=None,
    preprocess="pixel",
    augment=("crop:pad=4", "flip"),
)
RECIPES.add("he2015", _HE)
# Their ResNet-110 starts at 0.01 until the training error is below 80 %, "about 400 iterations": 6.43 %.
RECIPES.add("he2015-110", replace(_HE, warmup_steps=400, warmup_hold=0.1))

# The configuration files of Srivastava et al. 2015 (arXiv 1507.06228, section 3): biases learn twice as fast.
_HIGHWAY = Recipe(
    nesterov=True,
    weight_decay=1e-3,
    decay_on="weights",
    bias_rate=2.0,
    batch_size=100,
    schedule="step",
    clip=None,
)
# MNIST, 10 layers: 99.4 % with 16 channels, 99.54 % with 32.
RECIPES.add(
    "highway-mnist",
    replace(_HIGHWAY, learning_rates=(0.01,), steps=180_000, milestones=(1 / 3, 2 / 3), preprocess="scale"),
)
# CIFAR-10, 19 layers: 92.28 %.
RECIPES.add(
    "highway-cifar",
    replace(
        _HIGHWAY,
        learning_rates=(0.025,),
        steps=200_000,
        milestones=(0.5, 0.75, 0.875),
        preprocess="contrast",
        augment=("crop:pad=8", "flip"),
    ),
)
