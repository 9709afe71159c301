"""What people write that is nearly a command: told with what it would be, before the flags are parsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_NUMBERS = ("--depths", "--seeds", "--learning-rates", "--milestones")
_WITHOUT_WORDS = {
    "study": "--data digits, --net cifar, --gates plain highway",
    "train": "--net resnet-20, --data cifar10",
}


def check_arguments(command: str, arguments: Sequence[str]) -> None:
    """Refuse a word before the flags of a command that takes none, and numbers with commas between.

    Raises:
        ValueError: with what came, the rule, and what would be valid.
    """
    first = arguments[0] if arguments else "-"
    if command in _WITHOUT_WORDS and not first.startswith("-"):
        raise ValueError(
            f"skipway {command} takes flags alone, and {first!r} has none before it. Say what it is: "
            f"{_WITHOUT_WORDS[command]}."
        )
    depths = [value for flag, value in _values(arguments) if flag == "--depths"]
    if "auto" in depths and len(depths) > 1:
        others = " ".join(value for value in depths if value != "auto")
        raise ValueError(
            f"--depths {' '.join(depths)}: auto finds depths by itself, so nothing stands beside it. Valid: --depths "
            f"auto{f', or --depths {others}' if others else ''}."
        )
    for flag, value in _values(arguments):
        if flag in _NUMBERS and "," in value:
            apart = " ".join(value.replace(",", " ").split())
            raise ValueError(f"{flag} {value}: several values have spaces between them: {flag} {apart}.")


def _values(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each value with its flag."""
    flag = ""
    for word in arguments:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            if value:
                yield flag, value
        else:
            yield flag, word
