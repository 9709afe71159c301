"""An LSTM whose depth is studied: layers of nn.LSTM, each behind a gate, that guess the next character of a text.

The text is Python's own documentation of its language, which comes with Python. About eight minutes on two cores.
"""

import argparse
from pydoc_data.topics import topics

from torch import Tensor, nn

import skipway as sw


class Stacked(nn.Module):
    """Characters to vectors, LSTM layers in blocks, a score for each character that may come next."""

    def __init__(self, depth: int, gate: str, characters: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.layers = sw.skip_row(gate, [nn.LSTM(width, width, batch_first=True) for _ in range(depth)])
        self.head = nn.Linear(width, characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) of characters to (batch, length, characters): scores."""
        x = self.embed(tokens)
        for layer in self.layers:  # a block returns what its body does: the sequence, and the layer's state
            x, _ = layer(x)
        return self.head(x)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4, 8])
parser.add_argument("--characters", type=int, default=200_000)
asked = parser.parse_args()

text = "\n".join(topics[name] for name in sorted(topics))[: asked.characters]
data = sw.load([text], length=64, unit="characters")
recipe = sw.Recipe(learning_rates=(0.003, 0.01), optimizer="adamw", batch_size=32, steps=asked.steps)
study = sw.study(
    data,
    net=lambda depth, gate, specification: Stacked(depth, gate, specification.outputs),
    gates=["plain", "residual:scale=1", "highway"],  # an LSTM cannot be scaled, as residual would
    depths=asked.depths,
    seeds=[0],
    recipe=recipe,
    out="studies/lstm",
)
page, *pictures = sw.write_report(study)
_, rows = sw.query("select gate, depth, min(validation_loss) from runs group by all order by all", study.path)
for gate, depth, nats in rows:
    print(f"{gate} at depth {depth}: {nats:.2f} nats a character")
print(f"The page: {page}")
