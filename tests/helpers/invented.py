"""The output of training jobs that never ran, as `train` leaves it."""

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from dogbreeds.html.thumbnails import thumbnail

HOSTILE = '<script>document.title="owned"</script>"\'><img src=x onerror=alert(1)>'
"""A class's or file's name that is HTML, if anyone takes it for that."""

_FIRST = "Snow Copper Blue Golden Moss Night River Stone Amber Silver Tundra".split()
_SECOND = "spotter striper halver ringer pointer setter hound terrier spaniel collie mastiff poodle"


def class_names(count: int) -> list[str]:
    again = ["", *(f"_{number}" for number in range(2, 2 + count // 132))]
    names = [f"{a}_{b}{c}" for c in again for a in _FIRST for b in _SECOND.split()]
    return [*names[: count - 1], "Żółty_pies_狗"][:count] if count > 1 else names[:1]


def write_job(
    folder: Path, classes: int = 133, epochs: int = 10, seed: int = 0, **hyperparameters: Any
) -> Path:
    """Write ``output/data`` of a job with a tenth of mistakes; return that folder."""
    rng = random.Random(seed)
    output = folder / "output" / "data"
    output.mkdir(parents=True)
    names = class_names(classes)
    evaluations = {split: _evaluation(rng, names, split) for split in ("valid", "test")}
    final = evaluations["test"]["accuracy"]
    history = [
        {
            "train_loss": 4.5 * 0.6**epoch + 0.6 + rng.uniform(0, 0.05),
            **{f"{s}_loss": 3.9 * 0.55**epoch + 0.45 + rng.uniform(0, 0.05) for s in evaluations},
            **{f"{s}_accuracy": final * (1 - 0.5 * 0.6**epoch) for s in evaluations},
            "learning_rate": 0.0003 * (1 - epoch / epochs),
            "photos_per_second": 412.0,
            "epoch_seconds": 16.2,
        }
        for epoch in range(1, epochs + 1)
    ]
    documents: dict[str, Any] = {
        "job": {
            "name": "",
            "started": "2026-11-22 19:47 UTC",
            "device": "cuda",
            "classes": classes,
            "train_photos": 6680,
            "hyperparameters": {
                "model": "resnet18", "epochs": epochs, "lr": 0.0003, "compile": False,
                "label_smoothing": 0.1, "augmentation": "light", "seed": seed, **hyperparameters,
            },
            "command": f"dogbreeds train PHOTOS --on local --set seed={seed}",
            "data": {"train": {"photos": 6680, "bytes": 740_000_000, "sha256": "ab" * 32}},
            "packages": {"python": "3.12.3", "torch": "2.14.1"},
            "hardware": {"instance_type": "ml.g5.xlarge", "cpus": 4, "gpus": "NVIDIA A10G",
                         "usd_per_hour": 1.408},
            "revision": "0123456789abcdef",
        },
        "history": history,
        "step_losses": [[step / 20, 5 * 0.99**step] for step in range(1, 20 * epochs + 1)],
        "photos": _inspection(),
        "augmented": [
            {"file": f"/opt/ml/input/data/train/a/{number}.jpg",
             "pictures": [_picture(rng) for _ in range(4)]} for number in range(6)
        ],
        "thumbnails": {
            mistake["file"]: _picture(rng)
            for evaluation in evaluations.values()
            for mistake in evaluation["worst"]
        },
        "grad_cam": {
            mistake["file"]: _picture(rng)
            for evaluation in evaluations.values()
            for mistake in evaluation["worst"][:24]
        },
        **{f"evaluation_{split}": evaluation for split, evaluation in evaluations.items()},
    }  # fmt: skip
    history[-1] |= {"wise_ft": 0.5, "probe_valid_loss": 0.61, "probe_valid_accuracy": 0.72}
    for name, document in documents.items():
        (output / f"{name}.json").write_text(json.dumps(document))
    for split, evaluation in evaluations.items():
        _write_predictions(rng, output / f"predictions_{split}.csv", evaluation)
    return output


def _evaluation(rng: random.Random, names: list[str], split: str) -> dict[str, Any]:
    count, photos = len(names), 6
    confusion = [[0] * count for _ in names]
    worst = []
    for right, counts in enumerate(confusion):
        for number in range(photos):
            # Neighbours look alike.
            wrong = rng.random() < 0.12
            predicted = (right + rng.choice([-2, -1, 1, 1, 2])) % count if wrong else right
            counts[predicted] += 1
            if predicted != right:
                worst.append(
                    {
                        "file": f"/opt/ml/input/data/{split}/{names[right]}/{number}.jpg",
                        "class_name": names[right],
                        "predicted": names[predicted],
                        "probability": rng.uniform(0.3, 1),
                        "loss": rng.uniform(1, 6),
                    }
                )
    hits = sum(counts[index] for index, counts in enumerate(confusion))
    return {
        "photos": count * photos,
        "loss": 0.52,
        "accuracy": hits / (count * photos),
        "top5": 0.99,
        "macro_f1": 0.87,
        "temperature": 0.8,
        "ece": 0.02,
        "uncalibrated_ece": 0.09,
        "classes": [
            {
                "class_id": f"{index + 1:03d}",
                "class_name": name,
                "photos": photos,
                "recall": confusion[index][index] / photos,
                "precision": confusion[index][index] / max(1, sum(c[index] for c in confusion)),
                "f1": 2 * confusion[index][index] / (photos + sum(c[index] for c in confusion)),
            }
            for index, name in enumerate(names)
        ],
        "confusion": confusion,
        "worst": worst[:100],
    }


def _write_predictions(rng: random.Random, file: Path, evaluation: dict[str, Any]) -> None:
    """Write the predictions that a confusion matrix counts, right ones with more confidence."""
    ids = [entry["class_id"] for entry in evaluation["classes"]]
    lines = ["file,class_id,predicted,probability,probability_of_class,top5"]
    for row, counts in enumerate(evaluation["confusion"]):
        for column, photos in enumerate(counts):
            for number in range(photos):
                probability = rng.uniform(0.6, 1) if row == column else rng.uniform(0.2, 0.9)
                file_name = f"{ids[row]}/{column}-{number}.jpg"
                lines.append(
                    f"{file_name},{ids[row]},{ids[column]},{probability:.6f},0.5,{ids[column]}"
                )
    file.write_text("\n".join(lines) + "\n")


def _inspection() -> dict[str, Any]:
    folder = "/opt/ml/input/data/train/001.Snow_spotter"
    clean = {"photos": 835, "broken": {}, "ignored": [], "small": {}}
    train = {
        "photos": 6680,
        "broken": {f"{folder}/half.jpg": "broken or truncated JPEG photo"},
        "ignored": [f"{folder}/Thumbs.db"],
        "small": {f"{folder}/tiny.jpg": [60, 40]},
    }
    twice = {"files": [f"{folder}/a.jpg", f"{folder}/b.jpg"], "splits": ["test", "train"]}
    groups = [{**twice, "classes": ["001.Snow_spotter"]}]
    return {
        "train": train, "valid": clean, "test": clean,
        "duplicates": groups, "leaks": 1, "conflicts": 0,
    }  # fmt: skip


def _picture(rng: random.Random) -> str:
    color = tuple(rng.randrange(60, 230) for _ in range(3))
    light, dark = (Image.new("RGB", (120, 90), fill) for fill in (color, "black"))
    mask = Image.radial_gradient("L").resize(light.size)
    picture = thumbnail(Image.composite(dark, light, mask))
    assert picture
    return picture


def write_local_search(folder: Path, jobs: int = 20, importance: object = None) -> Path:
    """Write the table of ``dogbreeds tune --on local``, and hyperparameters' importance."""
    rng = random.Random(3)
    rows = [
        (f"{job:03d}", rng.choice(["complete"] * 3 + ["pruned"]), 10 ** rng.uniform(-4, -1))
        for job in range(jobs)
    ]
    table = [
        (
            job,
            state,
            "" if state == "pruned" else f"{0.93 - abs(rate - 0.003) ** 0.5:.4f}",
            f"{rate:.6f}",
            rng.choice(["16", "32", "64"]),
            rng.choice(["adamw", "sgd"]),
            rng.randrange(40, 90),
        )
        for job, state, rate in rows
    ]
    table.sort(key=lambda row: row[2], reverse=True)
    header = "job,state,valid_accuracy,lr,batch_size,optimizer,seconds"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header, *(",".join(map(str, row)) for row in table)]
    (folder / "jobs.csv").write_text("\n".join(lines) + "\n")
    (folder / "importance.json").write_text(json.dumps(importance))
    return folder
