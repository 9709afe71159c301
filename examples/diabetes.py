"""Tabular regression: how deep may an MLP be on scikit-learn's diabetes? By one command, and from Python.

About four minutes on two cores; --steps 20 is enough to look around.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from sklearn.datasets import load_diabetes

import skipway as sw
from mlp import mlp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--depths", type=int, nargs="+", default=[4, 8, 16, 32, 64])
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
asked = parser.parse_args()

table = Path(tempfile.mkdtemp()) / "diabetes.csv"
load_diabetes(as_frame=True, scaled=False).frame.to_csv(table, index=False)

# By one command.
net = f"--net {Path(__file__).with_name('mlp.py')}:mlp --task regression"
cells = f"--depths {' '.join(map(str, asked.depths))} --seeds {' '.join(map(str, asked.seeds))}"
recipe = f"--learning-rates 0.003 0.01 0.03 --steps {asked.steps}"
command = f"study {net} --data {table}:target=target {cells} {recipe} --out studies/diabetes"
print(f"skipway {command}", flush=True)
subprocess.run([sys.executable, "-m", "skipway", *shlex.split(command)], check=True)

# The same from Python: it is the same study, so nothing is trained again.
data = sw.load(table, target="target")
how = sw.Recipe(learning_rates=(0.003, 0.01, 0.03), steps=asked.steps)
grid = {"depths": asked.depths, "seeds": asked.seeds}
study = sw.study(data, net=mlp, task="regression", recipe=how, **grid, out="studies/diabetes")
page, *pictures = sw.write_report(study)

_, rows = sw.query(
    "select gate, depth, min(validation_metric) as rmse from runs group by all order by rmse", study.path
)
for gate, depth, rmse in rows[:3]:
    print(f"{gate} at depth {depth}: a validation RMSE of {rmse:.1f}")
print(f"The page: {page}")
