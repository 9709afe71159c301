"""Somebody else's loop, watched: the same losses, the right signals, and a run directory that commands understand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import skipway as sw
from skipway.anatomy.layers import layers_of_net
from skipway.cli.main import main
from skipway.probe import sizes
from skipway.probe.signals import measure
from skipway.rundir.integrity import read_run
from skipway.rundir.run import Run
from skipway.runs.moments import Moments
from test_probe import hooks_on

FEATURES, CLASSES, BATCH = 6, 3, 8
NOTHING = -1
OPTIMIZERS = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), 0.1, momentum=0.9),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), 0.01),
}


class Net(nn.Module):
    """All that may go wrong: dropout, running statistics, an activation in place, gates; maybe computed again."""

    def __init__(self, dropout: float = 0.2, again: bool | None = None) -> None:
        super().__init__()
        self.again = again  # None: nothing; else whether by the reentrant way
        self.head = nn.Linear(FEATURES, CLASSES)  # before the others, where no order of definition finds it
        self.stem, self.norm = nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES)
        bodies = (nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh(), nn.Dropout(dropout)) for _ in range(3))
        self.blocks = nn.ModuleList(sw.Highway(body, gate_bias=-1) for body in bodies)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu_()
        for block in self.blocks:
            x = block(x) if self.again is None else checkpoint(block, x, use_reentrant=self.again)
        return self.head(x)


def made(make: Callable[[], nn.Module] = Net, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(BATCH, FEATURES), torch.randint(CLASSES, (BATCH,))


def loss_of(net: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x), y)


def trained(net: nn.Module, steps: int = 7, *, out: Path | None = None, call=None, optimizer="sgd", **settings):
    """Losses, and all that a training changes; watched if there is a place to write to."""
    torch.manual_seed(1)
    own = OPTIMIZERS[optimizer](net)
    watching = (
        contextlib.nullcontext() if out is None else sw.watch(net if call is None else call, own, out=out, **settings)
    )
    losses = []
    with watching as run:
        for _ in range(steps):
            own.zero_grad()
            loss = loss_of(net if call is None else call, *batch())
            loss.backward()
            own.step()
            losses.append(loss.item())
            if run is not None:
                run.step(loss)
    return losses, [*net.state_dict().values(), torch.get_rng_state()]


def start(out: Path) -> list[dict]:
    return [row for row in Run(out).probes() if row["moment"] == "start"]


def numbers(rows: list[dict], *names: str) -> list[float]:
    names = names or ("activation_std", "gradient_norm", "weight_gradient_norm", "transform_mean", "carry_mean")
    return [NOTHING if row[name] is None else row[name] for row in rows for name in names]


# -- the training is the same ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_weights_statistics_and_draws_are_the_same_to_the_last_bit(optimizer, tmp_path):
    losses, state = trained(made(), optimizer=optimizer)
    watched, watched_state = trained(made(), optimizer=optimizer, out=tmp_path / "run", every=2)
    assert watched == losses
    assert all(torch.equal(a, b) for a, b in zip(watched_state, state, strict=True))
    assert len({row["step"] for row in Run(tmp_path / "run").probes()}) == 4


def test_hooks_lie_on_the_net_in_the_steps_that_are_looked_at_and_in_no_other(tmp_path):
    net = made()
    optimizer, before, found = OPTIMIZERS["sgd"](net), hooks_on(net), []
    with sw.watch(net, optimizer, out=tmp_path / "run", every=3) as run:
        for _ in range(7):
            loss_of(net, *batch()).backward()
            found.append(hooks_on(net) > before or any(p._post_accumulate_grad_hooks for p in net.parameters()))
            optimizer.step()
            run.step()
    assert found == [True, False, False, True, False, False, True]
    assert hooks_on(net) == before
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("where", ["after", "before", "nowhere", "no optimizer"])
def test_the_rows_of_the_curve_hold_the_means_of_their_own_steps(where, tmp_path):
    net = made()
    optimizer, losses = OPTIMIZERS["sgd"](net), []
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with sw.watch(net, None if where == "no optimizer" else optimizer, out=tmp_path / "run", every=2) as run:
        for step in range(5):
            loss = loss_of(net, *batch())
            loss.backward()
            if where == "before":
                run.step(loss, twice=2 * loss)
            optimizer.step()
            if where in ("after", "no optimizer"):
                run.step(loss, twice=2 * loss.item())
            schedule.step()
            losses.append(loss.item())
            if step == 3:  # after the interval's last step, whose row has it
                run.log(validation_loss=torch.tensor(0.5))
        run.log(validation_loss=0.25)
    rows = Run(tmp_path / "run").metrics()
    assert [row["step"] for row in rows] == [2, 4, 5]
    assert [row.get("validation_loss") for row in rows] == [None, 0.5, 0.25]
    if where == "nowhere":
        assert all("train_loss" not in row for row in rows)
    else:
        means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2, losses[4]]
        assert [row["train_loss"] for row in rows] == pytest.approx(means, rel=1e-6)
        assert [row["twice"] for row in rows] == pytest.approx([2 * mean for mean in means], rel=1e-6)
    if where != "no optimizer":
        assert [row["learning_rate"] for row in rows][:2] == [0.05, 0.0125]


# -- the signals are right ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [None, False, True])
def test_signals_are_those_of_a_pass_by_itself_also_where_layers_are_computed_again(again, tmp_path):
    net = made(lambda: Net(dropout=0, again=again)).double()
    x, y = batch()
    x = x.double().requires_grad_()  # the reentrant way goes back to nothing else
    expected = measure(
        made(lambda: Net(dropout=0)).double(),
        x,
        lambda outputs: nn.functional.cross_entropy(outputs, y)[None],
        layers=layers_of_net(net, x),
    )[0]
    with sw.watch(net, out=tmp_path / "run") as run:
        loss_of(net, x, y).backward()
        run.step()
    found = start(tmp_path / "run")
    assert [row["name"] for row in found] == [row["name"] for row in expected]
    assert [row["kind"] for row in found] == ["stem", "stem", "block", "block", "block", "head"]
    assert numbers(found) == pytest.approx(numbers(expected), rel=1e-12)
    assert NOTHING not in numbers(found, "activation_std", "gradient_norm", "weight_gradient_norm")
    assert NOTHING not in numbers(found[2:5], "transform_mean", "carry_mean")


def test_the_first_look_is_the_start_and_the_last_the_end(tmp_path):
    trained(made(), 8, out=tmp_path / "run", every=3)
    moments = dict.fromkeys((row["moment"], row["step"]) for row in Run(tmp_path / "run").probes())
    assert list(moments) == [("start", 0), ("step", 3), ("end", 6)]


@pytest.mark.parametrize("scaled", [False, True])
def test_of_a_batch_in_parts_weights_have_the_whole_steps_gradient_unscaled_and_not_clipped(scaled, tmp_path):
    net = made(lambda: Net(dropout=0)).double()
    optimizer = OPTIMIZERS["sgd"](net)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
    parts = [(x.double(), y) for x, y in (batch(), batch())]
    with sw.watch(net, optimizer, out=tmp_path / "run", scaler=scaler if scaled else None) as run:
        for x, y in parts:
            scaler.scale(loss_of(net, x, y) / 2).backward()
        scaler.unscale_(optimizer)
        expected = [[p.grad.clone() for p in layer.parameters()] for layer in (net.stem, net.norm, *net.blocks)]
        nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
        scaler.step(optimizer)
        scaler.update()
        run.step()
    found = start(tmp_path / "run")
    norms = [sum(g.square().sum().item() for g in own) ** 0.5 for own in expected]
    assert numbers(found[:5], "weight_gradient_norm") == pytest.approx(norms, rel=1e-9)
    torch.manual_seed(0)
    last = made(lambda: Net(dropout=0)).double()
    with sw.watch(last, out=tmp_path / "last") as run:  # the same weights, the last part alone
        (loss_of(last, *parts[-1]) / 2).backward()
        run.step()
    kept = ("activation_std", "gradient_norm", "transform_mean")
    assert numbers(found, *kept) == pytest.approx(numbers(start(tmp_path / "last"), *kept), rel=1e-9)


def test_validation_is_not_looked_at(tmp_path):
    net, x = made(lambda: Net(dropout=0)), torch.randn(BATCH, FEATURES)
    y = torch.zeros(BATCH, dtype=torch.int64)
    stds = []
    for validates in (False, True):
        with sw.watch(net, out=tmp_path / str(validates)) as run:
            if validates:
                with torch.no_grad():
                    net(100 * x)
                net(100 * x)  # and where somebody forgot no_grad
            loss_of(net, x, y).backward()
            if validates:
                net(100 * x)
            run.step()
        stds.append(numbers(start(tmp_path / str(validates)), "activation_std", "gradient_norm"))
        net.zero_grad()
    assert stds[0] == stds[1]


class Leaves(nn.Module):
    """A block that is left out at times, a layer that runs twice, one whose weights are frozen, one that is lazy."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LazyLinear(FEATURES)
        self.rows = nn.ModuleList(nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh()) for _ in range(3))
        self.never = nn.Linear(2, 2)
        self.last = nn.Linear(FEATURES, CLASSES).requires_grad_(False)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.rows[0](self.first(x))
        x = self.rows[0](10 * x)
        x = self.rows[1](x) if self.calls % 2 == 0 else x
        return self.last(self.rows[2](x))


