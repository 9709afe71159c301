"""What a forward pass ends in, read off its graph: the layer whose output F is, and whether a ReLU comes last."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Node = Any  # of a graph of the backward pass


def decides(node: Node | None, output: Tensor, start: Node) -> bool:
    """Whether an output depends on a graph's start through one node alone, and no weight matrix comes after it.

    Vectors may come after it: biases, norms, one factor a feature.

    Args:
        node: what made a layer's output; None if no gradient flows through it.
        output: F.
        start: what made the input.
    """
    after = _before(output.grad_fn, stop=node) if node is not None else {start}
    return start not in after and not any(_is_matrix(found) for found in after)


def ends_in_relu(output: Tensor) -> bool:
    """Whether the last operation is a ReLU, be it a module or a function."""
    return type(output.grad_fn).__name__ == "ReluBackward0"


def _before(node: Node | None, *, stop: Node) -> set[Node]:
    """A node and all that it is computed from, without what only the stop node is computed from."""
    found: set[Node] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is not None and node is not stop and node not in found:
            found.add(node)
            waiting += [earlier for earlier, _ in node.next_functions]
    return found


def _is_matrix(node: Node) -> bool:
    """Whether a node is a parameter that mixes features: of two dimensions or more that are not 1."""
    weight = getattr(node, "variable", None)
    return weight is not None and sum(size != 1 for size in weight.shape) > 1
