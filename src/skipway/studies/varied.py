"""What a study varies must make a difference: nets of two depths, gates or seeds are two nets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import zip_longest

import torch
from torch import Tensor, nn

from skipway.batch.trees import leaves, tree_map
from skipway.data.dataset import Data, evenly
from skipway.skip.copies import full_copy, is_lazy
from skipway.skip.gate import Gate
from skipway.tasks.task import Task
from skipway.training.replicas import Single

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_SAMPLES = 4  # of the trial of two gates


def check_depth_counts(spec: str, depth: int, net: nn.Module, met: dict[Shapes, int]) -> None:
    """Nets of two depths differ; those that were met are noted by the shapes of their weights.

    Raises:
        ValueError: if they do not.
    """
    own = tuple((name, tuple(p.shape)) for name, p in net.named_parameters())
    if met.get(own, depth) != depth:
        raise ValueError(
            f"net {spec}: its nets of depth {met[own]} and {depth} have the same parameters. What makes them must heed "
            f"`depth`: a study is of nets that differ in depth.{_unregistered(net)}"
        )
    met[own] = depth


def _unregistered(net: nn.Module) -> str:
    """A hint at modules that a list or a dictionary of a net's holds, which torch does not see there."""
    for module in net.modules():
        for name, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
            if not name.startswith("_") and any(isinstance(each, nn.Module) for each in held):
                return (
                    f" The layers in `{name}` of {type(module).__name__}, a {type(value).__name__}, are not "
                    "registered, and would not be trained: put them into a torch.nn.ModuleList or ModuleDict."
                )
    return ""


def check_seed_counts(spec: str, depth: int, nets: Iterable[tuple[int, nn.Module]]) -> None:
    """Nets of two seeds start from different weights.

    Args:
        spec: how their maker is called.
        depth: of all of them.
        nets: of one gate and depth, each with its seed.

    Raises:
        ValueError: if two start from the same ones, bit by bit.
    """
    met: dict[str, int] = {}
    for seed, net in nets:
        if is_lazy(net) or not any(True for _ in net.parameters()):
            return
        weights = hashlib.sha256()
        for tensor in net.state_dict().values():
            if isinstance(tensor, Tensor):
                weights.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if (other := met.setdefault(weights.hexdigest(), seed)) != seed:
            raise ValueError(
                f"net {spec}: its nets of the seeds {other} and {seed} start from the same weights at depth {depth}: "
                "as trainings they differ in the order of the data alone, and their spread would tell too little. What "
                "makes them must draw weights from torch's global generator, which is seeded before each call, and "
                "must not seed it again (torch.manual_seed). Where weights are always the same, give one seed: "
                "--seeds 0, or seeds=0 in Python."
            )


def check_gate_counts(spec: str, gate: str, depth: int, nets: Mapping[str, nn.Module], data: Data, task: Task) -> None:
    """A net differs from those of other gates, of the same depth and seed: in its parts, or in what it computes.

    Args:
        spec: how their maker is called.
        gate: of the net that is held against the others.
        depth: of all of them.
        nets: by their gates.
        data: whose batch tells whether they compute the same.
        task: whose losses do.

    Raises:
        ValueError: if it has the parts and weights of another, and answers and learns as that does.
    """
    net = nets[gate]
    for other, theirs in nets.items():
        if other != gate and _same_parts(net, theirs) and _same_step(net, theirs, data, task):
            raise ValueError(
                f"net {spec}: its nets of the gates {other} and {gate} are the same at depth {depth}: the same parts, "
                "weights and outputs. What makes them must heed what it takes: skipway.skip_row(gate, bodies), or "
                "skip(body) for each block. If its nets have no gate, let it take neither `gate` nor `skip`; or give "
                "one gate."
            )


def _same_parts(one: nn.Module, other: nn.Module) -> bool:
    if is_lazy(one) or is_lazy(other):
        return False
    pairs = zip_longest(one.named_modules(), other.named_modules(), fillvalue=("", None))
    if any(a != b or type(m) is not type(n) or _settings(m) != _settings(n) for (a, m), (b, n) in pairs):
        return False
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(_equal(ours[name], theirs[name]) for name in ours)


def _settings(module: nn.Module | None) -> object:
    """What tells two gates of one rule apart."""
    simple = (bool, int, float, str)
    return module and isinstance(module, Gate) and {k: v for k, v in vars(module).items() if isinstance(v, simple)}


def _same_step(one: nn.Module, other: nn.Module, data: Data, task: Task) -> bool:
    """Whether outputs and gradients of a training step are the same: blocks of somebody's own may hide a gate."""
    try:
        ours, theirs = (_step(net, data, task) for net in (one, other))
    except Exception:  # somebody else's nets: what does not run is no proof
        return False
    return len(ours) == len(theirs) and all(map(_equal, ours, theirs))


def _step(net: nn.Module, data: Data, task: Task) -> list[Tensor | None]:
    wanted = evenly(data.train, min(_SAMPLES, len(data.train)))
    x, y = next(data.pipeline().batches(wanted, _SAMPLES))
    inputs, targets = (tree_map(lambda leaf: leaf[None], tree) for tree in (x, y))
    copied = full_copy(net).train()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        outputs = Single(copied)(inputs)
        torch.autograd.backward(task.losses(outputs, targets).sum())
    return [*leaves(outputs), *(parameter.grad for parameter in copied.parameters())]


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one is None and other is None
