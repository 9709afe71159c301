"""`watch` as a callback of Hugging Face's Trainer and of Lightning's: the same losses, and a run directory."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skipway.rundir.integrity import read_run
from skipway.rundir.run import Run

PACKAGES = {"huggingface": "transformers", "lightning": "lightning"}
# Their own warnings, of the machine and of what they will call otherwise one day.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("module", PACKAGES)
def test_without_the_package_the_error_names_the_extra(module):
    package = PACKAGES[module]
    if find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ImportError, match=rf"pip install 'skipway\[{package}\]'"):
        importlib.import_module(f"skipway.runs.{module}")


@pytest.fixture
def huggingface(peers, tmp_path) -> SimpleNamespace:
    """A tiny BERT and the Trainer; `peers` makes torchvision importable, which they import."""
    transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    from skipway.runs.huggingface import HuggingFaceWatch

    class Losses(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.told: list[float] = []

        def on_log(self, args, state, control, logs=None, **kwargs) -> None:
            self.told += [logs["loss"]] if "loss" in logs else []

    def train(*callbacks, **settings) -> list[float]:
        torch.manual_seed(0)
        size = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 8}
        config = transformers.BertConfig(vocab_size=20, max_position_embeddings=8, **size)
        net = transformers.BertForSequenceClassification(config)
        ids = torch.randint(20, (32, 6), generator=torch.Generator().manual_seed(0))
        data = [{"input_ids": row, "labels": row[0] % 2} for row in ids]
        losses = Losses()
        arguments = transformers.TrainingArguments(
            str(tmp_path / "trainer"),
            per_device_train_batch_size=4,
            num_train_epochs=1,
            logging_steps=1,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            **settings,
        )
        trainer = transformers.Trainer(
            net, arguments, train_dataset=data, eval_dataset=data[:4], callbacks=[losses, *callbacks]
        )
        trainer.train()
        return losses.told

    return SimpleNamespace(train=train, Watch=HuggingFaceWatch)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_hugging_face_trainer(huggingface, parts, tmp_path):
    watch = huggingface.Watch(every=2, out=tmp_path / "run", name="tiny", save=True)
    losses = huggingface.train(gradient_accumulation_steps=parts)
    assert huggingface.train(watch, gradient_accumulation_steps=parts) == losses
    run = Run(watch.run.path)
    info, rows, probes = read_run(run), run.metrics(), run.probes()
    assert info["status"] == "done"
    assert info["unseen"] == []
    assert info["net"]["blocks"] == 3
    steps = 8 // parts
    assert [row["step"] for row in rows] == list(range(2, steps + 1, 2))
    means = [sum(losses[at : at + 2]) / 2 for at in range(0, steps, 2)]
    assert [row["train_loss"] for row in rows] == pytest.approx(means)
    assert "validation_loss" in rows[-1]
    assert not any("per_second" in name for name in rows[-1])
    names = [row["name"] for row in probes if row["moment"] == "start"]
    assert names[:4] == ["bert.embeddings", *(f"bert.encoder.layer.{place}" for place in range(3))]
    assert all(row["activation_std"] and row["gradient_norm"] and row["weight_gradient_norm"] for row in probes)


@pytest.fixture
def lightning(peers, monkeypatch) -> SimpleNamespace:
    """A small module and the Trainer."""
    pytorch = pytest.importorskip("lightning.pytorch", reason="the extra lightning is not installed")
    from skipway.runs.lightning import LightningWatch

    class Module(pytorch.LightningModule):
        def __init__(self, fails_at: int | None) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
            self.fails_at, self.told = fails_at, []

        def training_step(self, batch, index):
            if index == self.fails_at:
                raise ZeroDivisionError("mine")
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.told.append(loss.item())
            return loss

        def validation_step(self, batch, index) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 0.01)

    def train(*callbacks, fails_at: int | None = None, **settings) -> list[float]:
        torch.manual_seed(0)
        module = Module(fails_at)
        data = torch.utils.data.TensorDataset(torch.randn(32, 8), torch.randint(3, (32,)))
        batches = torch.utils.data.DataLoader(data, 4, shuffle=True)
        quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        trainer = pytorch.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=list(callbacks), **dict.fromkeys(quiet, False), **settings
        )
        trainer.fit(module, batches, batches)
        return module.told

    return SimpleNamespace(train=train, Watch=LightningWatch)


@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}])
def test_the_lightning_trainer(lightning, settings, tmp_path):
    watch = lightning.Watch(every=2, out=tmp_path / "run")
    losses = lightning.train(**settings)
    assert lightning.train(watch, **settings) == losses
    run = Run(watch.run.path)
    rows = run.metrics()
    parts = settings.get("accumulate_grad_batches", 1)
    assert read_run(run)["status"] == "done"
    assert [row["step"] for row in rows] == list(range(2, 8 // parts + 1, 2))
    means = [sum(losses[at : at + 2 * parts]) / (2 * parts) for at in range(0, 8, 2 * parts)]
    assert [row["train_loss"] for row in rows] == pytest.approx(means, rel=1e-6)
    assert "validation_loss" in rows[-1]
    assert all(row["activation_std"] and row["gradient_norm"] and row["weight_gradient_norm"] for row in run.probes())


def test_an_exception_in_a_lightning_module_is_told(lightning, tmp_path):
    with pytest.raises(ZeroDivisionError):
        lightning.train(lightning.Watch(out=tmp_path / "run"), fails_at=3)
    info = read_run(Run(tmp_path / "run"))
    assert info["status"] == "failed"
    assert "mine" in info["reason"]
    assert "test_watch_callbacks.py" in info["reason"]
