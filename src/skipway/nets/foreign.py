"""Other people's weights: load a checkpoint into a net, whoever named its parameters, and say what became of each.

Skipway's own files; torchvision's and timm's ResNets, whose names the ImageNet body shares; and the CIFAR ResNets of
github.com/akamaster/pytorch_resnet_cifar10, whose names are translated.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from skipway.nets.checkpoints import find_file, read_tensors

_log = logging.getLogger(__name__)
_SHOWN = 6  # names of a list in a message


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor of a checkpoint and of the net; names are the net's, where it has one."""

    source: str
    matched: tuple[str, ...]
    """Loaded."""
    reheaded: tuple[str, ...]
    """Of the last layer, which the file has for another number of classes: these start afresh."""
    missing: tuple[str, ...]
    """In the net alone: these stay as they were."""
    unexpected: tuple[str, ...]
    """In the file alone."""
    classes: tuple[int, int] | None = None
    """Classes in the file and in the net, where they differ."""
    note: str = ""
    """What else must agree, so that the net does what the file's net did."""

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.matched)} tensors loaded"]
        if self.classes:
            theirs, ours = self.classes
            fresh = _some(self.reheaded)
            lines.append(f"new head: {theirs} classes in the file, {ours} in the net; {fresh} start afresh")
        if self.missing:
            lines.append(f"not in the file, left as they were: {_some(self.missing)}")
        if self.unexpected:
            lines.append(f"in the file only: {_some(self.unexpected)}")
        return "\n".join([*lines, self.note] if self.note else lines)


def load_weights(net: nn.Module, source: str | os.PathLike[str], *, strict: bool = False) -> LoadReport:
    """Load weights into a net, in place; all or, on an error, none.

    A last layer for another number of classes is left as it is, and the log says so; everything else is kept.

    Args:
        net: any module; one that `skipway.nets.registry.build` made finds its weights under foreign names too.
        source: a safetensors or torch file, a run directory, or a Hub name (`skipway.nets.checkpoints.find_file`).
        strict: refuse a file that lacks tensors of the net, or has others; a new head is no difference.

    Returns:
        What matched, what was re-headed, what is missing, what was unexpected; readable by `str`.

    Raises:
        ValueError: if the file is not there, is not readable, would run code, has no name in common with the net, has
            another shape for a tensor than the net, or, where strict, other names.
    """
    tensors, note = _in_the_nets_names(read_tensors(find_file(source)), net)
    own: dict[str, Tensor] = net.state_dict()
    head, classes = _new_head(net, own, tensors)
    report = LoadReport(
        source=os.fspath(source),
        matched=tuple(name for name in tensors if name in own and name not in head),
        reheaded=tuple(name for name in own if name in head),
        missing=tuple(name for name in own if name not in tensors and name not in head and not _is_count(name)),
        unexpected=tuple(name for name in tensors if name not in own),
        classes=classes,
        note=note,
    )
    _check(report, own, tensors, strict)
    net.load_state_dict({name: tensors[name] for name in report.matched}, strict=False)
    if report.classes or report.note:
        _log.warning("%s", report)
    return report


def _check(report: LoadReport, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], strict: bool) -> None:
    if not report.matched:
        raise ValueError(
            f"{report.source} has no weights for this net: no name agrees. The file has {_some(list(tensors))}; the "
            f"net has {_some(list(own))}."
        )
    wrong = [name for name in report.matched if own[name].shape != tensors[name].shape]
    if wrong:
        shapes = _some(
            [f"{name} ({_shape(tensors[name])} in the file, {_shape(own[name])} in the net)" for name in wrong]
        )
        raise ValueError(f"{report.source} does not fit this net: {shapes}. Build the net that the file was made for.")
    if strict and (report.missing or report.unexpected):
        raise ValueError(f"these weights and this net differ in names; strict=False loads what agrees.\n{report}")


def _new_head(
    net: nn.Module, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> tuple[frozenset[str], tuple[int, int] | None]:
    """The names of the last layer's tensors and the classes in file and net, if these differ and nothing else does."""
    last = [name for name, module in net.named_modules() if module._parameters][-1:]
    weight = f"{last[0]}.weight" if last else ""
    if weight not in own or weight not in tensors:
        return frozenset(), None
    theirs, ours = tensors[weight].shape, own[weight].shape
    if theirs[1:] != ours[1:] or theirs[:1] == ours[:1]:
        return frozenset(), None
    return frozenset({weight, f"{last[0]}.bias"} & own.keys()), (theirs[0], ours[0])


def _in_the_nets_names(tensors: Mapping[str, Tensor], net: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Under akamaster's rule if more names then are the net's, otherwise as they are; and what to note."""
    own = net.state_dict().keys()
    names = _akamaster(tensors)
    if len(own & set(names.values())) <= len(own & tensors.keys()):
        return dict(tensors), ""
    same = getattr(net, "architecture", {}).get("shortcut") == "A:pad=sides"
    note = "" if same else "akamaster's nets pad new channels on both sides: build this one with shortcut='A:pad=sides'"
    return {names[name]: tensor for name, tensor in tensors.items()}, note


def _akamaster(names: Iterable[str]) -> dict[str, str]:
    """To the CIFAR body's names: `layer2.0.conv1` counts blocks within a stage, the CIFAR body from the first on."""
    parsed = {name: re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", name) for name in names}
    places = sorted({(int(match[1]), int(match[2])) for match in parsed.values() if match})
    numbers = {place: number for number, place in enumerate(places)}
    return {
        name: f"blocks.{numbers[int(match[1]), int(match[2])]}.body.{match[3]}" if match else _stem_or_head(name)
        for name, match in parsed.items()
    }


def _stem_or_head(name: str) -> str:
    for theirs, ours in (("conv1.", "stem.conv."), ("bn1.", "stem.bn."), ("linear.", "head.linear.")):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _is_count(name: str) -> bool:
    """A batch norm's count of batches: older files lack it, and no output depends on it."""
    return name.endswith(".num_batches_tracked")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
