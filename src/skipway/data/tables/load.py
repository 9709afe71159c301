"""Tables by their address: a file, a folder, a frame in the cache, or a name on the Hub."""

from __future__ import annotations

from pathlib import Path

from skipway.data import kept
from skipway.data.address import TABLE_ENDINGS, Address
from skipway.data.dataset import Request
from skipway.data.hub import HubName, open_dataset
from skipway.data.splits import NAMES
from skipway.data.tables.dataset import Rows, rows_of
from skipway.data.tables.frames import recall, rows_of_dataset
from skipway.data.tables.read import Table, joined, read


def load(address: Address, request: Request) -> Rows:
    """A table in splits.

    Raises:
        ValueError: if there is no such table, or it breaks a rule.
        OSError: if the Hub cannot be reached.
    """
    address.check("target", "drop")
    return rows_of(find(address.place), address, request)


def find(place: str) -> Table:
    """The rows of a place.

    Raises:
        ValueError: if there are none.
        OSError: if the Hub cannot be reached.
    """
    if kept.is_name(place):
        return recall(place)
    path = Path(place).expanduser()
    if path.exists() or path.suffix.lower() in TABLE_ENDINGS:
        return read(path)
    name = HubName.parse(place)
    if name is None:
        raise ValueError(
            f"there is no file or folder {place!r}, and it is no name of the Hub's. A table is FILE.csv:target=COLUMN, "
            "a parquet file, a folder with train.csv and test.csv, or OWNER/NAME:target=COLUMN of the Hub."
        )
    dataset = open_dataset(name)
    if "train" not in dataset:
        raise ValueError(f"{place}: there is no train split; found: {', '.join(dataset)}.")
    return joined({split: rows_of_dataset(dataset[split]) for split in NAMES if split in dataset}, place)
