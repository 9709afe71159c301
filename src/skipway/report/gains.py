"""Sentences on what a skip gains in test error, and on where more depth stops paying."""

from __future__ import annotations

from skipway.report.findings import ENOUGH_SEEDS, Reach, differ, grain, is_plain, pays_until
from skipway.report.numbers import counted, listed, percent
from skipway.report.summary import Group, Summary


def shallow(summary: Summary, reaches: list[Reach]) -> list[str]:
    """Whether a skip gains anything at the shallowest depth that has blocks, where the plain net trains too."""
    depth = _shallowest(summary)
    if depth is None:
        return []
    plain, others = _against_plain(summary, depth)
    trains = any(plain in found.trained for found in reaches)
    if plain is None or not others or not trains:
        return []
    start = f"At depth {depth}, where {plain.gate} trains too, test errors are {_errors([plain, *others])}: "
    return [start + _compared(plain, others, grain(summary, "test")) + "."]


def deep(summary: Summary, reaches: list[Reach]) -> list[str]:
    """What a skip gains at the deepest depth, unless `shallow` has told it of the only one."""
    if _shallowest(summary) is None:
        return []
    depth, step = summary.depths[-1], grain(summary, "test")
    plain, others = _against_plain(summary, depth)
    stopped = [group for found in reaches for group in found.stopped if is_plain(group.gate) and group.depth == depth]
    told = depth == _shallowest(summary) and not stopped
    if told or not others or not (plain or stopped):
        return []
    if plain is None:
        return [f"At depth {depth}, where {stopped[0].gate} gives no net at all, test errors are {_errors(others)}."]
    errors = f"test errors are {_errors([plain, *others])}"
    if plain not in stopped:
        return [f"At depth {depth} {errors}: {_compared(plain, others, step)}."]
    # Nets that stop end far apart from each other, so a test on three of them says little: that they stop says more.
    better = [group for group in others if _better(group, plain, step)]
    gained = f": {_compared(plain, better, step)}" if better else ""
    once = any(found.gate == plain.gate and found.deepest for found in reaches)
    fail = "no longer train" if once else "do not train"
    return [f"At depth {depth}, where the {plain.gate} nets {fail}, {errors}{gained}."]


def _shallowest(summary: Summary) -> int | None:
    """The least depth at which nets have blocks: without, there is no gate to compare."""
    return next((depth for depth in summary.depths if any(net.blocks != 0 for net in summary.at(depth))), None)


def _better(group: Group, plain: Group, step: float) -> bool:
    """Whether a group's test error is lower than plain's beyond the spread of the seeds."""
    one, other = group.test_error, plain.test_error
    return bool(one and other and one.value < other.value and differ(one, other, step))


def _against_plain(summary: Summary, depth: int) -> tuple[Group | None, list[Group]]:
    measured = [group for group in summary.at(depth) if group.test_error]
    plain = next((group for group in measured if is_plain(group.gate)), None)
    return plain, [group for group in measured if not is_plain(group.gate)]


def _compared(plain: Group, others: list[Group], step: float) -> str:
    """Who differs from plain beyond the spread of the seeds."""
    if plain.test_error is None:
        return ""
    better: list[str] = []
    worse: list[str] = []
    same: list[str] = []
    unknown: list[str] = []
    for group in others:
        if group.test_error is None:
            continue
        apart = differ(group.test_error, plain.test_error, step)
        lower = group.test_error.value < plain.test_error.value
        kind = unknown if apart is None else same if not apart else better if lower else worse
        kind.append(group.gate)
    seeds = counted(plain.test_error.n, "seed")
    parts = []
    if better:
        parts.append(f"{_are(better)} better than {plain.gate} beyond the spread of {seeds}")
    if worse:
        parts.append(f"{_are(worse)} worse than {plain.gate} beyond the spread of {seeds}")
    if same:
        between = "" if not (better or worse) else f" between {plain.gate} and {listed(same)}"
        few = plain.test_error.n < ENOUGH_SEEDS
        told = f"{seeds} are too few to tell a difference" if few else "no difference"
        parts.append(f"{told}{between}" if few else f"{told}{between} beyond the spread of {seeds}")
    if unknown:
        parts.append("from a single seed, so how much of that is chance cannot be told")
    return "; ".join(parts)


def pays(summary: Summary) -> list[str]:
    """Up to which depth more depth lowers the validation error."""
    until: dict[int, list[str]] = {}
    still: list[str] = []
    for gate in summary.gates:
        group = pays_until(summary, gate)
        if group is None or group.validation_error is None or group.validation_error.n == ENOUGH_SEEDS - 1:
            continue
        text = f"{gate} (validation error {percent(group.validation_error.value)})"
        if all(deeper.state == "unfinished" for deeper in summary.of(gate) if deeper.depth > group.depth):
            still.append(f"depth {group.depth} with {text}")
        else:
            until.setdefault(group.depth, []).append(text)
    sentences = []
    if until:
        parts = [f"depth {depth} with {listed(texts)}" for depth, texts in sorted(until.items())]
        sentences.append(
            f"More depth stops paying at {listed(parts)}: no deeper net of that gate has a validation error lower than "
            "this beyond the spread of the seeds."
        )
    if still:
        sentences.append(
            f"More depth still pays at {listed(still)}, the deepest that is in: its validation error is lower than "
            "that of the net before it beyond the spread of the seeds."
        )
    return sentences


def _errors(groups: list[Group]) -> str:
    return listed(
        [
            f"{percent(group.test_error.value, group.test_error.std)} with {group.gate}"
            for group in groups
            if group.test_error
        ]
    )


def _are(gates: list[str]) -> str:
    return f"{listed(gates)} {'is' if len(gates) == 1 else 'are'}"
