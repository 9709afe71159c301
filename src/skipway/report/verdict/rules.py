"""The rules of the verdict in words, for whoever asks what its sentences rest on."""

from __future__ import annotations

from skipway.report.metric import Metric
from skipway.report.summary import Guessing, Summary
from skipway.report.verdict.chance import judged_by
from skipway.report.verdict.findings import Findings
from skipway.report.verdict.reach import searched
from skipway.report.verdict.scale import Scale

_BEYOND = (
    "Where the best one is the lowest or the highest tried, the next one beyond is tried, up to four on either side; a "
    "rate at which a seed diverged is out."
)
_SEARCHES = {
    "full": f"How learning rates are searched: every rate is trained with every seed. {_BEYOND}",
    "race": "How learning rates are searched: every rate is trained with the first seed. With the others go on the two "
    "that train best and the two that generalise best, what is no more than a tenth behind the second of them, and "
    "whatever had a better first seed than the one that is chosen. Chosen are rates that have all seeds. "
    f"{_BEYOND}",
}
_SCALES = {"odds": "by their log odds", "logarithm": "by their logarithms", "itself": "as they are"}


def rules(summary: Summary) -> list[str]:
    """What the words of a study's verdict mean."""
    found, metric = Findings(summary), summary.metric
    unknown = (
        f"How far {metric.word} depends on which {summary.samples} it was measured on is not known, and is left out of "
        "account: seeds alone show how exact it is."
    )
    differ = f"their test {metric.word}s differ" if _countable(metric) else f"they differ in test {metric.word}"
    return [
        _chance(summary.guessing),
        "Depth makes nets harder to train if the training loss rises with depth beyond chance, over all depths or at "
        f"the deepest alone, and no learning rate that was tried brings the deepest net "
        f"{_near(found.scale, summary.guessing)}.",
        *([_reach(found, summary.guessing)] if searched(summary) else []),
        f"A gate is better or worse than another at a depth if {differ} beyond chance.",
        f"More depth pays if the validation {metric.word} {metric.improves} with depth beyond chance, over all depths.",
        "Nothing is concluded against a net whose best learning rate is the lowest or the highest of several that were "
        "tried: the next one might have made it better.",
        "Beyond chance: where nothing differs at all, a whole verdict claims something in 5 % of studies at most. "
        f"{_compared(found)}; the tests are Welch's, corrected by Holm's rule "
        "for their number, and trends for the number of learning rates that the best was chosen from. Where a net's "
        "seeds agree better than those of the study's nets do on average, that average is taken for them.",
        "What is ruled out and what is possible: intervals, which together miss the truth in 5 % of studies at most.",
        *([] if found.scale.kind == "odds" else [unknown]),
        *([_SEARCHES[summary.search]] if summary.search in _SEARCHES else []),
    ]


def _chance(guessing: Guessing | None) -> str:
    if guessing is None:
        return (
            "What the best constant answer gets is not known here, so no training is said to be at chance level: a net "
            "trains at a depth if it does not diverge."
        )
    word = guessing.metric.word
    if guessing.metric.counts_wrong:
        least = "its error on the training data is at least 95 % of what the best constant answer gets wrong"
    elif judged_by(guessing) == "rest":
        least = (
            f"what its {word} on the training data lacks to 100 % is at least 95 % of what that of the best constant "
            "answer lacks"
        )
    else:
        word = word if judged_by(guessing) == "metric" else "loss"
        least = f"its {word} on the training data is at least 95 % of what the best constant answer gets"
    return f"A training is at chance level if {least}. A net trains at a depth if no seed is at chance level."


def _reach(found: Findings, guessing: Guessing | None) -> str:
    return (
        "Nets train as well as shallower ones at a depth if no seed is at chance level and some learning rate that was "
        f"tried brings them {_near(found.scale, guessing)}. For each gate depths double until that is not so, and then "
        "the gap is halved until it is an eighth of the depth."
    )


def _near(scale: Scale, guessing: Guessing | None) -> str:
    """What counts as the training metric of the best shallower net."""
    metric = scale.metric
    there = f"the training {metric.word} of the best shallower one"
    if scale.kind == "odds":
        return f"within 1 point of {there}"
    part = f"within {'10' if metric.is_loss else '5'} % of {there}"
    if guessing is None or not guessing.value:
        return part
    return f"{part} or, where that is more, within 1 % of what the best constant answer gets"


def _compared(found: Findings) -> str:
    """On what scales losses and the metric are compared."""
    metric = found.summary.metric
    losses, own = _SCALES[found.loss_scale.kind], _SCALES[found.scale.kind]
    values = f"{metric.word}s" if _countable(metric) else f"values of {metric.word}"
    if metric.is_loss:
        return f"Losses are compared {losses}"
    if losses == own:
        return f"Losses and {values} are compared {own}"
    return f"Losses are compared {losses} and {values} {own}"


def _countable(metric: Metric) -> bool:
    """Whether its word has a plural: errors, and not RMSEs."""
    return metric.word.endswith("error")