def test_layers_that_are_left_out_run_twice_are_frozen_or_lazy(tmp_path):
    net = made(Leaves)
    x, y = batch()
    with sw.watch(net, out=tmp_path / "run", every=1) as run:
        for _ in range(2):
            loss_of(net, x, y).backward()
            run.step()
            net.zero_grad()
    first, second = (
        [row for row in Run(tmp_path / "run").probes() if row["moment"] == moment] for moment in ("start", "end")
    )
    assert [row["name"] for row in second] == ["first", "rows.0", "rows.1", "rows.2", "last"]
    assert numbers(first[2:3], "activation_std", "gradient_norm") == [NOTHING, NOTHING]
    assert NOTHING not in numbers(second, "activation_std", "gradient_norm", "weight_gradient_norm")
    assert second[4]["weight_gradient_norm"] == 0
    with torch.no_grad():
        assert second[1]["activation_std"] == pytest.approx(net.rows[0](net.first(x)).std().item(), rel=1e-5)
    assert Run(tmp_path / "run").info()["net"]["parameters"] == sum(p.numel() for p in net.parameters())


def test_a_long_training_keeps_the_first_look_and_few_others_evenly():
    moments = Moments(10)
    for step in range(0, 100_000, 10):
        if moments.is_due(step):
            moments.add(step, [{"layer": 0}])
    steps = [row["step"] for row in moments.rows(ended=True)]
    assert 128 <= len(steps) <= 256
    assert steps == list(range(0, 100_000, moments.every))
    assert [row["moment"] for row in moments.rows()][:2] == ["start", "step"]
    assert moments.rows()[-1]["moment"] == "step"


