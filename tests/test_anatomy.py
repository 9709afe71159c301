"""What modules consist of: rows, layers and skips, of ours and of other people's; what follows is plain tensor code."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import scramble
from skipway.anatomy.cost import Cost, block_costs, cost
from skipway.anatomy.layers import layers_of_net
from skipway.anatomy.rows import rows_of
from skipway.anatomy.skips import find_skips
from skipway.nets.registry import FAMILIES, build
from skipway.nets.stack import SkipNet
from skipway.probe.handles import override_flows, read_flows
from skipway.probe.lesion import lesion
from skipway.probe.signals import measure
from skipway.skip.block import Residual, Skip
from skipway.skip.gate import Flow
from skipway.training.execution import Execution, choose_execution, prepare
from skipway.training.memory import segment


class Block(nn.Module):
    """A transformer's block, pre-LN, with causal attention of its own making."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """In nanoGPT's layout; what comes last is defined first."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.lm_head = nn.Linear(8, 11, bias=False)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(11, 8),
                "wpe": nn.Embedding(6, 8),
                "h": nn.ModuleList(Block() for _ in range(depth)),
                "ln_f": nn.LayerNorm(8),
            }
        )
        self.unused = nn.Linear(8, 8)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        x = self.transformer.wte(ids) + self.transformer.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.transformer.h:
            x = block(x)
        return {"ids": ids, "logits": self.lm_head(self.transformer.ln_f(x))}


