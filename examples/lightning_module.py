"""A Lightning module, watched: a deep highway net on scikit-learn's digits. Half a minute.

Needs lightning: pip install 'skipway[lightning]'.
"""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import skipway as sw
from skipway.runs.lightning import LightningWatch

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
asked = parser.parse_args()


class Classifier(LightningModule):
    """Fifty highway layers, and what Lightning asks of a module."""

    def __init__(self) -> None:
        super().__init__()
        self.net = sw.build("highway-dense-50", in_features=64, num_classes=10)

    def training_step(self, batch, index):
        """The loss of a batch."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, index) -> None:
        """What is logged as val_loss becomes a column of the curve."""
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        """Any optimizer."""
        return torch.optim.SGD(self.parameters(), 0.3, momentum=0.9)


torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x).float() / 16, torch.tensor(y))
train, validation = random_split(data, [0.8, 0.2])
watch = LightningWatch(every=20, out="runs/lightning", name="highway-dense-50")
trainer = Trainer(max_steps=asked.steps, accelerator="cpu", callbacks=[watch], logger=False, enable_checkpointing=False)
trainer.fit(Classifier(), DataLoader(train, 64, shuffle=True), DataLoader(validation, 256))

run = sw.Run(watch.run.path)
for row in run.metrics():
    print({name: round(value, 4) for name, value in row.items()})
gates = [row["transform_mean"] for row in run.probes() if row["moment"] == "end" and row["kind"] == "block"]
print(f"{len(gates)} gates; mean T of the first {gates[0]:.3f}, of the last {gates[-1]:.3f}")
