"""Numbers out of all proportion are refused with a reason, before memory or time is taken."""

from __future__ import annotations

import resource

import pytest

import skipway as sw
from skipway.cli.main import WRONG_USAGE, main
from skipway.runs.advice import check_width
from skipway.training.machine import cores, memory_bytes
from skipway.training.recipe import Recipe

SEED_OF_71_BITS = str(2**70)
MANY_SEEDS = [str(seed) for seed in range(2_000)]  # x 3 gates x 5 depths x 5 rates


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("study --width 10000000", "width must be 65,536 or less, since one dense layer of that width has 16 GiB"),
        ("study --gates plain --depths 300 --width 65536", "at depth 300 makes about 1.3e+12 parameters"),
        ("train --width 10000000", "width must be 65,536 or less"),
        ("train --net plain-dense-300 --width 65536", "Give a width up to"),
        ("study --depths 5 1000000000", "depth must be 10,000 or less, since no deeper net was ever trained"),
        ("train --net residual-dense-1000000000", "depth must be 10,000 or less"),
        ("nets resnet-1000000002", "depth must be 10,000 or less"),
        (
            f"study --seeds {SEED_OF_71_BITS}",
            "seed must be 9,223,372,036,854,775,807 or less, since torch's generators",
        ),
        ("study --seeds 0 -1", "seed must be 0 or more; it is -1"),
        (f"train --seed {SEED_OF_71_BITS}", "it is 1,180,591,620,717,411,303,424"),
        (f"train --split-seed {SEED_OF_71_BITS}", "split_seed must be"),
        (f"study --split-seed {SEED_OF_71_BITS}", "split_seed must be"),
        ("study --epochs 1e308", "epochs must be 1,000,000 or less, since more would take decades; it is 1e+308"),
        ("train --epochs 1e308", "epochs must be 1,000,000 or less"),
        ("train --epochs 1e6 --batch-size 1", "the steps of 1e+06 epochs must be 1,000,000,000 or less"),
        ("study --steps 9999999999999999999999", "steps must be 1,000,000,000 or less"),
        ("study --epochs 1 --warmup-steps 9999999999", "warmup_steps must be 1,000,000,000 or less"),
        ("study --image-size 1000000000", "image_size must be 4,096 or less"),
        ("train --image-size 0", "image_size must be 1 or more"),
        ("study --workers 100000", f"workers must be {8 * cores():,} or less, since more than 8 a core only wait"),
        ("study --workers 0", "workers must be 1 or more"),
        ("study --clip inf", "clip must be a number above 0"),
        ("study --weight-decay inf", "weight_decay must be a number from 0"),
        ("train --save-every nan", "save_every is a number of seconds"),
        ("study --seeds *", "must be 100,000 or less, since each has a directory of its own"),
    ],
)
def test_numbers_out_of_all_proportion_are_refused_with_a_reason(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [word for part in arguments.split() for word in (MANY_SEEDS if part == "*" else [part])]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(words) == WRONG_USAGE
    message = capsys.readouterr().err
    assert told in message
    assert len(message) < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kilobytes
    assert not list(tmp_path.iterdir())


def test_very_many_seeds_are_counted_not_listed():
    with pytest.raises(ValueError, match="it is 6,000,000") as error:
        sw.study(seeds=range(10**5))
    assert len(str(error.value)) < 200


def test_the_largest_valid_numbers_are_taken():
    config = sw.Recipe(steps=10**9, warmup_steps=10**9 - 1)
    assert config.problems() == []
    assert Recipe(epochs=10**6).problems() == []
    assert Recipe(epochs=10.0).total_steps(1280) == 100


def test_a_width_is_refused_only_where_its_weights_do_not_fit():
    def make(width: int):
        return sw.build("plain-dense-3", in_features=64, num_classes=10, width=width)

    check_width(make, width=None, depth=3)
    fits = int((memory_bytes() / 12 / 2) ** 0.5)  # two layers of width x width
    check_width(make, width=int(0.5 * fits), depth=3)
    with pytest.raises(ValueError, match="Give a width up to"):
        check_width(make, width=int(1.5 * fits), depth=3)
