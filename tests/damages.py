"""Ways to damage a finished study or run: what is done to which file, what is said of it, and by whom.

    python tests/damages.py

prints a table of all of them: the kind, what `skipway check` says, which other commands refuse or mark it, and whether
any file that was whole is lost. The tests go through the same list.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipway.cli.main import main
from skipway.cli.study import parse
from skipway.rundir.digests import fingerprint
from skipway.rundir.files import read_json, write_sealed
from skipway.rundir.layout import METRICS, PROBES, RUN, STUDY, WEIGHTS
from skipway.rundir.study import Study
from skipway.studies.runner import run_study

TINY = "--gates plain highway --depths 3 --seeds 0 --learning-rates 0.1 --steps 4 --width 4 --workers 1"
OTHERS = ("report", "study", "runs", "sql")  # commands beside `check`


@dataclass(frozen=True)
class Kind:
    """One kind of damage."""

    name: str
    file: str
    damage: Callable[[Path], None]  # of the file's path
    told: str  # by `check`
    silent: Sequence[str] = ()  # commands that do not read so much of this file

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path.unlink(), path.write_bytes(content))[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit, in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return damage


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_link(target: str) -> Callable[[Path], None]:
    return lambda path: (path.unlink(), path.symlink_to(target))[0]


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def sparse(path: Path) -> None:
    os.truncate(path, 2**40)


def encoded(encoding: str) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(path.read_text().encode(encoding)), None)[1]


def forged(*keys: str, to: Any) -> Callable[[Path], None]:
    """A field changed, and the digest with it: what another program, or another version, may have written."""

    def damage(path: Path) -> None:
        content = read_json(path)
        del content["digest"]
        inner: Any = content
        for key in keys[:-1]:
            inner = inner[int(key) if isinstance(inner, list) else key]
        if to is None and keys[-1] == "*":
            inner.clear()
        else:
            inner[keys[-1]] = to
        write_sealed(path, content)

    return damage


def without(*keys: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = read_json(path)
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]], content["digest"]
        write_sealed(path, content)

    return damage


def foreign(content: Callable[[bytes], bytes] | bytes) -> Callable[[Path], None]:
    """Another content of which run.json has the digest."""

    def damage(path: Path) -> None:
        path.write_bytes(new := content if isinstance(content, bytes) else content(path.read_bytes()))
        forged("files", path.name, to=fingerprint(new))(path.with_name(RUN))

    return damage


def other_runs(name: str) -> Callable[[Path], None]:
    """The same file of the study's other run."""

    def damage(path: Path) -> None:
        (other,) = (folder for folder in path.parent.parent.glob("[!.]*") if folder != path.parent)
        shutil.copy(other / name, path)

    return damage


def other_columns(content: bytes) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"layer": [1]}), sink)
    return sink.getvalue().to_pybytes()