@pytest.mark.parametrize("at_once", [3, 2**24])
def test_norms_and_spreads_are_exact_of_tiny_numbers_in_parts_and_in_every_layout(at_once, monkeypatch):
    monkeypatch.setattr(sizes, "_MOST_AT_ONCE", at_once)
    tiny = 1e-30 * torch.randn(5, 4, 3)
    assert sizes.norm(tiny).item() == pytest.approx(tiny.double().norm().item(), rel=1e-12)
    assert sizes.spread(tiny + 1).item() == pytest.approx((tiny + 1).double().std().item(), abs=1e-12)
    large = torch.randn(5, 4, 3, dtype=torch.bfloat16) + 100
    assert sizes.spread(large.transpose(0, 2)).item() == pytest.approx(large.double().std().item(), rel=1e-12)
    pair = torch.tensor([3 + 4j, 12j])
    assert sizes.norm(pair).item() == sizes.norm(pair.to_sparse()).item() == 13
    assert sizes.norm(torch.tensor(-2.0)).item() == 2


# -- what cannot be seen is said ---------------------------------------------------------------------------------------


def compiled_whole(net: nn.Module) -> nn.Module:
    return torch.compile(net, backend="eager")


def compiled_blocks(net: nn.Module) -> nn.Module:
    for name, block in net.blocks.named_children():
        setattr(net.blocks, name, torch.compile(block, backend="eager"))
    return net


def compiled_in_place(net: nn.Module) -> nn.Module:
    for block in net.blocks:
        block.compile(backend="eager")
    return net


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own, of what its compiler does
@pytest.mark.parametrize(
    ("wrap", "said", "outputs_seen"),
    [
        (compiled_whole, "the whole net", []),
        (compiled_blocks, "blocks.0, blocks.1, blocks.2", ["stem", "norm", "blocks.0", "blocks.1", "blocks.2", "head"]),
        (compiled_in_place, "blocks.0, blocks.1, blocks.2", ["stem", "norm", "head"]),
        (nn.DataParallel, "DataParallel", []),
    ],
)
def test_compiled_code_is_not_touched_and_said_to_be_unseen(wrap, said, outputs_seen, tmp_path, caplog):
    from torch._dynamo.utils import counters

    graphs, losses = [], []
    for out in (None, tmp_path / "run"):
        torch._dynamo.reset()
        counters.clear()
        net = made()
        losses.append(trained(net, 5, out=out, call=wrap(net), every=2)[0])
        graphs.append(dict(counters["stats"]))
    assert losses[0] == losses[1]
    assert graphs[0] == graphs[1]  # nothing was compiled anew
    (unseen,) = Run(tmp_path / "run").info()["unseen"]
    assert said in unseen
    assert unseen in caplog.text
    rows = Run(tmp_path / "run").probes()
    assert {row["name"] for row in rows if row["step"] == 4 and row["activation_std"]} == set(outputs_seen)
    assert all(row["weight_gradient_norm"] for row in rows)


