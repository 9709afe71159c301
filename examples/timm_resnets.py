"""A study of timm's ResNets by depth, on a folder of images. Needs timm. Four minutes on two cores.

The nets are timm's own: their skips are found, their gates read, their layers probed. The images are scikit-learn's
digits, as PNG files of 32 x 32 pixels.
"""

import argparse
import tempfile
from pathlib import Path

import timm
from PIL import Image
from sklearn.datasets import load_digits

import skipway as sw

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--images", type=int, default=1797)
parser.add_argument("--depths", type=int, nargs="+", default=[18, 34])
asked = parser.parse_args()

folder = Path(tempfile.mkdtemp())
digits = load_digits()
for number in range(asked.images):
    place = folder / ("test" if number % 5 == 0 else "train") / str(digits.target[number])
    place.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray((digits.images[number] * 15.9).astype("uint8"))
    picture.resize((32, 32)).convert("RGB").save(place / f"{number}.png")

recipe = sw.Recipe(learning_rates=(0.01, 0.03), steps=asked.steps, batch_size=32, preprocess="channel")
study = sw.study(
    folder,
    net=lambda depth: timm.create_model(f"resnet{depth}", num_classes=10),
    depths=asked.depths,
    seeds=[0],
    recipe=recipe,
    out="studies/timm-resnets",
)
page, *pictures = sw.write_report(study)
_, rows = sw.query("select depth, blocks, min(validation_error) from runs group by all order by all", study.path)
for depth, blocks, error in rows:
    print(f"ResNet-{depth}: {blocks} blocks, a validation error of {error:.1%}")
sql = "select name, transform_mean, carry_mean, gradient_norm from probes where moment = 'start' and kind = 'block'"
_, rows = sw.query(f"{sql} and depth = {asked.depths[0]} and learning_rate = 0.01 order by layer", study.path)
for name, transform, carry, gradient in rows:
    print(f"{name}: T {transform}, C {carry}, norm of the gradient {gradient:.2g}")
print(f"The page: {page}")
