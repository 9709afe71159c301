"""A net of local layers, whose depth is how far it sees: for `--data ring-transfer:n=8`, which needs n layers.

Nothing runs here; `skipway study --net examples/local.py:local` finds the function.
"""

from torch import Tensor, nn

import skipway as sw


class Layer(nn.Module):
    """One convolution around a ring, of a node and its two neighbours: the body of a block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel_size=3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, nodes) to the same."""
        return self.conv(x).relu()


class Node(nn.Module):
    """What stands at node 0."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, nodes) to (batch, width)."""
        return x[..., 0]


def local(depth: int, gate: str, specification, width: int = 16) -> nn.Module:
    """So many layers, each in a block of its own, so that the answer at node 0 knows the nodes within `depth` steps."""
    channels, _ = specification.shape
    layers = sw.skip_row(gate, [Layer(width) for _ in range(depth)])
    return nn.Sequential(nn.Conv1d(channels, width, 1), layers, Node(), nn.Linear(width, specification.outputs))