def test_a_step_that_is_compiled_as_a_whole_gives_the_same_losses_and_is_noticed(tmp_path):
    from torch._dynamo.utils import counters

    found = []
    for out in (None, tmp_path / "run"):
        torch._dynamo.reset()
        counters.clear()
        net = made()
        step = torch.compile(lambda x, net=net: net(x), backend="eager")
        torch.manual_seed(1)
        losses = []
        with contextlib.nullcontext() if out is None else sw.watch(net, out=out, every=2) as run:
            for _ in range(6):
                loss = loss_of(step, *batch())
                loss.backward()
                losses.append(loss.item())
                if run:
                    run.step(loss)
        found.append((losses, counters["stats"]["unique_graphs"]))
    assert found[0][0] == found[1][0]
    assert found[1][1] <= found[0][1] + 1  # hooks that lay there in the first step are not put there again
    assert any("compiled as a whole" in unseen for unseen in Run(tmp_path / "run").info()["unseen"])


@contextlib.contextmanager
def processes(backend: str, rank: int, count: int):
    """This one is number `rank` of so many; "fake" ones send nothing."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    store = FakeStore() if backend == "fake" else torch.distributed.HashStore()
    torch.distributed.init_process_group(backend, rank=rank, world_size=count, store=store)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def test_other_processes_than_the_first_write_nothing(tmp_path):
    net = made()
    with processes("fake", 1, 2), sw.watch(net, OPTIMIZERS["sgd"](net), out=tmp_path / "run") as run:
        assert not any(p._post_accumulate_grad_hooks for p in net.parameters())
        run.step(1.0)
        run.log(validation_loss=1.0)
    assert run.path is None
    assert not (tmp_path / "run").exists()


def test_of_several_processes_it_is_said_whose_signals_they_are(tmp_path):
    with processes("fake", 0, 2):
        trained(made(), 1, out=tmp_path / "run")
    info = Run(tmp_path / "run").info()
    assert "number 0" in info["unseen"][0]
    assert info["choices"]["processes"] == 2


def test_a_net_is_seen_within_its_data_parallel_wrapper(tmp_path):
    with processes("gloo", 0, 1):
        losses = [trained(net := made(), 3, call=nn.parallel.DistributedDataParallel(net))[0]]
        losses += [trained(net := made(), 3, call=nn.parallel.DistributedDataParallel(net), out=tmp_path / "run")[0]]
    assert losses[0] == losses[1]
    assert Run(tmp_path / "run").info()["unseen"] == []
    assert NOTHING not in numbers(start(tmp_path / "run"), "activation_std", "gradient_norm", "weight_gradient_norm")


class Sparse(nn.Module):
    """As in nets on graphs: what is no dense tensor is not measured."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(FEATURES, CLASSES), nn.Parameter(torch.ones(CLASSES))
        self.second = nn.Bilinear(CLASSES, CLASSES, CLASSES)
        self.second.forward = lambda x: (x * self.second.bias).to_sparse()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).to_dense()


@pytest.mark.parametrize("scaler", [None, torch.amp.GradScaler])
def test_what_goes_wrong_while_measuring_ends_no_training(scaler, tmp_path, caplog):
    """The class is given where its instance is meant, which a backward pass calls; or a layer's output is sparse."""
    losses = [
        trained(made(Sparse), 5, out=out, **({} if out is None else {"scaler": scaler, "every": 2}))[0]
        for out in (None, tmp_path / "run")
    ]
    assert losses[0] == losses[1]
    info = Run(tmp_path / "run").info()
    assert info["status"] == "done"
    if scaler is None:
        assert [row["activation_std"] is None for row in start(tmp_path / "run")] == [False, True]
    else:
        assert "measuring failed: TypeError" in info["unseen"][0]
        assert caplog.text.count("measuring failed") == 1


