"""Text as a data set: codes of tokens in memory, ids of the training split's vocabulary in batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from skipway.batch.specification import Specification, TensorSpec
from skipway.batch.trees import Tree
from skipway.data.in_memory import InMemory
from skipway.data.samples import Samples
from skipway.data.sequences.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Lookup:
    """From codes to ids. In a corpus inputs and targets are tokens; of texts inputs alone, and they get a mask."""

    vocabulary: Vocabulary
    ids: Tensor
    """int64: of each code + 1."""
    unit: str
    length: int
    corpus: bool

    def __call__(self, samples: Samples) -> tuple[Tree, Tree]:
        tokens = self.ids[samples.inputs + 1]
        if self.corpus:
            return tokens, self.ids[samples.targets + 1]
        return {"tokens": tokens, "mask": samples.inputs >= 0}, samples.targets

    def to(self, device: torch.device | str) -> Lookup:
        return replace(self, ids=self.ids.to(device))

    def to_dict(self) -> dict[str, Any]:
        vocabulary = list(self.vocabulary.tokens)
        return {"kind": "tokens", "unit": self.unit, "length": self.length, "vocabulary": vocabulary}


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokens(InMemory):
    """Sequences of one length: samples of a corpus, or texts that are cut and padded to it.

    Ids are those of the training split's vocabulary: 0 is padding, 1 any token that training had not.
    """

    symbols: tuple[str, ...]
    """The token of each code."""
    unit: str
    """What a token is: characters or words."""
    length: int
    """Tokens of a sample."""

    preprocess: ClassVar[str] = "tokens"
    kinds: ClassVar[tuple[str, ...]] = ("tokens",)
    corpus: ClassVar[bool]

    def fit(self, kind: str) -> Lookup:
        return self._fitted

    def transform_of(self, state: dict[str, Any]) -> Lookup:
        told, own = (state["unit"], state["length"]), (self.unit, self.length)
        if told != own:
            raise ValueError(
                f"the preprocessing is of sequences of {told[1]} {told[0]}; these are of {own[1]} {own[0]}."
            )
        return self._lookup(Vocabulary(tuple(state["vocabulary"])))

    def _lookup(self, vocabulary: Vocabulary) -> Lookup:
        return Lookup(vocabulary, vocabulary.ids(self.symbols), self.unit, self.length, self.corpus)

    @property
    def _ids(self) -> TensorSpec:
        return TensorSpec((self.length,), torch.int64, len(self._fitted.vocabulary))

    @cached_property
    def _fitted(self) -> Lookup:
        return self._lookup(Vocabulary.fit(self.train.inputs, self.symbols))


class Corpus(Tokens):
    """A text in samples of fixed length; at every place the next token is asked for.

    Inputs and targets are int64, (batch, length), targets one place ahead.
    """

    samples: ClassVar[str] = "sequences"
    corpus: ClassVar[bool] = True

    @property
    def spec(self) -> Specification:
        return Specification(self._ids, len(self._fitted.vocabulary))

    def targets(self, split: Samples) -> Tensor:
        return self._fitted.ids[split.targets + 1]


class Texts(Tokens):
    """Texts with a target each: ``tokens``, int64 (batch, length), and ``mask``, bool, true where there is a token."""

    samples: ClassVar[str] = "texts"
    corpus: ClassVar[bool] = False

    @property
    def spec(self) -> Specification:
        inputs = {"tokens": self._ids, "mask": TensorSpec((self.length,), torch.bool)}
        return Specification(inputs, len(self.classes) or None, self.classes)
