"""Other people's weights: names, prefixes, heads, kinds of files, refusals; and the error of trained ones on images."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers import CLASSES
from skipway.data.images.dataset import ImagePipeline
from skipway.data.images.preprocess import Preprocess
from skipway.data.images.sources import load
from skipway.nets.foreign import load_weights
from skipway.nets.registry import build
from skipway.nets.weights import weights_bytes
from skipway.training.evaluate import evaluate
from skipway.training.replicas import Single

NAME, SETTINGS = "resnet18", {"num_classes": 7, "width": 4}


def fresh(name: str = NAME, seed: int = 0, **settings: object) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, **{**SETTINGS, **settings})


def state(seed: int = 1, **settings: object) -> dict[str, torch.Tensor]:
    return fresh(seed=seed, **settings).state_dict()


def equal(ours: nn.Module, theirs: dict[str, torch.Tensor], but: tuple[str, ...] = ()) -> bool:
    found = ours.state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in theirs.items() if name not in but)


# -- kinds of files ----------------------------------------------------------------------------------------------------


def safetensors(path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, path)


def torch_file(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(OrderedDict(weights), path)


def old_torch_file(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def checkpoint(path: Path, weights: dict[str, torch.Tensor]) -> None:
    momentum = {0: {"momentum_buffer": torch.ones(3)}}
    torch.save({"epoch": 3, "state_dict": weights, "optimizer": {"state": momentum}, "best": torch.tensor(91.7)}, path)


def parallel(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save({"model": {f"module.{name}": tensor for name, tensor in weights.items()}}, path)


def compiled_and_parallel(path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file({f"_orig_mod.module.{name}": tensor for name, tensor in weights.items()}, path)


KINDS = (safetensors, torch_file, old_torch_file, checkpoint, parallel, compiled_and_parallel)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".weights"])  # the content tells the kind, not the suffix
@pytest.mark.parametrize("write", KINDS)
def test_every_kind_of_file_loads_strictly(write, suffix, tmp_path):
    weights, net = state(), fresh()
    write(tmp_path / f"net{suffix}", weights)
    assert not equal(net, weights)
    report = load_weights(net, tmp_path / f"net{suffix}", strict=True)
    assert equal(net, weights)
    assert set(report.matched) == set(weights)
    assert (report.reheaded, report.missing, report.unexpected, report.note) == ((), (), (), "")
    assert str(report) == f"{tmp_path / f'net{suffix}'}: {len(weights)} tensors loaded"


@pytest.mark.parametrize("name", ["highway-dense-5", "highway-20", "highway18"])
def test_our_own_file_and_a_run_directory(name, tmp_path):
    settings = {"num_classes": 3, "width": 4, **({"in_features": 9} if "dense" in name else {})}
    torch.manual_seed(1)
    trained = build(name, **settings)
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(trained, {}, ["a", "b", "c"]))
    for source in (tmp_path / "model.safetensors", tmp_path, str(tmp_path)):
        torch.manual_seed(0)
        net = build(name, **settings)
        load_weights(net, source, strict=True)
        assert equal(net, trained.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_torchvisions_checkpoint(name, peers, tmp_path):
    peer = peers.torchvision.models.get_model(name)
    torch.save(peer.state_dict(), tmp_path / "net.pth")
    net = build(name, num_classes=1000)
    load_weights(net, tmp_path / "net.pth", strict=True)
    assert equal(net, peer.state_dict())


def test_timms_checkpoint_re_headed(peers, tmp_path):
    peer = peers.timm.create_model("resnet18d")
    save_file(peer.state_dict(), tmp_path / "net.safetensors")
    net = build("resnet18d", num_classes=10)
    head = net.fc.weight.clone()
    report = load_weights(net, tmp_path / "net.safetensors", strict=True)
    assert equal(net, peer.state_dict(), but=("fc.weight", "fc.bias"))
    assert torch.equal(net.fc.weight, head)
    assert report.classes == (1000, 10)


def test_half_precision_weights_become_the_nets(tmp_path):
    save_file({name: t.half() if t.is_floating_point() else t for name, t in state().items()}, tmp_path / "half")
    net = fresh()
    load_weights(net, tmp_path / "half", strict=True)
    assert net.conv1.weight.dtype == torch.float32
    assert torch.equal(net.conv1.weight, state()["conv1.weight"].half().float())


def test_files_without_the_count_of_batches_are_whole(tmp_path):
    save_file({name: t for name, t in state().items() if "num_batches_tracked" not in name}, tmp_path / "old")
    assert load_weights(fresh(), tmp_path / "old", strict=True).missing == ()


# -- heads, missing and unexpected names -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "highway18", "resnet-20", "preresnet-20", "plain-dense-5"])
def test_a_changed_number_of_classes_keeps_the_rest(name, tmp_path, caplog):
    settings = {"width": 4, **({"in_features": 9} if "dense" in name else {})}
    torch.manual_seed(1)
    theirs = build(name, num_classes=9, **settings).state_dict()
    save_file(theirs, tmp_path / "nine")
    torch.manual_seed(0)
    net = build(name, num_classes=4, **settings)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        report = load_weights(net, tmp_path / "nine", strict=True)
    head = report.reheaded
    assert head == tuple(before)[-2:]
    assert equal(net, theirs, but=head)
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in head)
    assert report.classes == (9, 4)
    assert f"new head: 9 classes in the file, 4 in the net; {', '.join(head)} start afresh" in str(report)
    assert str(report) in caplog.text


def test_a_gates_parameters_are_missing_from_a_residual_nets_file(tmp_path):
    save_file(state(), tmp_path / "residual")
    net = fresh("highway18")
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    report = load_weights(net, tmp_path / "residual")
    assert report.missing == tuple(key for key in before if ".gate." in key)
    assert report.unexpected == ()
    assert equal(net, state())
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in report.missing)
    assert "not in the file, left as they were: layer1.0.gate.transform.weight" in str(report)
    assert "and 10 more" in str(report)
    with pytest.raises(ValueError, match=r"differ in names.*\n(.*\n)*not in the file.*gate"):
        load_weights(net, tmp_path / "residual", strict=True)


def test_names_that_only_the_file_has(tmp_path):
    save_file({**state(), "aux.weight": torch.ones(2)}, tmp_path / "more")
    net = fresh()
    assert load_weights(net, tmp_path / "more").unexpected == ("aux.weight",)
    with pytest.raises(ValueError, match=r"in the file only: aux\.weight"):
        load_weights(fresh(), tmp_path / "more", strict=True)


# -- refusals: nothing of the file reaches the net ---------------------------------------------------------------------


def refused(path: Path | str, said: str, **settings: object) -> None:
    net = fresh(**settings)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(ValueError, match=said):
        load_weights(net, path)
    assert equal(net, before)


def test_another_shape_names_the_tensor_and_both_shapes(tmp_path):
    save_file(state(width=8), tmp_path / "wide")
    refused(tmp_path / "wide", r"conv1\.weight \(8 x 3 x 7 x 7 in the file, 4 x 3 x 7 x 7 in the net\).* and \d+ more")


def test_a_head_of_other_features_is_no_new_head(tmp_path):
    weights = {**state(), "fc.weight": torch.zeros(9, 16)}
    save_file(weights, tmp_path / "head")
    refused(tmp_path / "head", r"fc\.weight \(9 x 16 in the file, 7 x 32 in the net\)")


def test_weights_of_something_else(tmp_path):
    save_file({"encoder.weight": torch.ones(2)}, tmp_path / "other")
    refused(tmp_path / "other", r"no name agrees\. The file has encoder\.weight; the net has conv1\.weight")


class Payload:
    """What a hostile pickle looks like: reading it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(zipped, tmp_path):
    marker = tmp_path / "ran"
    weights = {**state(), "fc.bias": Payload(marker)}
    torch.save(weights, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "net.pth", r"asks for \w+\.system: code, not tensors\. It was not run\. Have it saved again")
    assert not marker.exists()
    torch.load(tmp_path / "net.pth", weights_only=False)
    assert marker.exists()  # the file would have


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"a": Payload(tmp_path / "ran")}))
    refused(tmp_path / "net.pkl", "neither a safetensors file nor a torch file")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "net.pt")
    refused(tmp_path / "net.pt", r"asks for torch\.nn\.modules\.linear\.Linear: code")


