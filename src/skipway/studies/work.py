"""The jobs of a study: those of every gate and depth, round by round, as an executor takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from skipway.rundir.elsewhere import finished_elsewhere
from skipway.rundir.files import read_json
from skipway.rundir.study import Study
from skipway.studies.executor import Work
from skipway.studies.grid import CellStack
from skipway.studies.observer import StudyObserver
from skipway.studies.rounds import Rounds
from skipway.studies.worker import Job
from skipway.training.checkpoint import Checkpoints


class StudyWork(Work):
    """What is to be trained, now that so much is in.

    A pair's next round is there as soon as its last one is in, whatever other pairs do. The longest jobs go first, so
    that the last ones end together.

    Args:
        study: whose directory tells what is in.
        pairs: the searches; those that come while it goes on are added.
        deeper: searches that come when one is at its end.
        make: makes a job of a stack.
        observer: is told how it goes on.
        changed: called when more cells are asked for.
        failures: why trainings failed, by their ids; filled.
    """

    def __init__(
        self,
        study: Study,
        pairs: list[Rounds],
        deeper: Callable[[Rounds], Iterable[Rounds]],
        make: Callable[[CellStack], Job],
        observer: StudyObserver,
        changed: Callable[[], None],
        failures: dict[str, str],
    ) -> None:
        self._study, self._make, self._observer, self._changed = study, make, observer, changed
        self._failures, self._pairs, self._deeper = failures, pairs, deeper
        self._owners: dict[str, Rounds] = {}
        self._queue: list[CellStack] = []
        for pair in [*pairs]:
            self._advance(pair)

    def take(self, most: int) -> Sequence[Job]:
        self._queue.sort(key=lambda stack: -stack.cost)
        taken, self._queue = self._queue[: max(0, most)], self._queue[max(0, most) :]
        return [self._make(stack) for stack in taken]

    def done(self, job: Job) -> None:
        stack = job.stack
        self._observer.on_stack(stack, trained=True)
        pair = self._owners.pop(stack.name)
        pair.take(self._study, stack.ids)
        if not pair.open:
            self._advance(pair)

    def failed(self, job: Job, reason: str) -> None:
        self._failures.update(dict.fromkeys(job.stack.ids, reason))
        self._observer.on_failure(job.stack, reason)

    def waiting(self, jobs: Sequence[Job]) -> None:
        self._observer.on_progress([(job.stack, _share(self._study, job.stack)) for job in jobs])

    def _advance(self, pair: Rounds) -> None:
        """Go through the rounds of which all is on disk, and queue what is missing of the first that is not."""
        while not pair.open and (stacks := pair.next()):
            if found := _take_over(self._study, (own for stack in stacks for own in stack.ids)):
                self._observer.on_found(found)
            for stack in (part for whole in stacks for part in parts(self._study, whole)):
                if all(self._study.has(own) for own in stack.ids):
                    Checkpoints(self._study.checkpoint_path(stack.name), stack.ids).clear()
                    pair.take(self._study, stack.ids)
                    self._observer.on_stack(stack, trained=False)
                else:
                    self._owners[stack.name] = pair
                    self._queue.append(stack)
        self._changed()
        for fresh in self._deeper(pair) if pair.ended else ():
            self._pairs.append(fresh)
            self._advance(fresh)


def parts(study: Study, stack: CellStack) -> Iterator[CellStack]:
    """What is finished of a planned stack, and what is to be trained: of a grid that grew, only what is new.

    Where a run of the stack was lost, all of it is trained again, since only so the lost one finds its own bits.
    """
    done = {identifier for identifier in stack.ids if study.has(identifier)}
    if any(study.run(i).info().get("computed", {}).get("stack") == stack.name for i in done) or not done:
        yield stack
        return
    yield stack.only(done)
    if new := set(stack.ids) - done:
        yield stack.only(new)


def _take_over(study: Study, ids: Iterable[str]) -> int:
    """Copy what was trained already, by `skipway train` or in another study beside this one. Returns how many runs."""
    missing = (identifier for identifier in ids if not study.has(identifier))
    found = [run for identifier in missing if (run := finished_elsewhere(identifier, study.path))]
    if found:
        batch = study.batch("found")
        for run in found:
            batch.copy(run)
        batch.commit()
    return len(found)


def _share(study: Study, stack: CellStack) -> float:
    """How much of a stack's steps is done."""
    path = study.progress_path(stack.name)
    if not path.is_file():
        return 0.0
    content: Mapping[str, int] = read_json(path)
    return content["step"] / content["steps"]