BY_SIZE, BY_DIGEST = "were written", "its content is not what was written"
_UNREAD = ("study", "runs")  # read no curve and no probe
_JSON: list[tuple[str, Callable[[Path], None], str]] = [
    ("empty", write(b""), "not readable as JSON"),
    ("cut in the middle", cut, "not readable as JSON"),
    ("text", write(b"lost+found"), "not readable as JSON"),
    ("a list", write(b"[]"), "holds a list, not a JSON object"),
    ("null", write(b"null"), "holds a NoneType, not a JSON object"),
    ("{}", write(b"{}"), "it has none"),
    ("UTF-16", encoded("utf-16"), "can't decode byte"),
    ("a byte order mark", encoded("utf-8-sig"), "BOM"),
    ("bytes that are no text", write(b"\x00\xff\xfe"), "can't decode byte"),
    ("zeros", write(bytes(4096)), "not readable as JSON"),
    ("something after its end", replaced('"\n}', '"\n}{}'), "Extra data"),
    ("a key that comes twice", replaced("{", '{"status": "done",'), "a key comes twice"),
    ("NaN", replaced("{", '{"more": NaN,'), "JSON has no NaN"),
    ("a number of 5,000 digits", replaced("{", '{"more": ' + "9" * 5000 + ","), "not readable as JSON"),
    ("nested 100,000 deep", write(b"[" * 100_000), "it is nested too deeply"),
    ("a directory", as_directory, "it is not a file"),
    ("a pipe", as_pipe, "it is not a file"),
    ("a terabyte", sparse, "bytes, and up to 268,435,456 are read"),
    ("another word, by hand", replaced("digits", "digit2"), BY_DIGEST),
    ("without its digest", replaced('"digest"', '"dogest"'), "it has none"),
    ("of an older format", forged("format", to=1), "its format is 1, and this version of Skipway reads"),
    ("of a format to come", forged("format", to=99), "its format is 99"),
    ("unknown status", forged("status", to="dnoe"), "status must be one of done"),
]
_RUN: list[tuple[str, Callable[[Path], None], str]] = [
    ("missing", Path.unlink, "it is missing"),
    *_JSON,
    ("another id", forged("id", to="0123456789abcdef"), "it names the run 0123456789abcdef"),
    ("an id that is a path", forged("id", to="../../x"), "id must be 16 hexadecimal digits"),
    ("another identity", forged("identity", "seed", to=7), "its identity is that of"),
    ("no identity", forged("identity", to=None), "identity must be an object"),
    ("another seed in its cell", forged("cell", "seed", to=1), "its cell has the seed 1, which is 0 in its identity"),
    (
        "another gate in its cell",
        forged("cell", "gate", to="rezero"),
        "its cell has the gate rezero, which is plain in its identity",
    ),
    (
        "another depth in its cell",
        forged("cell", "depth", to=4),
        "its cell has the depth 4, which is 3 in its identity",
    ),
    ("a depth of 2^70", forged("cell", "depth", to=2**70), "cell.depth must be a whole number of at most 64 bits"),
    ("half a letter in its gate", forged("cell", "gate", to="\ud800"), "cell.gate must be text"),
    ("null for its cell", forged("cell", to=None), "cell must be an object; it is None"),
    ("null for its metrics", forged("metrics", to=None), "metrics must be an object; it is None"),
    ("text for a loss", forged("metrics", "train_loss", to="0.1"), "metrics.train_loss must be a number"),
    ("null for a loss", forged("metrics", "validation_loss", to=None), "metrics.validation_loss must be a number"),
    ("no validation loss", without("metrics", "validation_loss"), "it has no metrics.validation_loss"),
    ("an infinite loss", replaced('"train_loss": ', '"train_loss": 1e999, "was": '), "Out of range float"),
    ("null for its net", forged("net", to=None), "net must be an object"),
    ("text for its parameters", forged("net", "parameters", to="many"), "net.parameters must be a whole number"),
    ("a list for its config", forged("config", to=[1]), "config must be an object"),
    ("a number for its reason", forged("reason", to=3), "reason must be text or null"),
    ("a list for its choices", forged("choices", to=[]), "choices must be an object"),
    ("no digests", without("files"), "it says done, and has no digest of metrics.jsonl"),
    ("one digest less", without("files", WEIGHTS), "it says done, and has no digest of model.safetensors"),
    ("a digest that is none", forged("files", WEIGHTS, to="x"), "files.model.safetensors must be an object"),
    ("that of another run", other_runs(RUN), "it is that of the run"),
]
_LINK = "it is a symbolic link, and none is followed"
_STUDY: list[tuple[str, Callable[[Path], None], str]] = [
    *_JSON,
    ("no cells", without("cells"), "it has no cells"),
    ("null for its cells", forged("cells", to=None), "cells must be a list; it is None"),
    ("a cell that is a path", forged("cells", "0", "id", to="../../.."), "cells[0].id must be 16 hexadecimal digits"),
    ("a cell without a depth", forged("cells", to=[{"id": "0" * 16, "gate": "plain"}]), "it has no cells[0].depth"),
    ("text for its choice", forged("chosen", to="0.1"), "chosen must be a list"),
    ("a list for its failures", forged("failures", to=[]), "failures must be an object"),
    ("null for its config", forged("config", to=None), "config must be an object"),
    ("a number for its seeds", forged("config", "seeds", to=3), "config.seeds must be a list"),
    ("a number for its name", forged("name", to=3), "name must be text"),
    ("text for its seconds", forged("seconds", to="long"), "seconds must be a number"),
]
KINDS: list[Kind] = [
    *(Kind(name, RUN, damage, told) for name, damage, told in _RUN),
    *(Kind(name, STUDY, damage, told, ("runs", "sql")) for name, damage, told in _STUDY),
    Kind(
        "another depth in a cell",
        STUDY,
        forged("cells", "0", "depth", to=4),
        "the depth 4, which is 3 in its run.json",
        ("study", "runs", "sql"),
    ),
    *(Kind("a link to nowhere", file, as_link("nowhere"), _LINK, ("study",)) for file in (RUN, METRICS, WEIGHTS)),
    Kind("a link to an endless device", RUN, as_link("/dev/zero"), _LINK, ("study",)),
    Kind("a link to a file elsewhere", STUDY, as_link("/etc/hostname"), _LINK, ("study", "runs", "sql")),
    Kind("missing", METRICS, Path.unlink, "it is missing"),
    Kind("empty", METRICS, write(b""), BY_SIZE),
    Kind("cut in the middle", METRICS, cut, BY_SIZE),
    Kind("a line more", METRICS, lambda path: path.write_text(path.read_text() + "{}\n"), BY_SIZE),
    Kind("a directory", METRICS, as_directory, "it is not a file"),
    Kind("one bit", METRICS, flip, BY_DIGEST, _UNREAD),
    Kind("that of another run", METRICS, other_runs(METRICS), "written", _UNREAD),
    Kind("missing", PROBES, Path.unlink, "it is missing"),
    Kind("empty", PROBES, write(b""), BY_SIZE),
    Kind("cut in the middle", PROBES, cut, BY_SIZE),
    Kind("text", PROBES, write(b"not parquet"), BY_SIZE),
    Kind("a link to nowhere", PROBES, as_link("nowhere"), _LINK, ("study",)),
    Kind("one bit", PROBES, flip, BY_DIGEST, _UNREAD),
    Kind("missing", WEIGHTS, Path.unlink, "it is missing"),
    Kind("empty", WEIGHTS, write(b""), BY_SIZE),
    Kind("cut in the middle", WEIGHTS, cut, BY_SIZE),
    Kind("a terabyte", WEIGHTS, sparse, BY_SIZE),
    Kind("a pipe", WEIGHTS, as_pipe, "it is not a file"),
    Kind("one bit", WEIGHTS, flip, BY_DIGEST, OTHERS),
    Kind("that of another run", WEIGHTS, other_runs(WEIGHTS), "written", ("report", "runs", "sql")),
]
# Contents of which run.json has the digest: no accident, so `check` finds them whole; whoever reads them says so.
FOREIGN: list[tuple[str, str, Callable[[bytes], bytes] | bytes, str]] = [
    ("NaN", METRICS, b'{"step": 1, "train_loss": NaN}\n', "JSON has no NaN"),
    ("half a line", METRICS, b'{"step": 1, "tra', "not readable as JSON"),
    ("a list for a row", METRICS, b"[1]\n", "row[0] must be an object"),
    ("text for a loss", METRICS, b'{"step": 1, "train_loss": "low"}\n', "row[0].train_loss must be a number or null"),
    ("null for a step", METRICS, b'{"step": null}\n', "row[0].step must be a whole number"),
    ("nested deep", METRICS, b"[" * 100_000 + b"\n", "not readable as JSON"),
    ("no text", METRICS, b"\xff\xfe\n", "not readable as JSON"),
    ("text", PROBES, b"not parquet", "not readable as Parquet"),
    ("no footer", PROBES, lambda content: content[:-8] + bytes(8), "not readable as Parquet"),
    ("other columns", PROBES, other_columns, "not readable as Parquet"),
]