class LSTMs(nn.Module):
    """Recurrent layers, one on the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(4, 4, batch_first=True) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(x[:, -1])


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))


def gpt(seed: int = 0) -> tuple[GPT, Tensor]:
    torch.manual_seed(seed)
    return scramble(GPT(), 0.3), torch.randint(11, (4, 6))


def encoder(**settings: bool) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)
    return scramble(nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), 0.3)


def resnet18(peers, seed: int = 0) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    return peers.torchvision.models.resnet18(num_classes=5), torch.randn(4, 3, 32, 32)


def kinds(net: nn.Module, example: object = None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for layer in layers_of_net(net, example):
        found.setdefault(layer.kind, []).append(layer.name)
    return found


# -- rows, layers, skips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", list(FAMILIES))
def test_of_our_nets_they_are_stem_blocks_and_head(body):
    family = FAMILIES[body]
    net = build(family.examples[0], **{"width": 4, **family.data_settings(family.shape, 3)})
    names = {module: name for name, module in net.named_modules()}
    blocks = [names[block] for block in net.blocks]
    assert kinds(net) == {"stem": [names[net.stem]], "block": blocks, "head": [names[net.head]]}
    assert [block for row in rows_of(net) for block in row.blocks] == blocks
    assert [handle.name for handle in find_skips(net)] == blocks


RESNET = {"stem": ["conv1", "bn1"], "head": ["fc"]}
VIT = {"stem": ["patch_embed"], "head": ["norm", "head"]}
PEERS = {
    "torchvision:resnet18": ({f"layer{n}": 2 for n in range(1, 5)}, RESNET, {"bn2"}),
    "torchvision:resnet50": ({"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}, RESNET, {"bn3"}),
    "timm:resnet10t": (
        {f"layer{n}": 1 for n in range(1, 5)},
        {"stem": ["conv1", "bn1"], "head": ["fc"]},
        {"bn2"},
    ),
    "timm:resnet26": ({f"layer{n}": 2 for n in range(1, 5)}, RESNET, {"bn3"}),
    "timm:vit_tiny_patch16_224": ({"blocks": 12}, VIT, {"drop_path1", "drop_path2"}),
}


@pytest.mark.parametrize("name", PEERS)
def test_of_other_peoples_nets_they_are_found(name, peers):
    library, _, name = name.partition(":")
    rows, ends, bodies = PEERS[f"{library}:{name}"]
    make = peers.torchvision.models.get_model if library == "torchvision" else peers.timm.create_model
    net = make(name)
    found = rows_of(net)
    assert {row.name: len(row.blocks) for row in found} == rows
    blocks = [f"{row}.{place}" for row, count in rows.items() for place in range(count)]
    assert kinds(net, torch.randn(2, 3, 224, 224)) == kinds(net) == {**ends, "block": blocks}
    handles = find_skips(net)
    assert [handle.name for handle in handles] == blocks
    assert {branch.body for handle in handles for branch in handle.branches} == bodies
    shortcuts = [branch.shortcut for handle in handles for branch in handle.branches]
    parts = [net.get_submodule(block) for block in blocks]
    if library == "torchvision":
        assert shortcuts == [part.downsample and "downsample" for part in parts]


OTHERS = {
    "gpt": (lambda: GPT(), {"stem": ["transformer.wte", "transformer.wpe"], "head": ["transformer.ln_f", "lm_head"]}),
    "lstms": (LSTMs, {"head": ["head"]}),
    "encoder": (encoder, {}),
    "transformer": (lambda: nn.Transformer(8, 2, 2, 2, 8, batch_first=True), {}),
}


def example_of(name: str) -> object:
    sequence = torch.randn(2, 5, 8)
    examples = {"gpt": torch.zeros(2, 6, dtype=torch.long), "lstms": torch.randn(2, 5, 4), "encoder": sequence}
    return examples.get(name, (sequence, torch.randn(2, 3, 8)))


@pytest.mark.parametrize("name", OTHERS)
def test_of_lists_of_blocks_they_come_as_they_are_called(name):
    make, ends = OTHERS[name]
    net = make()
    blocks = [block for row in rows_of(net) for block in row.blocks]
    between = {"layer": ["encoder.norm"], "head": ["decoder.norm"]} if name == "transformer" else {}
    assert kinds(net, example_of(name)) == {**ends, **between, "block": blocks}
    assert len(blocks) == (4 if name == "transformer" else 3)


@pytest.mark.parametrize("make", [GPT, encoder, lambda: encoder(norm_first=True)], ids=["gpt", "post-LN", "pre-LN"])
def test_skips_of_transformers_are_those_of_attention_and_mlp(make):
    handles = find_skips(make())
    assert len(handles) == 3
    bodies = [branch.body for branch in handles[0].branches]
    assert bodies == (["proj", "mlp"] if make is GPT else ["dropout1", "dropout2"])


def test_a_net_without_rows_has_layers_alone():
    net = mlp()
    assert rows_of(net) == find_skips(net) == []
    assert kinds(net) == kinds(net, torch.randn(2, 4)) == {"layer": ["0", "2", "4"]}
    assert kinds(nn.LSTM(3, 3, 2)) == {"layer": [""]}
    tied = nn.Linear(4, 4)
    twice = nn.Sequential(nn.Sequential(tied, nn.ReLU()), nn.Sequential(tied, nn.Tanh()), nn.Linear(4, 2))
    assert kinds(twice) == kinds(twice, torch.randn(2, 4)) == {"layer": ["0.0", "2"]}


def test_a_row_is_a_run_among_others_and_its_stages_are_no_blocks():
    def block() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    net = nn.Sequential(nn.Linear(4, 4), nn.Flatten(), block(), block(), nn.Linear(4, 2))
    assert [row.blocks for row in rows_of(net)] == [("2", "3")]
    stages = nn.ModuleDict({f"stage{n}": nn.Sequential(*(Residual(nn.Linear(4, 4)) for _ in range(n))) for n in (1, 2)})
    assert [row.blocks for row in rows_of(stages)] == [("stage1.0",), ("stage2.0", "stage2.1")]
    experts = nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList([block(), block()])}) for _ in range(2))
    assert [row.blocks for row in rows_of(experts)] == [("0", "1")]
    assert [row.blocks for row in rows_of(nn.ModuleList([Block()]))] == [("0",)]
    pairs = [nn.ModuleDict({"pair": nn.Sequential(block(), block())}) for _ in range(4)]
    pairs[1].extra = nn.Linear(2, 2)  # blocks of stages may differ, and hold lists
    staged = nn.Sequential(nn.Sequential(*pairs[:2]), nn.Sequential(*pairs[2:]))
    assert [row.blocks for row in rows_of(staged)] == [("0.0", "0.1"), ("1.0", "1.1")]
    shared = block()
    assert [row.blocks for row in rows_of(nn.Sequential(shared, shared))] == [("0",)]


def test_without_an_example_layers_come_as_they_are_defined():
    assert layers_of_net(GPT())[0].name == "lm_head"
    assert "unused" in kinds(GPT())["head"]


class NeedsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x) if x.sum().item() < float("inf") else x


def test_a_net_that_needs_values_is_tried_on_them():
    assert [layer.name for layer in layers_of_net(NeedsValues(), torch.ones(2, 4))] == ["first", "last"]


def test_an_example_that_the_net_does_not_take_is_refused():
    with pytest.raises(ValueError, match="the net does not take the example: RuntimeError"):
        layers_of_net(mlp(), torch.ones(2, 5))


# -- blocks in which no skip is seen, and those in which one is --------------------------------------------------------


class Sum(nn.Module):
    """post(F(x) + S(x)), in ways that people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.norm = nn.BatchNorm2d(4)
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.drop, self.project = nn.Identity(), nn.Identity(), nn.Conv2d(4, 4, 1)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        def body(z: Tensor) -> Tensor:
            return self.conv2(self.conv1(z).relu())

        z = self.norm(x).relu()
        if self.way == "plain":
            return body(x)
        if self.way == "scaled":  # C is a parameter that starts at 1
            return body(x) + self.scale * x
        if self.way == "hidden":  # what is left has weights
            return self.project(body(x) + x)
        if self.way == "multiplied":
            return body(x) * x
        if self.way == "three terms":
            return body(x) + self.project(x) + x
        if self.way == "joined":
            return torch.cat([body(x), x], 1)
        return {
            "functional": lambda: F.relu(body(x) + x),
            "in place": lambda: body(x).add_(x).relu_(),
            "pre-activation": lambda: x + body(z),
            "shortcut behind": lambda: self.drop(self.act(body(z))) + self.project(z),
            "shortcut beside": lambda: self.inner(x) + self.project(x),
            "shortcut first": lambda: self.project(x) + body(x),
        }[self.way]()


