"""The README's commands and code do what it says: each is run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from image_folders import first_rows
from skipway.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
SKIPWAY = [line for line in COMMANDS if line.startswith("skipway")]
TORCHRUN = [line for line in COMMANDS if line.startswith("torchrun")]
# The first command of each kind has a process of its own; the others would only import torch again.
FIRST = {line.split()[1]: line for line in reversed(SKIPWAY)}
# Shortens a documented study; all its other flags stay as they are.
SHORT = "--steps 5 --learning-rates 0.1 --seeds 0 --search grid"
# One pool of one worker for all commands of this process.
ALONE = "--workers 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the commands run one after the other; with the study that the later ones name."""
    folder = tmp_path_factory.mktemp("readme")
    # In this process, where the commands' pool of workers begins; the first command has a process of its own.
    with chdir(folder):
        assert main(shlex.split(f"study --depths 5 10 {SHORT} {ALONE} --out studies/first")) == 0
    features = np.random.default_rng(0).random((200, 3))
    prices = features @ [3.0, 1.0, -2.0]
    frame = pd.DataFrame({"rooms": features[:, 0], "age": features[:, 1], "far": features[:, 2], "price": prices})
    frame.to_csv(folder / "table.csv", index=False)
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.fixture(scope="module")
def small(shared, tmp_path_factory) -> Path:
    """Some hundred images of each data set: the same loading code, from folders instead of the network."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("mnist", "cifar10"):
        first_rows(shared / "data" / name, folder / name, 300)
    return folder


def run_apart(command: str, folder: Path) -> str:
    arguments = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, "-m", "skipway", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", SKIPWAY)
def test_command(command, folder, request, monkeypatch, capsys):
    apart = command in FIRST.values()
    for name in ("mnist", "cifar10"):
        if f"--data {name}" in command:
            command = command.replace(f"--data {name}", f"--data {request.getfixturevalue('small') / name}")
    if command.startswith("skipway study"):
        for flag in ("depths", "steps", "width", "warmup-steps"):
            if "--net cifar" in command:
                command = re.sub(rf" --{flag} [\d ]+", " ", command)
        if "--net cifar" in command:
            command = f"{command} --depths 8 14 --width 4 --batch-size 16 --warmup-steps 2"
        command = f"{command} {SHORT}"
        if "table.csv" in command:
            command = command.replace("--depths 4 16 64", "--depths 2 4")
        if "--epochs" in command:
            command = command.replace("--epochs 1", "").replace("--depths 10 50", "--depths 3 10")
        command = command.replace("--budget 10m", "--budget 10s")
        if "--ray" in command:
            command = f"{command} --depths 3 10"
        elif not apart:
            command = f"{command} {ALONE}"
    if command.startswith("skipway train"):
        command = f"{command} --steps 2 --width 4 --batch-size 16"
    if apart:
        assert run_apart(command, folder)
        return
    monkeypatch.chdir(folder)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("command", TORCHRUN)
def test_several_processes(command, folder):
    arguments = [*shlex.split(command)[1:], "--steps", "5"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run([*start, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test" in done.stdout


@pytest.mark.parametrize("code", blocks("python"), ids=["a net of your own", "watch", "layers", "a gate of your own"])
def test_python(code, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "watch" in code, "an example shows something"
    for kind, name in re.findall(r'out="(studies|runs)/([a-z]+)"', code):
        assert (tmp_path / kind / name / f"{'study' if kind == 'studies' else 'run'}.json").exists()


@pytest.mark.parametrize("command", [line.partition("#")[0].strip() for line in COMMANDS if line.startswith("make")])
def test_make_target_exists(command):
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_every_shell_line_is_covered():
    others = [line for line in COMMANDS if line and not line.startswith(("skipway", "make", "torchrun"))]
    assert others == ["pip install -c constraints.txt ."]


def test_every_command_of_the_program_is_documented():
    from skipway.cli.main import COMMANDS as NAMES

    assert {line.split()[1] for line in SKIPWAY} == set(NAMES)


def test_every_file_named_exists():
    for text in (README, *(path.read_text() for path in (ROOT / "docs").glob("*.md"))):
        for name in re.findall(r"`((?:docs|examples|benchmarks|tests)/[a-z_0-9]*(?:\.[a-z]+)?)`", text):
            assert (ROOT / name).exists(), name
        for name in re.findall(r"\]\(([a-z]+(?:/[a-z]+)?\.[a-z]+)\)", text):
            assert (ROOT / name).exists() or (ROOT / "docs" / name).exists(), name
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?)`", (ROOT / "docs/architecture.md").read_text()):
        assert (ROOT / "src/skipway" / name).exists() or (ROOT / name).exists(), name