def test_a_torchscript_program_is_refused(tmp_path):
    with warnings.catch_warnings(action="ignore"):  # those that tracing gives nowadays are not this test's
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "TorchScript program")


def damaged(kind: str, path: Path) -> None:
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello, these are no weights")
    else:
        (safetensors if kind == "half a safetensors file" else torch_file)(path, state())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("kind", ["empty", "text", "half a safetensors file", "half a torch file"])
def test_damaged_files(kind, tmp_path):
    damaged(kind, tmp_path / "net")
    refused(tmp_path / "net", "damaged")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2), {"state_dict": {"epoch": 3}}])
def test_a_torch_file_without_named_tensors(content, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "holds no named tensors")


def test_an_empty_safetensors_file(tmp_path):
    save_file({}, tmp_path / "net")
    refused(tmp_path / "net", "holds no tensors")


def test_files_that_are_not_there(tmp_path):
    refused(tmp_path / "net.pth", "there is no file .*net.pth")
    refused("owner/net.safetensors", "there is no file 'owner/net.safetensors'")
    refused("resnet18", "there is no file 'resnet18'.*Hub name such as timm/resnet18.a1_in1k")
    refused(tmp_path, "holds no weights: none of model.safetensors, pytorch_model.bin")


# -- the Hub -----------------------------------------------------------------------------------------------------------


