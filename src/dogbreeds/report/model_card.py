"""A model card in Hugging Face's format: Markdown after metadata in YAML.

Sources: M. Mitchell et al., "Model Cards for Model Reporting", 2019; Hugging Face's "Model Cards"
documentation, section "Model card metadata", for the names in the metadata.
"""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from dogbreeds.system.terminal import printable

_FEW = 10  # test photos of a class that say little about it
_MADE = (
    "started", "hyperparameters", "weights_sha256", "packages", "hardware", "revision", "image",
)  # fmt: skip


def model_card(job: Mapping[str, Any]) -> str:
    """Return the card of a job of `dogbreeds.job_output.jobs.read_job`, as far as it is known."""
    facts, splits = job["job"], job["splits"]
    settings = facts.get("hyperparameters", {})
    name = job["name"] or settings.get("model", "model")
    found: Mapping[str, Any] = next(iter(splits.values()), {})
    classes = sorted(found.get("classes", []), key=lambda c: 2 if c["recall"] is None else c["f1"])
    few = sum(entry["photos"] < _FEW for entry in classes)
    leaks = job["photos"].get("leaks")
    return Template((files(__package__) / "model_card.md").read_text("utf-8")).substitute(
        # YAML includes JSON, and names in it stay texts.
        index=json.dumps([{"name": name, "results": _results(splits)}]),
        name=_text(name),
        model=_text(settings.get("model", "?")),
        size=settings.get("image_size", "?"),
        weights=_text(facts.get("weights", "?")),
        count=facts.get("classes", len(classes)),
        data=_table(
            ("Split", "Photos", "MB", "SHA-256 of classes, names and sizes"),
            ((split, d["photos"], f"{d['bytes'] / 1e6:.1f}", f"`{d['sha256'][:16]}`")
             for split, d in facts.get("data", {}).items()),
        ),
        metrics=_table(
            ("Split", "Photos", "Accuracy", "95 % interval", "Macro F1", "Loss (nats)",
             "Calibration error", "without temperature"),
            ((split, s["photos"], _percent(s["accuracy"]),
              " to ".join(map(_percent, s["accuracy_interval"])), _percent(s.get("macro_f1")),
              f"{s['loss']:.3f}", _percent(s.get("ece")), _percent(s.get("uncalibrated_ece")))
             for split, s in splits.items()),
        ),
        temperature=f"{found.get('temperature') or 1:.3f}",
        classes=_table(
            ("Class", "Id", "Photos", "Recall", "Precision", "F1"),
            ((c["class_name"], c["class_id"], c["photos"], *map(_percent, (c["recall"],
              c["precision"], c.get("f1")))) for c in classes),
        ),
        few=f"{few} of {len(classes)} classes have fewer than {_FEW} photos in that measurement.",
        leaks=f"- {leaks} photos are in two splits: the accuracy is too good.\n" if leaks else "",
        command=facts.get("command", "dogbreeds train PHOTOS"),
        made=json.dumps({key: facts[key] for key in _MADE if key in facts}, indent=2),
    )  # fmt: skip


def _results(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results of a ``model-index``."""
    return [
        {"task": {"type": "image-classification"},
         "dataset": {"name": f"photos, split {split}", "type": "imagefolder"},
         "metrics": [{"type": metric, "value": round(found[key], 6)}
                     for metric, key in (("accuracy", "accuracy"), ("f1", "macro_f1"))
                     if found.get(key) is not None]}
        for split, found in splits.items()
    ]  # fmt: skip


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_text, line))} |" for line in lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _text(value: object) -> str:
    """Return a text without HTML, and without what ends a cell of a table."""
    return html.escape(printable(str(value)), quote=False).replace("|", "\\|")
