"""How accurate the training recipe is, and what each of its parts is worth.

    python benchmarks/recipe.py --data DIR --model mobilenet_v2 --weights FILE
        [--epochs 5] [--seeds 3] [--output FILE.csv] [RECIPE ...]

Every recipe is one real `train` job. All but ``default``, ``head only`` and ``plain`` change one
hyperparameter of the default. With ``--output`` each job's line is written when it is done, and
jobs that stand there already are not run again.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dogbreeds.local import training
from dogbreeds.model import artifact

RECIPES: dict[str, dict[str, object]] = {
    "default": {},
    "head only": {"epochs": 0},
    # Everything trained at one rate from the first step on, as a first notebook does it
    "plain": {
        "optimizer": "adam", "lr": 1e-3, "batch_size": 32, "head_epochs": 0, "layer_decay": 1,
        "label_smoothing": 0, "weight_decay": 0, "warmup": 0, "augmentation": "none",
        "precision": "float32",
    },
    "no head first": {"head_epochs": 0},
    "one rate for all layers": {"layer_decay": 1},
    "layer decay 0.1": {"layer_decay": 0.1},
    "fine-tuned weights alone": {"wise_ft": 1},
    "lr 1e-4": {"lr": 1e-4},
    "lr 1e-3": {"lr": 1e-3},
    "SGD, lr 1e-2": {"optimizer": "sgd", "lr": 1e-2},
    "batch of 64": {"batch_size": 64},
    "no label smoothing": {"label_smoothing": 0},
    "no weight decay": {"weight_decay": 0},
    "averaged weights": {"ema": 0.99},
    "growing crops": {"first_image_size": 128},
    "no augmentation": {"augmentation": "none"},
    "strong augmentation": {"augmentation": "strong"},
}  # fmt: skip


def run_job(options: argparse.Namespace, recipe: str, seed: int) -> dict[str, object]:
    """Train once and return a line of the table; seconds are those of the whole process."""
    hyperparameters = {
        "model": options.model, "weights": options.weights.name, "epochs": options.epochs,
        "seed": seed, **RECIPES[recipe],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "ml")
        training.make_tree(tree, options.data, hyperparameters, options.weights)
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
        preprocessing = artifact.read_document(tree / "model")["preprocessing"]
    last = history[-1]
    return {
        "recipe": recipe,
        "seed": seed,
        "epochs": hyperparameters["epochs"],
        "resize_size": preprocessing["resize_size"],
        "valid_accuracy": f"{last['valid_accuracy']:.4f}",
        "test_accuracy": f"{last['test_accuracy']:.4f}",
        "test_loss": f"{last['test_loss']:.4f}",
        "train_loss": f"{last['train_loss']:.4f}" if "train_loss" in last else "",
        "seconds": f"{seconds:.0f}",
        "model": options.model,
        "torch": torch.__version__,
    }


def main() -> int:
    """Run the recipes asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
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
    done = {(row["recipe"], str(row["seed"]), str(row["epochs"]), row["model"]) for row in rows}
    for seed in range(options.seeds):
        for recipe in chosen:
            epochs = RECIPES[recipe].get("epochs", options.epochs)
            if (recipe, str(seed), str(epochs), options.model) in done:
                continue
            rows.append(run_job(options, recipe, seed))
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
            if options.output:
                _write(rows, options.output)
    return 0


def _write(rows: list[dict[str, object]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