def test_a_hub_name_that_is_neither_cached_nor_reachable(tmp_path):
    refused("nobody-at-all/no-such-net", "not in the local Hub cache, and the Hugging Face Hub cannot be reached")


def test_hub_names_are_found_in_the_hubs_own_cache(tmp_path):
    weights, names = state(), {"owner/net.a1": "model.safetensors", "owner/net.b2@v1": "pytorch_model.bin"}
    for name, file in names.items():
        commit = hashlib.sha1(file.encode()).hexdigest()
        owner_and_net, _, revision = name.partition("@")
        repository = tmp_path / f"models--{owner_and_net.replace('/', '--')}"
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / (revision or "main")).write_text(commit)
        (safetensors if "safe" in file else torch_file)(repository / "snapshots" / commit / file, weights)
    # The Hub library reads where its cache is when it is imported, so a process of its own.
    code = f"""
import torch
from skipway.nets.foreign import load_weights
from skipway.nets.registry import build
for name in {[*names]!r}:
    net = build({NAME!r}, **{SETTINGS!r})
    print(load_weights(net, name, strict=True))
    print(net.fc.weight.double().sum().item())
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[::2] == [f"{name}: {len(weights)} tensors loaded" for name in names]
    assert [float(line) for line in lines[1::2]] == [weights["fc.weight"].double().sum().item()] * 2


# -- trained by somebody else ------------------------------------------------------------------------------------------


def akamaster(shared: Path, depth: int) -> Path:
    return shared / "weights" / f"akamaster-resnet{depth}-cifar10.safetensors"


@pytest.mark.parametrize("depth", [20, 44])
def test_akamasters_weights_load_strictly(depth, shared):
    net = build(f"resnet-{depth}", num_classes=10, shortcut="A:pad=sides")
    theirs = load_file(akamaster(shared, depth))
    report = load_weights(net, akamaster(shared, depth), strict=True)
    assert len(report.matched) == len(theirs)
    assert not report.note
    last = (depth - 2) // 6 - 1
    found = net.state_dict()
    assert torch.equal(found["stem.conv.weight"], theirs["conv1.weight"])
    assert torch.equal(found[f"blocks.{3 * last + 2}.body.bn2.weight"], theirs[f"layer3.{last}.bn2.weight"])
    assert torch.equal(found["head.linear.weight"], theirs["linear.weight"])


def test_akamasters_original_files_have_prefixes_and_an_accuracy(shared, tmp_path):
    theirs = load_file(akamaster(shared, 20))
    parallel = OrderedDict((f"module.{name}", tensor) for name, tensor in theirs.items())
    torch.save({"state_dict": parallel, "best_prec1": 91.73}, tmp_path / "resnet20-12fca82f.th")
    net = build("resnet-20", num_classes=10, shortcut="A:pad=sides")
    assert len(load_weights(net, tmp_path / "resnet20-12fca82f.th", strict=True).matched) == len(theirs)


def test_akamasters_padding_is_noted_where_the_net_has_another(shared, caplog):
    net = build("resnet-20", num_classes=10)
    with caplog.at_level(logging.WARNING):
        report = load_weights(net, akamaster(shared, 20), strict=True)
    assert "shortcut='A:pad=sides'" in report.note
    assert report.note in caplog.text


def test_akamasters_weights_do_not_fit_another_depth(shared):
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(build("resnet-32", num_classes=10), akamaster(shared, 20))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_akamasters_error_on_the_10000_test_images(shared):
    data = load(str(shared / "data" / "cifar10"))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    net = build("resnet-20", num_classes=10, shortcut="A:pad=sides").to(memory_format=torch.channels_last)
    load_weights(net, akamaster(shared, 20), strict=True)
    scores = evaluate(Single(net), data.test, ImagePipeline(Preprocess("channel", 255.0, mean, std)), CLASSES)
    assert len(data.test) == 10_000
    # The same on every processor: float32 puts scores wrong by 1e-5, and no image's best two are nearer than 2e-3.
    assert round(scores.metric.item() * 10_000) == 827
