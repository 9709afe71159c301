"""What a study asks for: a function that makes a net of any depth and gate. diabetes.py studies this one.

Nothing runs here; `skipway study --net examples/mlp.py:mlp` finds the function.
"""

from torch import Tensor, nn

import skipway as sw


class Layer(nn.Module):
    """One hidden layer: the body of a block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors to vectors of the same width."""
        return self.linear(x).relu()


def mlp(depth: int, gate: str, specification, width: int = 32) -> nn.Module:
    """So many hidden layers, each in a block of its own; the specification says what goes in and what comes out."""
    (features,) = specification.shape
    hidden = sw.skip_row(gate, [Layer(width) for _ in range(depth)])
    return nn.Sequential(nn.Linear(features, width), hidden, nn.Linear(width, specification.outputs))