def tiny_study(folder: Path) -> Path:
    """The finished study that is damaged."""
    command = parse(TINY.split())
    return run_study(command.settings, folder, workers=command.workers).path


def victim(study: Path, file: str) -> Path:
    """The file to damage: study.json, or a file of the first run that study.json names."""
    if file == STUDY:
        return study / STUDY
    return Study(study).run(read_json(study / STUDY)["cells"][0]["id"]).path / file


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and all that was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        logging.getLogger("skipway").addHandler(handler := logging.StreamHandler(printed))
        try:
            status = main(arguments)
        finally:
            logging.getLogger("skipway").removeHandler(handler)
    return status, " ".join(printed.getvalue().split())


def ask(command: str, study: Path) -> tuple[int, str]:
    """One of the commands that read a study."""
    return run(
        *{
            "check": ["check", str(study)],
            "mend": ["check", str(study), "--mend"],
            "report": ["report", str(study), "--markdown"],
            "study": ["study", *TINY.split(), "--out", str(study)],
            "runs": ["runs", str(study)],
            "sql": ["runs", str(study), "--sql", "select run from metrics union select run from probes"],
        }[command]
    )


def contents(study: Path, but: Path) -> set[str]:
    """The digests of all that a study holds of runs, wherever in it that lies, but for one file."""
    names = {RUN, METRICS, PROBES, WEIGHTS, STUDY}
    paths = (path for path in study.rglob("*") if path.name in names and path != but and path.is_file())
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.stat().st_size < 2**30}


def print_table() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = tiny_study(Path(folder, "whole"))
        print("| File | Damage | `check` says | Also told by | Whole files lost |\n| :-- | :-- | :-- | :-- | --: |")
        for kind in KINDS:
            study = Path(shutil.copytree(whole, Path(folder, "study"), symlinks=True))
            before = contents(study, but := victim(study, kind.file))
            kind.damage(but)
            status, said = ask("check", study)
            others = [command for command in OTHERS if command not in kind.silent]
            told = [command for command in others if "damaged" in ask(command, study)[1]]
            ask("mend", study)
            assert status == 1
            assert told == others
            lost = len(before - contents(study, but))
            reason = kind.told if kind.told in said else "?"
            print(f"| {kind.file} | {kind.name} | … {reason} … | {', '.join(told) or '–'} | {lost} |", flush=True)
            shutil.rmtree(study)


if __name__ == "__main__":
    print_table()
