"""How accurate the training recipe is on several sets of photos, and what its parts are worth.

    python benchmarks/recipe.py --data DIR --data DIR --model resnet18 --weights FILE
        [--epochs 5] [--seeds 3] [--image-size 224] [--output FILE.csv] [RECIPE ...]

Every recipe is one real `train` job on one set: a photos directory with train, valid and test.
Recipes change hyperparameters of the default. With ``--output`` each job's line is written when
it is done, and jobs that are in the file already are not run again. ``--weights none`` starts from
random weights.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import environment

from dogbreeds.local import training
from dogbreeds.model import artifact

RECIPES: dict[str, dict[str, object]] = {
    "default": {},
    "linear probe": {"epochs": 0},
    "fine-tuned alone": {"wise_ft": 1},
    "fine-tuned alone, lr 1e-3": {"wise_ft": 1, "lr": 1e-3},
    # The default before: 0.01 between the head and the first of MobileNetV2's 20 blocks (0.7848 **
    # 19), and half of the linear probe; its running statistics were interpolated, too
    "former default": {"lr": 3e-4, "layer_decay": 0.7848, "wise_ft": 0.5},
    # Everything trained at one rate from the first step on, as a first notebook does it
    "plain": {
        "optimizer": "adam", "lr": 1e-3, "batch_size": 32, "linear_probe_epochs": 0,
        "layer_decay": 1, "label_smoothing": 0, "weight_decay": 0, "warmup": 0,
        "augmentation": "none", "precision": "float32",
    },
    "layer decay 0.9": {"layer_decay": 0.9},
    "lr 1e-4": {"lr": 1e-4},
    "batch of 16": {"batch_size": 16},
    "no flips": {"horizontal_flip": False},
    "no label smoothing": {"label_smoothing": 0},
    "averaged weights": {"ema_decay": 0.99},
    "no augmentation": {"augmentation": "none"},
    "strong augmentation": {"augmentation": "strong"},
}  # fmt: skip


def run_job(options: argparse.Namespace, photos: Path, recipe: str, seed: int) -> dict[str, object]:
    """Train once and return a line of the table; seconds are those of the whole process."""
    weights = None if options.weights == Path("none") else options.weights
    hyperparameters = {
        "model": options.model, "weights": weights.name if weights else "none",
        "epochs": options.epochs, "image_size": options.image_size, "seed": seed, **RECIPES[recipe],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "ml")
        training.make_tree(tree, photos, hyperparameters, weights)
        started = time.monotonic()
        process = training.start(tree, subprocess.PIPE)
        try:
            output, _ = process.communicate()
        finally:
            training.stop(process)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            raise SystemExit(f"{recipe}: {output.decode()[-2000:]}")
        history = json.loads((tree / "output" / "data" / "history.json").read_text())
        temperature = artifact.read_document(tree / "model")["temperature"]
        evaluation = json.loads((tree / "output/data/evaluation_test.json").read_text())
    last = history[-1]
    return {
        "set": _name(photos),
        "recipe": recipe,
        "seed": seed,
        "epochs": hyperparameters["epochs"],
        "image_size": options.image_size,
        "wise_ft": f"{last['wise_ft']:g}" if "wise_ft" in last else "",
        "valid_accuracy": f"{last['valid_accuracy']:.4f}",
        "test_accuracy": f"{last['test_accuracy']:.4f}",
        "test_loss": f"{last['test_loss']:.4f}",
        "temperature": f"{temperature:.3f}",
        "uncalibrated_ece": f"{evaluation['uncalibrated_ece']:.4f}",
        "ece": f"{evaluation['ece']:.4f}",
        "seconds": f"{seconds:.0f}",
        "model": options.model,
        "weights": hyperparameters["weights"],
        **environment(),
    }


def _name(photos: Path) -> str:
    resolved = photos.resolve()
    return resolved.parent.name if resolved.name == "dogImages" else resolved.name


def main() -> int:
    """Run the recipes asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", type=Path, required=True, action="append", metavar="DIR")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="or none")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, metavar="FILE", help="a CSV file to add to")
    options = parser.parse_args()
    chosen = options.recipes or list(RECIPES)
    if unknown := set(chosen) - RECIPES.keys():
        parser.error(f"expected {', '.join(RECIPES)}, got {', '.join(unknown)}")
    rows: list[dict[str, object]] = []
    if options.output and options.output.is_file():
        with options.output.open(newline="") as stream:
            rows.extend(csv.DictReader(stream))
    columns = ("set", "recipe", "seed", "epochs", "image_size", "model", "weights")
    done = {tuple(str(row[column]) for column in columns) for row in rows}
    for seed in range(options.seeds):
        for photos in options.data:
            for recipe in chosen:
                epochs = RECIPES[recipe].get("epochs", options.epochs)
                job = (_name(photos), recipe, seed, epochs, options.image_size, options.model,
                       options.weights.name)  # fmt: skip
                if tuple(map(str, job)) in done:
                    continue
                rows.append(run_job(options, photos, recipe, seed))
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
                if options.output:
                    _write(rows, options.output)
    return 0


def _write(rows: list[dict[str, object]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
