"""Worker processes that decode: torch's DataLoader, used so that it neither hangs nor talks in tracebacks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Generator as Yields
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from skipway.data.images.encoded import Encoded, Job


def usual_workers() -> int:
    """A decoding process a core that this process may use; torchrun's processes of one machine share its cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def decoded(
    images: Encoded, jobs: Iterable[Sequence[Job]], *, device: torch.device | str = "cpu", workers: int | None = None
) -> Yields[Tensor]:
    """Decode batch after batch, some batches ahead of what has been asked for; the order is that of the jobs.

    The processes live as long as the iterator does: they end when it is exhausted, closed or dropped.

    Args:
        images: what the jobs' places count.
        jobs: a list a batch; may be endless.
        device: where the batches go, by pinned memory where that is a GPU.
        workers: processes; 0 decodes in this one; None: `usual_workers`.

    Yields:
        uint8, (jobs of the batch, 3, S, S), channels last in memory.

    Raises:
        ValueError: if an image cannot be read; the message names it.
    """
    workers = usual_workers() if workers is None else workers
    context = _context() if workers else None
    with _nothing_handed_down(context), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: as was asked for
        loader: DataLoader[Any] = DataLoader(
            _Decoding(images),
            batch_sampler=jobs,  # type: ignore[arg-type]  # any iterable of lists does
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=torch.device(device).type == "cuda",
            generator=Generator(),  # otherwise it draws a number from the global one
            worker_init_fn=_start,
            multiprocessing_context=context,
        )
        batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, str):
                raise ValueError(batch)
            yield batch.to(device, non_blocking=True).permute(0, 3, 1, 2)
    finally:
        del batches  # this ends the processes, which otherwise lived as long as somebody keeps the error's traceback


class _Decoding(Dataset[Any]):
    """Its items are what jobs ask for, a batch at a time; in place of a batch with a bad image, what is wrong."""

    def __init__(self, images: Encoded) -> None:
        self._images = images

    def __getitem__(self, job: Job) -> Tensor:
        return self._images.decode([job])

    def __getitems__(self, jobs: Sequence[Job]) -> Tensor | str:
        try:
            return self._images.decode(jobs)
        except ValueError as error:  # raised here, it would reach the user as a page of traceback
            return str(error)


def _as_it_is(batch: Any) -> Any:
    return batch


def _start(worker: int) -> None:
    """In each worker, which has one thread already: Ctrl-C is the parent's, and odd EXIF is not worth a warning."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """The loader's own watch is on the process that forked the worker, and that is the server."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _context() -> Any:
    """A fork of a process that holds threads or a GPU may hang, so workers fork from a server that holds neither."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skipway.data.images.workers", "skipway.data.images.crops"])
    return context


@contextmanager
def _nothing_handed_down(context: Any) -> Iterator[None]:
    """Workers start without two things that Python would hand down, neither of which they need.

    The user's script, which each would run again; and this process's own way to start processes, which they do not know
    where this process is itself a worker of loky.
    """
    if context is None:
        yield
        return
    main, method = sys.modules["__main__"], multiprocessing.get_start_method(allow_none=True)
    sys.modules["__main__"] = ModuleType("__main__")
    multiprocessing.set_start_method(context.get_start_method(), force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(method, force=True)
        sys.modules["__main__"] = main