@pytest.mark.parametrize("way", ["plain", "scaled", "hidden", "multiplied", "three terms", "joined"])
def test_what_is_no_sum_is_not_taken_for_one(way):
    assert find_skips(Sum(way)) == []


BODIES = {
    **dict.fromkeys(("functional", "in place", "pre-activation", "shortcut first"), "conv2"),
    "shortcut behind": "drop",
    "shortcut beside": "inner",
}


@pytest.mark.parametrize("way", BODIES)
def test_sums_are_found_however_they_are_written(way):
    net = scramble(Sum(way), 0.3).eval()
    random, state = torch.get_rng_state(), copy.deepcopy(net.state_dict())
    (handle,) = find_skips(net)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    projected = way.startswith("shortcut")
    assert [(b.body, b.shortcut) for b in handle.branches] == [(BODIES[way], "project" if projected else None)]
    x = torch.randn(2, 4, 5, 5)
    z = net.norm(x).relu() if way == "shortcut behind" else x
    carried = net.project(z) if projected else x
    with lesion(net, ""):
        assert torch.equal(net(x), carried.relu() if way in ("functional", "in place") else carried)


# -- lesions and other Flows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layer1.1", "layer2.0"])
def test_a_lesion_leaves_a_block_of_torchvisions_out(name, peers):
    net, x = resnet18(peers)
    net.eval()
    block = net.get_submodule(name)
    without = copy.deepcopy(net)
    bare = nn.Sequential(nn.Identity() if block.downsample is None else block.downsample, nn.ReLU())
    without.set_submodule(name, bare)
    with torch.no_grad():
        whole = net(x)
        with lesion(net, name):
            assert torch.equal(net(x), without(x))
            assert torch.equal(copy.deepcopy(net)(x), whole)  # a copy is free of it
        assert torch.equal(net(x), whole)
        assert not torch.equal(without(x), whole)