def test_a_net_whose_weights_get_no_gradients_is_noticed(tmp_path):
    """`torch.func` differentiates by copies of them."""
    net = made(lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES)))
    x, y = batch()

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(net, parameters, (x,)), y)

    with sw.watch(net, out=tmp_path / "run", every=1) as run:
        for _ in range(2):
            gradients = torch.func.grad(loss)({name: p.detach() for name, p in net.named_parameters()})
            run.step(1.0)
    assert set(gradients) == {"0.weight", "0.bias"}
    info = Run(tmp_path / "run").info()
    assert info["status"] == "done"
    assert "gradients of weights" in info["unseen"][0]


# -- the run directory -------------------------------------------------------------------------------------------------


def test_the_commands_understand_a_watched_run(tmp_path, capsys):
    out = tmp_path / "mine"
    trained(made(), 5, out=out, every=2, name="my net", loss="cross-entropy")
    info = read_run(Run(out))
    assert info["kind"] == "watched"
    assert info["status"] == "done"
    assert info["metrics"]["steps"] == 5
    assert (info["net"]["name"], info["net"]["blocks"]) == ("my net", 3)
    assert info["config"]["optimizer"]["groups"][0]["momentum"] == 0.9
    assert info["task"]["loss"]["word"] == "cross-entropy"
    assert not (out / "model.safetensors").exists()
    assert main(["check", str(out)]) == 0
    assert "1 whole" in capsys.readouterr().out
    assert main(["runs", str(tmp_path)]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["runs", str(tmp_path), "--sql", "select moment, count(*) n from probes group by all", "--csv"]) == 0
    assert set(capsys.readouterr().out.split()) == {"moment,n", "start,6", "step,6", "end,6"}
    assert main(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("my net", "blocks.2", "train loss", "step 4", "activation"))
    assert main(["train", "--resume", str(out)]) == 2
    assert "watched" in capsys.readouterr().err


def test_losses_without_a_step_of_the_watched_optimizer_are_told(tmp_path, caplog):
    """Halfway, another net and optimizer take the place of those that are watched."""
    nets = [made(), made(seed=1)]
    optimizers = [OPTIMIZERS["sgd"](net) for net in nets]
    with sw.watch(nets[0], optimizers[0], every=2, out=tmp_path / "run") as run:
        for net, optimizer in zip(nets, optimizers, strict=True):
            for _ in range(4):
                loss = loss_of(net, *batch())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(loss)
    (told,) = Run(tmp_path / "run").info()["unseen"]
    assert told.startswith("4 of 8 losses came without a step of the optimizer that is watched, which took 4:")
    assert told in caplog.text
    with sw.watch(nets[0], out=tmp_path / "none"):
        pass
    (told,) = Run(tmp_path / "none").info()["unseen"]
    assert told.startswith("every step: none was counted.")


def test_a_step_that_a_scaler_leaves_out_is_no_sign_of_another_optimizer(tmp_path):
    net, scaler = made(), torch.amp.GradScaler("cpu", init_scale=1.0)
    optimizer = OPTIMIZERS["sgd"](net)
    with sw.watch(net, optimizer, scaler=scaler, out=tmp_path / "run") as run:
        for factor in (1.0, float("inf"), 1.0):
            loss = loss_of(net, *batch())
            optimizer.zero_grad()
            scaler.scale(loss * factor).backward()
            scaler.step(optimizer)
            scaler.update()
            run.step(loss)
    info = Run(tmp_path / "run").info()
    assert info["metrics"]["steps"] == 2
    assert info["unseen"] == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "probes.parquet"])
