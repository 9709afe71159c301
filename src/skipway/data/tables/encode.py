"""From a table's rows to a net's inputs: scaled numbers, marks of what is missing, and text as one-hot columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipway.batch.trees import Tree
from skipway.data.samples import Samples
from skipway.data.tables.columns import Columns
from skipway.data.tables.encoding import Encoding


@dataclass(frozen=True, eq=False)
class Encoder:
    """An encoding at work on a table's tensors."""

    encoding: Encoding
    fill: Tensor  # (F,), of the numbers' own dtype, like the next two
    shift: Tensor
    scale: Tensor
    marked_numbers: Tensor  # int64: which of the columns of numbers have a mark
    marked_texts: Tensor
    places: Tensor  # int64, (K, 1 + most values): the one-hot column of code + 1; the last column is none

    @classmethod
    def of(cls, encoding: Encoding, columns: Columns) -> Encoder:
        """For a table whose values may be others than the training split's.

        Raises:
            ValueError: if its columns are others.
        """
        own, theirs = (encoding.numbers, tuple(encoding.texts)), (columns.number_names, tuple(columns.values))
        if own != theirs:
            raise ValueError(f"the preprocessing was fitted on columns {_names(*own)}; these are {_names(*theirs)}.")
        kind = torch.float64 if encoding.wide else torch.float32
        return cls(
            encoding,
            fill=torch.tensor(encoding.fill, dtype=kind),
            shift=torch.tensor(encoding.shift, dtype=kind),
            scale=torch.tensor(encoding.scale, dtype=kind),
            marked_numbers=_where(encoding.numbers, encoding.marked),
            marked_texts=_where(tuple(encoding.texts), encoding.marked),
            places=_places(encoding, columns),
        )

    def __call__(self, samples: Samples) -> tuple[Tree, Tree]:
        numbers, codes = samples.inputs["numbers"].to(self.fill.dtype), samples.inputs["codes"]
        missing = numbers.isnan()
        scaled = ((torch.where(missing, self.fill, numbers) - self.shift) / self.scale).float()
        marks = torch.cat([missing[:, self.marked_numbers], codes[:, self.marked_texts] < 0], 1).float()
        count = sum(map(len, self.encoding.texts.values()))
        one_hot = scaled.new_zeros(len(numbers), count + 1)
        columns = torch.arange(codes.shape[1], device=codes.device)
        one_hot.scatter_(1, self.places[columns, codes + 1], 1.0)
        return torch.cat([scaled, marks, one_hot[:, :count]], 1), samples.targets

    def to(self, device: torch.device | str) -> Encoder:
        tensors = (self.fill, self.shift, self.scale, self.marked_numbers, self.marked_texts, self.places)
        return Encoder(self.encoding, *(tensor.to(device) for tensor in tensors))

    def to_dict(self) -> dict[str, Any]:
        return self.encoding.to_dict()


def _places(encoding: Encoding, columns: Columns) -> Tensor:
    none = sum(map(len, encoding.texts.values()))
    places = torch.full((len(columns.values), 1 + max(map(len, columns.values.values()), default=0)), none)
    start = 0
    for row, (name, known) in enumerate(encoding.texts.items()):
        at = {value: start + place for place, value in enumerate(known)}
        own = [at.get(value, none) for value in columns.values[name]]
        places[row, 1 : 1 + len(own)] = torch.tensor(own, dtype=torch.int64)
        start += len(known)
    return places


def _where(names: tuple[str, ...], marked: tuple[str, ...]) -> Tensor:
    return torch.tensor([place for place, name in enumerate(names) if name in marked], dtype=torch.int64)


def _names(numbers: tuple[str, ...], texts: tuple[str, ...]) -> str:
    return f"of numbers ({', '.join(numbers) or 'none'}) and of text ({', '.join(texts) or 'none'})"