def test_flows_of_torchvisions_blocks_are_read_and_overridden(peers):
    net, x = resnet18(peers)
    with read_flows(net) as flows, torch.no_grad():
        net(x)
    assert list(flows) == [f"layer{n}.{place}" for n in range(1, 5) for place in range(2)]
    assert set(flows.values()) == {Flow(1.0, 1.0)}
    block, z = net.layer2[0].eval(), torch.rand(2, 64, 8, 8)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(z)).relu()))
    with override_flows(net, {"layer2.0": Flow(0.5, 0.25)}):
        torch.testing.assert_close(block(z), (0.5 * inner + 0.25 * block.downsample(z)).relu())
    block, z = net.layer1[1].eval(), torch.rand(2, 64, 8, 8)
    inner = block.bn2(block.conv2(block.bn1(block.conv1(z)).relu()))
    with override_flows(net, {"layer1.1": Flow(0.5, 0.25)}):
        torch.testing.assert_close(block(z), (0.5 * inner + 0.25 * z).relu())


def test_timms_resnets_are_lesioned_alike(peers):
    net = peers.timm.create_model("resnet18", num_classes=3).eval()
    x = torch.randn(2, 3, 32, 32)
    without = copy.deepcopy(net)
    without.layer3[1] = nn.ReLU()
    with torch.no_grad(), lesion(net, "layer3.1"):
        assert torch.equal(net(x), without(x))


def test_a_lesion_leaves_a_transformers_block_out():
    net, ids = gpt()
    without = copy.deepcopy(net)
    del without.transformer.h[1]
    with lesion(net, "transformer.h.1"):
        assert torch.equal(net(ids)["logits"], without(ids)["logits"])
    assert not torch.equal(net(ids)["logits"], without(ids)["logits"])


def test_half_of_a_transformers_block_is_half_of_each_sum():
    net, _ = gpt()
    block, x = net.transformer.h[0], torch.randn(2, 6, 8)
    half = x + 0.5 * block.attend(block.ln1(x))
    with override_flows(net, {"transformer.h.0": Flow(0.5, 1.0)}):
        torch.testing.assert_close(block(x), half + 0.5 * block.mlp(block.ln2(half)))
    with (
        pytest.raises(ValueError, match=r"block 'transformer.h.0' adds 'proj' and 'mlp' .* give a Flow with c=1.0"),
        override_flows(net, {"transformer.h.0": Flow(0.5, None)}),
    ):
        pass


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_lesion_reaches_what_would_take_a_fast_path(norm_first):
    net = encoder(norm_first=norm_first).eval()
    x, layer = torch.randn(2, 5, 8), net.layers[1]
    with torch.no_grad():
        kept = net.layers[0](x)
        expected = net.layers[2](kept if norm_first else layer.norm2(layer.norm1(kept)))
        with lesion(net, "layers.1"):
            torch.testing.assert_close(net(x), expected)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_block_that_takes_more_than_a_tensor_is_found_by_an_example():
    class Masked(Block):
        def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
            return super().forward(x) * 1.0 if mask is not None else x

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Masked() for _ in range(2))

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x, mask=mask)
            return x

    net, example = Net(), {"x": torch.randn(3, 5, 8), "mask": torch.ones(3, 5)}
    with pytest.raises(ValueError, match=r"no block is named 'blocks\.0'.* give example="), lesion(net, "blocks.0"):
        pass
    with lesion(net, ["blocks.0", "blocks.1"], example=example):
        assert torch.equal(net(**example), example["x"])


