"""One training: the same bits however often it is stopped, by whatever; shared by processes; told to trackers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import skipway as sw
from helpers import CLASSES, StopsAt
from skipway.cli.main import main
from skipway.nets.registry import build
from skipway.rundir.layout import METRICS, PROBES, WEIGHTS
from skipway.rundir.run import Run
from skipway.runs.advice import activation_bytes, what_would_fit
from skipway.runs.config import RunConfig
from skipway.runs.fit import Resources
from skipway.runs.run import make_resources, run_training
from skipway.training.execution import Execution
from skipway.training.loop import Hook
from skipway.training.recipe import Recipe
from skipway.training.replicas import Replicas
from skipway.training.saving import Stopped, stopping_tidily

RECIPE = Recipe(learning_rates=(0.05,), batch_size=48, steps=40, schedule="exponential", warmup_steps=5)
# Momentum and moments, batch norm's statistics, draws of dropout and of stochastic depth, draws of augmentations.
CONFIGS = {
    "dense": RunConfig(net="highway-dense-12", width=12, recipe=RECIPE),
    "adamw": RunConfig(net="residual-dense-11", width=12, recipe=Recipe(**{**vars(RECIPE), "optimizer": "adamw"})),
    "conv": RunConfig(
        net="resnet-8", width=4, recipe=Recipe(**{**vars(RECIPE), "augment": ("crop:pad=1", "flip"), "steps": 12})
    ),
    "draws": RunConfig(net="stochastic-depth-8", width=4, recipe=Recipe(**{**vars(RECIPE), "steps": 12})),
}


def files(run: Run) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in (WEIGHTS, METRICS, PROBES)}


def scores(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.info()["metrics"].items() if name != "seconds"}


@pytest.mark.parametrize("name", CONFIGS)
def test_stopped_at_any_step_it_goes_on_to_the_same_bits(name, tmp_path):
    config = CONFIGS[name]
    whole = run_training(config, tmp_path / "whole")
    steps = config.recipe.steps
    for stop in (1, steps // 2, steps - 1, steps) if name == "dense" else (steps // 2,):
        out = tmp_path / str(stop)
        with pytest.raises(Stopped):
            run_training(config, out, hooks=[StopsAt(stop)])
        info = Run(out).info()
        assert info["status"] == "interrupted"
        assert list((out / "checkpoint").glob("*.safetensors"))
        went_on = run_training(config, out)
        assert files(went_on) == files(whole)
        assert scores(went_on) == scores(whole)
        assert not (out / "checkpoint").exists()


def test_recomputing_and_accumulating_go_on_as_they_began(tmp_path):
    """The choices of the first start decide the last bits, so a later start that asks for others replays them."""
    config = CONFIGS["conv"]
    resources = Resources(asked=Execution(recompute=True), accumulate=3)
    whole = run_training(config, tmp_path / "whole", resources=resources)
    with pytest.raises(Stopped):
        run_training(config, tmp_path / "stopped", resources=resources, hooks=[StopsAt(5)])
    assert files(run_training(config, tmp_path / "stopped")) == files(whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_step_is_as_precise_as_was_asked_also_after_a_stop(precision, tmp_path):
    seen = []

    class Looks(Hook):
        def on_start(self, net: Replicas) -> None:
            net.net.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    config = RunConfig(net="highway-dense-4", width=8, recipe=Recipe(**{**vars(RECIPE), "steps": 6}))
    resources = make_resources(precision=precision)
    whole = run_training(config, tmp_path / "whole", resources=resources, hooks=[Looks()])
    assert seen.count(torch.bfloat16) == (6 if precision == "bfloat16" else 0)
    with pytest.raises(Stopped):
        run_training(config, tmp_path / "stopped", resources=resources, hooks=[StopsAt(3)])
    assert main(["train", "--resume", str(tmp_path / "stopped")]) == 0
    assert files(Run(tmp_path / "stopped")) == files(whole)


def test_flags_decide_how_a_training_runs(tmp_path):
    asked = ["--precision", "bfloat16", "--memory", "recompute", "--accumulate", "2"]
    assert main(["train", "--net", "plain-dense-5", "--steps", "2", *asked, "--out", str(tmp_path)]) == 0
    choices = Run(tmp_path).info()["choices"]
    assert (choices["bfloat16"], choices["recompute"], choices["accumulate"]) == (True, True, 2)


def test_a_finished_run_is_not_trained_again(tmp_path):
    config = CONFIGS["dense"]
    run = run_training(config, tmp_path)
    before = (run.path / WEIGHTS).stat().st_mtime_ns
    assert run_training(config, tmp_path).info() == run.info()
    assert (run.path / WEIGHTS).stat().st_mtime_ns == before


def test_another_training_in_the_same_directory_is_refused(tmp_path):
    run_training(CONFIGS["dense"], tmp_path)
    with pytest.raises(ValueError, match="holds another training"):
        run_training(CONFIGS["adamw"], tmp_path)


def test_the_weights_score_as_run_json_says(tmp_path):
    from skipway.training.evaluate import evaluate
    from skipway.training.replicas import Single

    run = run_training(CONFIGS["conv"], tmp_path)
    saved = sw.load_net(run.weights)
    data = sw.load("digits")
    found = evaluate(Single(saved.net), data.test, data.restored(saved.preprocess), CLASSES)
    assert run.info()["metrics"]["test_error"] == float(found.metric[0])


def test_parts_of_a_batch_make_the_step_of_the_whole(tmp_path):
    """Without batch norm the parts' gradients sum up to the batch's."""
    config = CONFIGS["dense"]
    whole = run_training(config, tmp_path / "whole").metrics()
    parts = run_training(config, tmp_path / "parts", resources=Resources(accumulate=5)).metrics()
    for row, other in zip(whole, parts, strict=True):
        assert other == pytest.approx(row, rel=1e-4, abs=1e-5)


def test_a_training_in_bfloat16_goes_on_in_bfloat16_and_is_no_answer_for_one_in_float32(tmp_path):
    config = RunConfig(net="plain-dense-3", recipe=Recipe(**{**vars(RECIPE), "steps": 6, "warmup_steps": 0}))
    with pytest.raises(Stopped):
        run_training(config, tmp_path, resources=Resources(asked=Execution(bfloat16=True)), hooks=[StopsAt(2)])
    assert main(["train", "--resume", str(tmp_path)]) == 0
    info = Run(tmp_path).info()
    assert info["status"] == "done"
    assert info["computed"]["bfloat16"] is True
    with pytest.raises(ValueError, match="holds another training"):
        run_training(config, tmp_path)


def test_given_weights_are_where_it_starts(tmp_path):
    first = run_training(CONFIGS["dense"], tmp_path / "first")
    tuned = sw.fit(
        "highway-dense-12",
        "digits",
        Recipe(learning_rates=(1e-9,), steps=2),
        width=12,
        weights=first.weights,
        out=tmp_path / "tuned",
    )
    assert tuned.info()["metrics"]["test_error"] == first.info()["metrics"]["test_error"]


def test_no_signal_no_stop():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_tidily():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


# The command


FLAGS = ["--net", "highway-dense-20", "--width", "32", "--learning-rates", "0.03", "--steps", "600"]
OFTEN = ("--save-every", "0")  # after every step


def command(out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "skipway", "train", *FLAGS, "--out", str(out), *flags]


def saved_step(out: Path) -> int:
    """The newest step whose state is saved; 0 where none is."""
    return max((int(path.stem.partition("-")[2]) for path in out.glob("checkpoint/step-*")), default=0)


def wait_for_step(out: Path, step: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 300
    while saved_step(out) < step:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_several_times_it_ends_with_the_same_bits(tmp_path):
    """SIGKILL while it saves after every step, so that many of them come in the middle of a write."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    steps = ("--steps", "400")  # twice as many as are done before the last kill
    assert main(command(whole, *steps)[3:]) == 0
    draw = random.Random(0)
    for _ in range(4):
        start = command(killed, *steps, *OFTEN)
        process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_step(killed, saved_step(killed) + draw.randrange(1, 60), process)
        process.kill()
        process.wait()
    assert 0 < saved_step(killed) < 400
    assert main(command(killed, *steps)[3:]) == 0
    assert files(Run(killed)) == files(Run(whole))
    assert scores(Run(killed)) == scores(Run(whole))


