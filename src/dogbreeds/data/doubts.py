"""Find likely wrong labels by the doubt of a trained model."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dogbreeds.data.check import Checked
from dogbreeds.model.classes import PhotoClass, parse_folder
from dogbreeds.system.terminal import progress_bar

_BATCH = 64  # photos in memory at a time

Probabilities = npt.NDArray[np.float32]  # [N, C]


def add_doubts(
    checked: Checked, classes: Sequence[PhotoClass], predict: Callable[[list[bytes]], Probabilities]
) -> None:
    """Add findings of kind ``label`` to a report, the most doubtful first.

    `predict` returns the model's probabilities of `classes` for encoded photos. The less a model
    was trained on the photos, the more it finds.
    """
    report, known = checked.report, [label for label, _ in classes]
    broken = {entry["photo"] for entry in report["findings"].get("broken", ())}
    labels = {name: parse_folder(folder).label for name, folder in checked.labels.items()}
    folders = set(checked.labels.values())
    if unknown := sorted(folder for folder in folders if parse_folder(folder).label not in known):
        report["notes"].append(f"classes that the model does not know: {', '.join(unknown)}")
    names = [name for name, label in labels.items() if label in known and name not in broken]
    if not names:
        return
    rows = []
    with progress_bar("Classify", len(names)) as bar:
        for start in range(0, len(names), _BATCH):
            batch = [checked.photos[name] for name in names[start : start + _BATCH]]
            rows.append(predict([photo.read_bytes() for photo in batch]))
            bar.update(len(batch))
    probabilities = np.concatenate(rows)
    given = np.array([known.index(labels[name]) for name in names])
    for position, other in find_doubtful(given, probabilities):
        own, row = given[position], probabilities[position]
        detail = (
            f"{classes[other].name} by the model ({row[other]:.0%}), {classes[own].name} by its"
            f" label ({row[own]:.0%})"
        )
        finding = {"photo": names[position], "detail": detail}
        report["findings"].setdefault("label", []).append(finding)


def find_doubtful(
    given: npt.NDArray[np.int64], probabilities: Probabilities
) -> list[tuple[int, int]]:
    """Return the photos whose label is likely wrong, and the likely class; the surest first.

    The rule is that of confident learning (Northcutt, Jiang, Chuang 2021,
    https://doi.org/10.1613/jair.1.12125): the probability of the given class is below its mean over
    the photos of that class, and that of another class is at least its mean over its own photos.
    `given` are the class indexes of the labels [N], `probabilities` are 0..1 [N, C].
    """
    photos, classes = np.arange(len(given)), probabilities.shape[1]
    own = probabilities[photos, given]
    counts = np.bincount(given, minlength=classes)
    sums = np.bincount(given, weights=own, minlength=classes)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    above = probabilities >= means
    above[photos, given] = False
    others = np.where(above, probabilities, -1).argmax(axis=1)
    doubtful = np.flatnonzero(above.any(axis=1) & (own < means[given]))
    margin = (probabilities[photos, others] - own)[doubtful]
    order = doubtful[np.argsort(-margin, kind="stable")]
    return list(zip(order.tolist(), others[order].tolist(), strict=True))
