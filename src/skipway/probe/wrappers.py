"""What a net is wrapped in, and which of its modules hooks see: the rest is said, not guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

_SHOWN = 3
OUTPUTS = "outputs, their gradients and gates"


@dataclass(frozen=True)
class Visible:
    """A net without its wrappers, and what of it can be seen from outside."""

    net: nn.Module
    modules: frozenset[str]  # on which a hook is called, and changes nothing
    weights: bool  # whether this process holds whole gradients of the weights
    unseen: tuple[str, ...]  # what cannot be seen, and why


def visible(model: nn.Module) -> Visible:
    """Look through what `torch.compile` and data-parallel training put around a net.

    A hook on a module within compiled code is not called, or it is compiled as well and changes the order of sums. A
    module that `torch.compile` wraps is itself seen from outside, where the net that holds it is not compiled.
    """
    *around, net = _layers_of_wrapping(model)
    compiled, within = _compiled(net, whole=any(map(_is_compiled, around)))
    names = {name for name, _ in net.named_modules()}
    unseen = []
    if compiled:
        unseen.append(f"{OUTPUTS} within compiled code: {_some(compiled)}")
    if any(isinstance(wrapper, DataParallel) for wrapper in around):
        within = names
        unseen.append(f"{OUTPUTS}: DataParallel runs copies of the net in threads")
    if sharded := any(map(is_sharded, net.parameters())) or any(map(_is_fsdp, net.modules())):
        unseen.append("gradients of weights: each process holds a part of them (FSDP)")
    return Visible(net, frozenset(names - within), not sharded, tuple(unseen))


def _layers_of_wrapping(model: nn.Module) -> Iterator[nn.Module]:
    """A model and what it wraps, from outside to inside; the net itself comes last."""
    yield model
    if _is_compiled(model):
        yield from _layers_of_wrapping(model.get_submodule("_orig_mod"))
    elif isinstance(model, DataParallel | DistributedDataParallel):
        yield from _layers_of_wrapping(model.module)


def _compiled(net: nn.Module, *, whole: bool) -> tuple[list[str], set[str]]:
    """Where compiled code, or TorchScript, begins; and all modules on which hooks would be within it."""
    begins = [""] if whole else []
    wrapping, within = set[str](), set[str]()
    for name, module in net.named_modules():  # a module comes before its parts
        holder = name.rpartition(".")[0]
        if whole or (name and holder in within | wrapping):
            within.add(name)
        elif module._compiled_call_impl is not None or isinstance(module, torch.jit.ScriptModule):
            begins.append(name)
            within.add(name)
        elif _is_compiled(module):
            begins.append(name)
            wrapping.add(name)
    return begins, within


def _is_compiled(module: nn.Module) -> bool:
    """Whether it is what `torch.compile` made of a module; its class is not imported, since that loads the compiler."""
    return "_orig_mod" in module._modules


def _is_fsdp(module: nn.Module) -> bool:
    return any(base.__name__ in ("FullyShardedDataParallel", "FSDPModule") for base in type(module).__mro__)


def is_sharded(tensor: object) -> bool:
    """Whether it is a DTensor, whose values lie in several processes."""
    return hasattr(tensor, "device_mesh")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "the whole net" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
