"""Draw the pictures of the pages that examples make, in this folder."""

import runpy
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from PIL import Image

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent.parent / "examples"
INSPECTION = ["gaussianity", "embedding", "regularization_path", "loss_curve"]
PICTURES = {
    ("plot_anomalies.py", ""): ["anomalies"],
    ("plot_gaussianizer.py", ""): ["gaussianizer"],
    ("plot_generate.py", ""): ["generate", "interpolate"],
    ("plot_reg_weight.py", ""): ["compromise", "reg_weight"],
    ("plot_regularizers.py", ""): ["regularizers"],
    ("plot_inspection.py", "digits"): [f"{name}_digits" for name in INSPECTION],
    ("plot_inspection.py", "mnist"): [f"{name}_mnist" for name in INSPECTION],
}

mpl.use("Agg")
for (example, argument), names in PICTURES.items():
    sys.argv = [example, argument]
    runpy.run_path(str(EXAMPLES / example))
    for number, name in zip(plt.get_fignums(), names, strict=True):
        path = FOLDER / f"{name}.png"
        plt.figure(number).savefig(path, dpi=150)
        with Image.open(path) as picture:  # 256 colors are enough and make a small file
            picture = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.save(path, optimize=True)
    plt.close("all")
