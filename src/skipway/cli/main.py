"""The entry point: a table of commands. A command's module is imported when it is called, so that help is instant."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import skipway
from skipway.cli.arguments import check_arguments
from skipway.cli.own import PLUGIN, load_plugins
from skipway.cli.tell import say, tell, telling_warnings
from skipway.rundir.files import DamagedError
from skipway.settings.registry import UnknownNameError

COMMANDS: dict[str, str] = {
    "study": "gates x depths x learning rates x seeds on a data set: table, verdict, report",
    "train": "one net on your data, from scratch or from given weights; it can always go on",
    "report": "rebuild a study's report from its files",
    "runs": "list runs, or query all of them with SQL",
    "check": "whether every file is what was written; set aside what is not",
    "nets": "the nets that exist, and how their depths count",
    "gates": "the gate rules that exist, and their settings",
}

DONE, FAILED, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Raises:
        SystemExit: 143, where SIGTERM ended the command.
    """
    name, *rest = _command_first([*(sys.argv[1:] if arguments is None else arguments)]) or ["--help"]
    if name in ("-h", "--help"):
        say(_overview())
        return DONE
    if name == "--version":
        say(f"skipway {skipway.__version__}")
        return DONE
    try:
        if name not in COMMANDS:
            raise UnknownNameError("command", name, COMMANDS)
        check_arguments(name, rest)
        with _ending_tidily_on_sigterm(), telling_warnings():
            return int(importlib.import_module(f"skipway.cli.{name}").run(load_plugins(rest)))
    except (ValueError, FileNotFoundError) as error:
        tell(f"skipway: {error}")
        return FAILED if isinstance(error, DamagedError) else WRONG_USAGE
    except OSError as error:
        tell(f"skipway: {error}")
        return FAILED
    except KeyboardInterrupt:
        tell("skipway: interrupted")
        return INTERRUPTED


def _command_first(words: list[str]) -> list[str]:
    """The words with the command before any `--plugin` that was written before it."""
    place = 0
    while place < len(words) and words[place].partition("=")[0] == PLUGIN:
        place += 1 if "=" in words[place] else 2
    return [*words[place : place + 1], *words[:place], *words[place + 1 :]] if place < len(words) else words


@contextmanager
def _ending_tidily_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the program, as Ctrl-C does, so that worker processes end and files say how it stands."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {about}" for name, about in COMMANDS.items())
    return "\n".join(
        [
            "usage: skipway COMMAND [options]",
            "",
            "How deep can this network go on this data, and what carries the signal there?",
            "",
            "commands:",
            *lines,
            "",
            "  skipway COMMAND --help says more; skipway --version says which version this is.",
            "  --plugin MODULE (or FILE.py) before or after: gates, nets, tasks and the like of your own.",
            "  Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
