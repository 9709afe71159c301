"""Hugging Face's Trainer, watched: a small BERT learns which package a paragraph documents. Two minutes.

Needs transformers: pip install 'skipway[transformers]'. Nothing is downloaded.
"""

import argparse
import zlib

from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import skipway as sw
from skipway.runs.huggingface import HuggingFaceWatch
from texts import PACKAGES, paragraphs

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=200)
asked = parser.parse_args()

WORDS, LENGTH = 2000, 32
names = list(PACKAGES)
samples = []
for text, package in zip(*paragraphs(500), strict=True):
    words = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in text.split()[:LENGTH]]
    padding = [0] * (LENGTH - len(words))
    mask = [1] * len(words) + padding
    samples.append({"input_ids": words + padding, "attention_mask": mask, "labels": names.index(package)})

config = BertConfig(
    vocab_size=WORDS, hidden_size=64, num_hidden_layers=6, num_attention_heads=4, intermediate_size=128, num_labels=2
)
arguments = TrainingArguments(
    "trainer", max_steps=asked.steps, per_device_train_batch_size=32, learning_rate=1e-3, logging_steps=10,
    eval_strategy="steps", eval_steps=max(10, asked.steps // 2), save_strategy="no", report_to=[], disable_tqdm=True,
)  # fmt: skip
watch = HuggingFaceWatch(every=10, out="runs/bert", name="a small BERT")
held_out = [sample for number, sample in enumerate(samples) if number % 5 == 0]
learned = [sample for number, sample in enumerate(samples) if number % 5]
net = BertForSequenceClassification(config)
Trainer(net, arguments, train_dataset=learned, eval_dataset=held_out, callbacks=[watch]).train()

run = sw.Run(watch.run.path)
for row in run.metrics():
    print({name: round(value, 4) for name, value in row.items()})
for row in run.probes():
    if row["moment"] == "end":
        print(f"{row['name']}: gradient {row['gradient_norm']:.2g}")
