"""The metric lines of a job's log, and the regexes by which SageMaker finds them."""

METRICS = (
    "train_loss", "valid_loss", "valid_accuracy", "valid_top5", "valid_ece", "test_loss",
    "test_accuracy", "test_top5", "test_ece", "photos_per_second", "epoch_seconds",
    "peak_memory_mb",
)  # fmt: skip
"""Names of an epoch's metrics.

Losses are in nats, accuracies and calibration errors (ECE) are 0..1, memory is in MiB.
"""

METRIC_DEFINITIONS = [
    {"Name": name, "Regex": rf"\[metrics\].* {name}=([0-9.eE+-]+|nan|inf)"} for name in METRICS
]
"""For SageMaker's ``AlgorithmSpecification.MetricDefinitions``."""


def metrics_line(epoch: int, values: dict[str, float]) -> str:
    """Return the machine-readable line of an epoch, with those of `METRICS` that it has."""
    pairs = "; ".join(f"{name}={values[name]:.6g}" for name in METRICS if name in values)
    return f"[metrics] epoch={epoch}; {pairs}"


def summary_line(epoch: int, epochs: int, values: dict[str, float]) -> str:
    """Return the line of an epoch for people."""
    parts = []
    if "train_loss" in values:
        parts.append(f"train loss {values['train_loss']:.4f}")
    for split in ("valid", "test"):
        if f"{split}_loss" in values:
            loss, accuracy = values[f"{split}_loss"], values[f"{split}_accuracy"]
            parts.append(f"{split} loss {loss:.4f}, {split} accuracy {accuracy:.2%}")
    if "epoch_seconds" in values:
        parts.append(f"{values['photos_per_second']:.1f} photos/s, {values['epoch_seconds']:.0f} s")
    return f"Epoch {epoch}/{epochs}: " + "; ".join(parts)