# -- signals -----------------------------------------------------------------------------------------------------------


def test_signals_of_torchvisions_resnet_are_what_hooks_see(peers):
    net, x = resnet18(peers)
    layers = layers_of_net(net, x)
    (rows,) = measure(net, x, lambda scores: scores.square().mean()[None], layers=layers)
    seen: dict[str, tuple[Tensor, list[Tensor]]] = {}

    def watch(name: str):
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            gradients: list[Tensor] = []
            seen[name] = output.detach().clone(), gradients
            output.register_hook(gradients.append)  # before what comes next works in place

        return hook

    again = copy.deepcopy(net).train()
    for layer in layers:
        again.get_submodule(layer.name).register_forward_hook(watch(layer.name))
    again(x).square().mean().backward()
    assert [row["name"] for row in rows] == list(seen)
    for row in rows:
        output, (gradient,) = seen[row["name"]]
        weights = [p.grad.flatten() for p in again.get_submodule(row["name"]).parameters()]
        assert row["activation_std"] == pytest.approx(output.double().std().item(), rel=1e-6)
        assert row["gradient_norm"] == pytest.approx(gradient.double().norm().item(), rel=1e-5)
        assert row["weight_gradient_norm"] == pytest.approx(torch.cat(weights).double().norm().item(), rel=1e-5)
        assert row["transform_mean"] == row["carry_mean"] == (1.0 if row["kind"] == "block" else None)
    assert int(net.bn1.num_batches_tracked) == 0


def test_inputs_and_outputs_are_any_tree():
    net, ids = gpt()
    batch = {"mask": None, "ids": ids}
    layers = layers_of_net(net, batch)
    (rows,) = measure(net, batch, lambda out: out["logits"].logsumexp(-1).mean()[None], layers=layers)
    assert all(row["activation_std"] > 0 and row["gradient_norm"] > 0 for row in rows)
    assert [row["kind"] for row in rows] == ["stem", "stem", *["block"] * 3, "head", "head"]


def test_of_several_outputs_the_first_that_has_fractions_is_measured():
    net, x = LSTMs(), torch.randn(3, 5, 4)
    (rows,) = measure(net, (x,), lambda out: out.square().mean()[None], layers=layers_of_net(net, x))
    assert rows[0]["activation_std"] == pytest.approx(net.layers[0](x)[0].std().item(), rel=1e-5)


def test_what_was_not_called_or_needs_no_gradient_is_none():
    net, ids = gpt()
    net.transformer.wpe.requires_grad_(False)
    (rows,) = measure(net, ids, lambda out: out["logits"].square().mean()[None], layers=layers_of_net(net))
    by_name = {row["name"]: row for row in rows}
    assert by_name["unused"]["activation_std"] is by_name["unused"]["gradient_norm"] is None
    assert by_name["transformer.wpe"]["gradient_norm"] is None
    assert by_name["transformer.wpe"]["activation_std"] > 0


# -- cost --------------------------------------------------------------------------------------------------------------


def test_cost_takes_a_shape_or_an_example():
    net, x = mlp(), torch.randn(3, 4)
    assert cost(net, (4,)) == cost(net, x) == cost(net, (x,)) == cost(net, {"input": x}) == Cost(86, 72, 16 + 48)


def test_of_an_example_what_leads_with_the_batch_is_enlarged_alone():
    class Scaled(nn.Linear):
        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return super().forward(x * scale)

    assert cost(Scaled(4, 2), (torch.randn(3, 4), torch.ones(4))).multiply_adds == 8


def test_a_transformer_costs_what_its_products_say():
    net, ids = gpt()
    weights = 3 * (8 * 24 + 8 * 8 + 2 * 8 * 32) + 8 * 11
    found = cost(net, {"ids": ids})
    attention = found.multiply_adds - 6 * weights
    assert attention in (0, 3 * 2 * 6 * 6 * 8)  # by torch's kernel: q k and the product with v
    assert found.parameters == sum(p.numel() for p in net.parameters())


