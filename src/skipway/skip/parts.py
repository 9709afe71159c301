"""What a body consists of: its parts, and among them the layers that rules initialise."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd

LAYERS = (nn.Linear, _ConvNd, nn.MultiheadAttention)


def parts_of(module: nn.Module) -> dict[str, nn.Module]:
    """Its parts, by name: the modules without children but those that compute weights; attention is one of them."""
    found: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        inside = name and name.rpartition(".")[0] in found  # the projection of an attention
        if not inside and "parametrizations" not in name.split(".") and _is_part(part):
            found[name] = part
    return found


def layers_of(body: nn.Module) -> Iterator[nn.Module]:
    """The linear and convolution layers of a body, in order of definition."""
    return (module for module in body.modules() if isinstance(module, nn.Linear | _ConvNd))


def layer_name(name: str, part: nn.Module) -> str | None:
    """The name of the linear or convolution layer that a part is, or in which attention ends; None if it is none."""
    if isinstance(part, nn.MultiheadAttention):
        return f"{name}.out_proj".lstrip(".")
    return name if isinstance(part, LAYERS) else None


def _is_part(module: nn.Module) -> bool:
    return isinstance(module, nn.MultiheadAttention) or all(n == "parametrizations" for n, _ in module.named_children())