def test_a_watched_run_that_was_damaged_is_noticed(name, tmp_path, capsys):
    trained(made(), 3, out=tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    assert main(["check", str(tmp_path)]) == 1
    assert name in capsys.readouterr().out


def test_what_a_kill_would_leave_is_a_run_that_runs_with_its_curve_and_signals(tmp_path, capsys):
    net = made()
    with sw.watch(net, out=tmp_path / "run", every=2) as run:
        for _ in range(3):
            loss = loss_of(net, *batch())
            loss.backward()
            run.step(loss)
        assert read_run(Run(tmp_path / "run"))["status"] == "running"
        assert [row["step"] for row in Run(tmp_path / "run").metrics()] == [2]
        assert {row["moment"] for row in Run(tmp_path / "run").probes()} == {"start"}
        assert main(["check", str(tmp_path)]) == 0
        assert main(["report", str(tmp_path / "run")]) == 0
        with pytest.raises(OSError, match="directory of its own"), sw.watch(net, out=tmp_path / "run"):
            pass
    printed = capsys.readouterr().out
    assert "1 unfinished" in printed
    assert "running" in printed


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError("mine"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_an_exception_goes_on_and_is_told_with_the_users_own_line(error, status, tmp_path):
    net = made()
    losses = [loss_of(net, *batch()) for _ in range(6)]

    def loop() -> None:
        with sw.watch(net, out=tmp_path / "run", every=1) as run:
            for loss in losses:
                run.step(loss)
            raise error

    with pytest.raises(type(error)):
        loop()
    info = read_run(Run(tmp_path / "run"))
    assert info["status"] == status
    assert type(error).__name__ in info["reason"]
    assert "test_watch.py" in info["reason"]
    told = [row["train_loss"] for row in Run(tmp_path / "run").metrics()]
    assert told == pytest.approx([loss.item() for loss in losses])
    assert not any(p._post_accumulate_grad_hooks for p in net.parameters())


def test_a_loss_that_is_not_finite_is_divergence(tmp_path):
    with sw.watch(made(), out=tmp_path / "run", every=2) as run:
        for loss in (1.0, 2.0, float("nan")):
            run.step(loss)
    info = read_run(Run(tmp_path / "run"))
    assert info["status"] == "diverged"
    assert "step 3" in info["reason"]
    assert info["metrics"]["train_loss"] is None


@pytest.mark.parametrize("order", ["before", "after", "alone"])
def test_the_first_step_without_a_finite_loss_is_told(order, tmp_path):
    net = made()
    optimizer = None if order == "alone" else torch.optim.SGD(net.parameters(), 0.1)
    with sw.watch(net, optimizer, out=tmp_path / "run", every=4) as run:
        for step in range(1, 23):
            bad = step == 2 or step >= 10  # the one recovered
            if order == "after":
                optimizer.step()
            run.step(torch.tensor(float("nan") if bad else 1.0))
            if order == "before":
                optimizer.step()
    info = read_run(Run(tmp_path / "run"))
    assert info["reason"] == "the training loss was not finite at step 10"


def test_a_watch_that_failed_in_its_first_step_has_no_rows_and_is_not_damaged(tmp_path):
    with pytest.raises(RuntimeError), sw.watch(made(), out=tmp_path / "run"):
        raise RuntimeError
    run = Run(tmp_path / "run")
    assert read_run(run)["status"] == "failed"
    assert run.info()["unseen"] == [], "that no step was counted has its reason"
    assert run.metrics() == []
    assert run.probes() == []


def test_weights_are_kept_where_asked_for_and_loaded_with_the_class_given_again(tmp_path):
    net = made()
    trained(net, 2, out=tmp_path / "run", save=True)
    loaded = sw.load_net(tmp_path / "run", net=Net).net
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), loaded.state_dict().values(), strict=True))
    assert main(["check", str(tmp_path)]) == 0


def test_without_a_place_a_run_lies_under_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = []
    for _ in range(2):
        with sw.watch(made()) as run:
            monkeypatch.chdir("/")  # as some loops do
            run.step(1.0)
        paths.append(run.path)
        monkeypatch.chdir(tmp_path)
    assert {path.parent for path in paths} == {tmp_path / "runs"}
    assert [read_run(Run(path))["id"] for path in paths] == [path.name for path in paths]
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda out: sw.watch(nn.Linear(1, 1), every=0, out=out).__enter__(), "every is a number of steps"),
        (lambda out: sw.watch(nn.Linear(1, 1), "sgd", out=out).__enter__(), "one of torch's"),
        (lambda out: sw.watch(nn.Linear(1, 1), out=out).__enter__().step(torch.ones(2)), r"shape \(2,\)"),
        (lambda out: sw.watch(nn.Linear(1, 1), out=out).__enter__().step(loss="low"), "must be a number"),
        (lambda out: sw.watch(nn.Linear(1, 1), out=out).__enter__().log(step=3), "another one"),
    ],
)
def test_wrong_things_get_the_rule(use, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        use(tmp_path / "run")


def test_a_directory_with_a_run_is_left_alone(tmp_path):
    trained(made(), 1, out=tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(ValueError, match="holds a run already"):
        trained(made(), 1, out=tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