def test_an_example_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="its first tensor leads with the batch"):
        cost(mlp(), {"input": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="the net does not take inputs of shape 5: "):
        cost(mlp(), torch.randn(2, 5))


# -- recomputing and compiling -----------------------------------------------------------------------------------------


def test_torchvisions_rows_are_computed_again_with_the_same_bits(peers):
    net, x = resnet18(peers)
    again = copy.deepcopy(net)
    segment(again, block_costs(net, x))
    for each in (net, again):
        each(x).square().mean().backward()
    pairs = zip(net.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(mine.grad, theirs.grad) for mine, theirs in pairs)
    assert list(net.state_dict()) == list(again.state_dict())


def test_what_stands_about_a_row_runs_as_usual():
    torch.manual_seed(0)
    shared = Residual(nn.Linear(4, 4))
    row = nn.Sequential(nn.Linear(4, 4), *(Residual(nn.Linear(4, 4)) for _ in range(3)), shared, shared, nn.Tanh())
    net, x = nn.Sequential(nn.Linear(4, 4), row), torch.randn(3, 4)
    costs = block_costs(net, (4,))
    assert [own.name for own in costs] == ["1.1", "1.2", "1.3", "1.4", "1.4"]
    again = copy.deepcopy(net)
    segment(again, costs)
    assert again[1].bounds[0] == 1
    assert len(again[1].bounds) > 1
    assert torch.equal(again(x), net(x))


class TwiceThrough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Sequential(Residual(nn.Linear(4, 4)), Residual(nn.Linear(4, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.row(self.row(x))


@pytest.mark.parametrize(
    ("net", "example", "said"),
    [
        (TwiceThrough(), (4,), "the blocks of row 'row' are not called in their order, once each"),
        (GPT(), torch.zeros(2, 6, dtype=torch.long), "row 'transformer.h' is a ModuleList, whose blocks the net calls"),
        (nn.Sequential(*(Residual(nn.Linear(4, 4)) for _ in range(3))), (4,), "the net itself is its row"),
        (mlp(), (4,), "the net has no row of repeated blocks"),
    ],
)
def test_rows_that_cannot_be_computed_again_are_refused_by_name(net, example, said):
    with pytest.raises(ValueError, match=rf"{said}.*What is left: memory=store"):
        segment(net, block_costs(net, example))


def test_blocks_that_hand_on_more_than_a_tensor_are_not_computed_again():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return pair[1], self.linear(pair[0])

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.row = nn.Sequential(*(Pair() for _ in range(9)))

        def forward(self, x: Tensor) -> Tensor:
            return self.row((x, x))[1]

    net = Net()
    segment(net, block_costs(net, (4,)))
    with pytest.raises(ValueError, match="take one tensor each from the block before; here one hands on a tuple"):
        net(torch.randn(2, 4))


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself when it is loaded
def test_blocks_of_any_row_are_compiled_each_by_itself(peers):
    net, x = resnet18(peers)
    assert choose_execution(net, x, images=10) == Execution(channels_last=True)
    assert not choose_execution(nn.Conv2d(3, 3, 3), x, images=10**15).compiled
    prepare(net, Execution(compiled=True))
    compiled = {name for name, module in net.named_modules() if module._compiled_call_impl is not None}
    assert compiled == {block for row in rows_of(net) for block in row.blocks}


def test_a_net_says_itself_what_it_consists_of():
    net = SkipNet(nn.Flatten(), [Skip("plain", nn.Linear(4, 4)), nn.Linear(4, 4), nn.Tanh()], nn.Identity())
    assert kinds(net) == {"stem": ["stem"], "block": ["blocks.0", "blocks.1", "blocks.2"], "head": ["head"]}