def test_the_same_command_is_told_who_trains_and_sigterm_saves_and_ends_with_143(tmp_path, capsys):
    start = command(tmp_path, *OFTEN)
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(tmp_path, 1, process)
    assert main(start[3:]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"skipway: another process ({process.pid} on ")
    assert f"is training in {tmp_path}: wait for it, or" in told
    assert told.count("\n") == 1
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "its state is saved" in err
    assert "Traceback" not in err
    assert Run(tmp_path).info()["status"] == "interrupted"
    assert main(["train", "--resume", str(tmp_path)]) == 0
    assert Run(tmp_path).info()["status"] == "done"


def test_what_a_training_prints(tmp_path, capsys):
    flags = ["--net", "plain-dense-5", "--steps", "20", "--out", str(tmp_path / "run")]
    assert main(["train", *flags]) == 0
    out, err = capsys.readouterr()
    assert "plain-dense-5" in out
    assert "test" in out
    assert str(tmp_path / "run") in out.replace("\n", "")
    assert "step 20/20" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--net", "resnet-21"], "Nearest: 20 and 26"),
        (["--net", "resnet-20:shortcutt=A"], "shortcut"),
        (["--net", "plain-dense-5", "--memory", "swap"], "store"),
        (["--net", "plain-dense-5", "--precision", "float8"], "bfloat16"),
        (["--net", "plain-dense-5", "--accumulate", "0"], "1 or more"),
        (["--net", "plain-dense-5", "--track", "paper"], "tensorboard"),
        (["--net", "plain-dense-5", "--batch-size", "5000"], "1257 training images"),
        (["--resume", "nowhere"], "holds no run.json"),
        (["--resume", "nowhere", "--seed", "3"], "leave the others away"),
        (["--net", "plain-dense-5", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_wrong_input_is_told_with_what_is_valid(flags, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_curves_reach_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    flags = ["train", "--net", "plain-dense-5", "--steps", "20", "--track", "tensorboard", "--out", "run"]
    assert main(flags) == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tracking" / "skipway"))
    events.Reload()
    rows = Run(tmp_path / "run").metrics()
    told = {event.step: event.value for event in events.Scalars("train_loss")}
    assert told == pytest.approx({row["step"]: row["train_loss"] for row in rows})


# Several processes


def torchrun(count: int, *arguments: str) -> subprocess.Popen[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*start, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def rows_of(out: Path, count: int, *flags: str) -> list[dict[str, float]]:
    settings = ["--net", "highway-dense-12", "--steps", "50", "--batch-size", "33", "--learning-rates", "0.03"]
    arguments = ["train", *settings, "--out", str(out), *flags]
    if count == 1:
        assert main(arguments) == 0
        return Run(out).metrics()
    process = torchrun(count, "-m", "skipway", *arguments)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return Run(out).metrics()


def test_two_processes_train_as_one(tmp_path):
    """A batch of 33 in parts of 16 and 17: losses of every interval, training and validation, to 1e-5."""
    one, two = rows_of(tmp_path / "one", 1), rows_of(tmp_path / "two", 2)
    assert len(one) >= 8
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-5, abs=1e-5)
    assert Run(tmp_path / "two").info()["choices"]["processes"] == 2
    ours, theirs = (Run(tmp_path / name).info()["metrics"] for name in ("one", "two"))
    assert theirs["test_error"] == ours["test_error"]


TOGETHER = """
import sys
from pathlib import Path
import torch
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.labelled import Split
from skipway.runs.config import RunConfig
from skipway.runs.run import run_training, make_resources
from skipway.data.images.dataset import ImagePipeline
from skipway.tasks.classification import Classification
from skipway.training.evaluate import evaluate
from skipway.training.recipe import Recipe
from skipway.training.replicas import Single
from skipway.training.world import world
own = world()
torch.manual_seed(0)
net = Single(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)))
images, labels = torch.randint(256, (101, 1, 2, 2), dtype=torch.uint8), torch.randint(3, (101,))
rule = ImagePipeline(Preprocess("scale", 256.0, torch.zeros(1), torch.ones(1)))
for count in (1, 2, 7, 100, 101):
    split = Split(images[:count], labels[:count])
    together = evaluate(net, split, rule, Classification(), batch_size=8, world=own)
    alone = evaluate(net, split, rule, Classification(), batch_size=8)
    assert together.metric.equal(alone.metric), (count, together, alone)
    torch.testing.assert_close(together.loss, alone.loss, rtol=1e-7, atol=0)
config = RunConfig(net="stochastic-depth-dense-8", width=12, recipe=Recipe(learning_rates=(0.03,), steps=20))
run_training(config, sys.argv[1], resources=make_resources(memory="recompute", world=own))
own.leave()
threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
assert not any("gloo" in name for name in threads), threads  # one that outlives the group may abort the process
"""


def test_several_processes_count_every_sample_once_and_leave_out_the_same_blocks(tmp_path):
    """Scores are those of one process; so is a training with stochastic depth, blocks computed again and all."""
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    process = torchrun(3, str(script), str(tmp_path / "three"))
    config = RunConfig(net="stochastic-depth-dense-8", width=12, recipe=Recipe(learning_rates=(0.03,), steps=20))
    alone = run_training(config, tmp_path / "one")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    for row, other in zip(alone.metrics(), Run(tmp_path / "three").metrics(), strict=True):
        assert other == pytest.approx(row, rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_next_start_goes_on(tmp_path):
    out = tmp_path / "run"
    process = torchrun(2, *command(out, *OFTEN, "--steps", "200")[1:])
    wait_for_step(out, 1, process)
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "go on from the last checkpoint" in err or "SIGTERM" in err
    assert 0 < saved_step(out) < 200
    again = torchrun(2, *command(out, "--steps", "200")[1:])
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert Run(out).info()["status"] == "done"


# Memory


def test_what_would_fit_is_cheaper_and_named_in_flags():
    net = build("resnet-110", in_channels=3, num_classes=10)
    stored, recomputed = activation_bytes(net, (3, 32, 32))
    assert recomputed < stored / 3
    told = what_would_fit(net, (3, 32, 32), 2**20, Resources())
    assert "out of memory" in told
    assert "--memory recompute" in told or "--accumulate" in told


LIMITED = """
import resource, sys
from skipway.cli.main import main
import skipway.cli.train, skipway.runs.run, skipway.cli.progress, skipway.cli.show_run  # loaded before the limit
from skipway.data.load import load
load("digits")  # into the cache: what reads them takes memory of its own
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 700 * 2**20  # a step takes more
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set by Linux's means")
def test_what_would_fit_is_advice_where_nothing_can_be_counted():
    class Checking(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) if bool(x.sum() > 0) else x

    told = what_would_fit(Checking(4, 4), (4,), 64, Resources(accumulate=2))
    assert "cannot be counted. Try smaller parts of a batch, such as `--accumulate 4`" in told


def test_out_of_memory_says_what_would_fit(tmp_path):
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    flags = ["train", "--net", "plain-dense-300", "--width", "400", "--batch-size", "1200", "--steps", "2"]
    done = subprocess.run(
        [sys.executable, str(script), *flags, "--out", str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "out of memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
