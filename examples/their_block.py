"""Somebody's block behind a gate: timm's Mlp, unchanged. Needs timm. Half a minute.

A gate finds its place in the net by a trial run of the body, which computes nothing.
"""

import argparse

import torch
from timm.layers import Mlp
from torch import nn

import skipway as sw

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
asked = parser.parse_args()

# One block: the gate is built to fit whatever the body takes and gives.
block = sw.Skip("highway:bias=-1", Mlp(64, 32))
print(f"one block: {block.gate}")
with sw.read_flows(block) as flows:
    block(torch.zeros(8, 64))
print(f"it lets T = {flows[''].t.mean():.2f} through where nothing comes in: sigmoid(-1)")

# A row of them: rules that depend on depth know it, as the bias of highway does, and bodies begin as the rule asks.
row = sw.skip_row("highway", [Mlp(64, 32) for _ in range(20)])
net = nn.Sequential(nn.Flatten(), row, nn.Linear(64, 10))
print(f"20 blocks in a row: {sw.cost(net, (1, 8, 8))}")

# They are trained, read and lesioned as blocks of ours.
run = sw.fit(net, "digits", learning_rate=0.03, recipe=sw.Recipe(steps=asked.steps), out="runs/their-block")
print(f"test error after {asked.steps} steps: {run.info()['metrics']['test_error']:.1%}")
trained = sw.load_net(run.path, net=lambda: net).net
x = torch.rand(32, 1, 8, 8)
with torch.no_grad(), sw.read_flows(trained) as flows:
    whole = trained(x)
print(f"{len(flows)} gates were read; the last lets T = {flows['1.19'].t.mean():.2f} through")
with torch.no_grad(), sw.lesion(trained, ["1.10"]):
    print(f"without block 10 the outputs change by {(trained(x) - whole).std() / whole.std():.0%}")
