"""Rules over the tensors that Debugger saved: what is wrong with a training job.

They extend smdebug's `Rule`, so they also run in a notebook or a processing job:
``invoke_rule(VanishingGradients(create_trial(path)))``. Each computes one number per step that it
can judge; a number beyond the limit triggers the rule.
"""

import dataclasses
import json
import math
import tomllib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dogbreeds.job_output.findings import FINDINGS_FILE, Finding, Verdict
from dogbreeds.monitoring.debugger.smdebug_compat import ModeKeys, Rule, create_trial, invoke_rule
from dogbreeds.system.errors import DogbreedsError

_TEXTS = tomllib.loads(Path(__file__).with_name("rules.toml").read_text())
_INSIDE = (  # of the job's folders
    "", "tensors", "debug-output", "output/tensors", "opt-ml/output/tensors", "output/data",
    "opt-ml/output/data",
)  # fmt: skip


class TrialError(DogbreedsError, ValueError):
    """There is no trial, or it is damaged; the message says what was expected."""


class _Rule(Rule):  # type: ignore[misc]
    """A rule that computes one number per step; `verdicts` holds those of the steps so far."""

    def __init__(self, base_trial: Any, action_str: str = "") -> None:  # noqa: ANN401
        super().__init__(base_trial, action_str)
        self.verdicts: list[Verdict] = []

    def invoke_at_step(self, step: int) -> bool:
        """Judge a step; as in smdebug, True means that it triggers the rule."""
        verdict = self._judge(step, self.base_trial.mode(step) == ModeKeys.EVAL)
        if verdict is None:
            return False
        self.verdicts.append(verdict)
        self.report["Datapoints"] += 1
        self.report["Violations"] += verdict.triggered
        self.report["RuleTriggered"] = int(self.report["RuleTriggered"] or verdict.triggered)
        return verdict.triggered

    @abstractmethod
    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        """Judge a step; None if it lacks what the rule needs."""

    def tensors(self, step: int, prefix: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Yield names and values of the step's tensors with this prefix."""
        for name in self.base_trial.tensor_names(step=step):
            if name.startswith(prefix):
                yield name, np.asarray(self.base_trial.tensor(name).value(step))

    def loss(self, step: int) -> tuple[str, float] | None:
        """Return name and value of the step's loss, if it was saved."""
        for name in self.base_trial.tensor_names(step=step):
            if "oss_" in name and "_output_" in name and not name.startswith("gradient"):
                return name, float(np.mean(self.base_trial.tensor(name).value(step)))
        return None

    def is_last(self, step: int, name: str) -> bool:
        """Whether no later step of the same mode has this tensor."""
        mode, mode_step = self.base_trial.mode_modestep(step)
        return bool(self.base_trial.tensor(name).steps(mode=mode)[-1] == mode_step)


def _extreme(
    step: int, values: dict[str, float], choose: Callable[..., str], beyond: Callable[[float], bool]
) -> Verdict | None:
    """Judge the value that `choose` (min or max) finds among those of tensors, by name."""
    if not values:
        return None
    name = choose(values, key=values.__getitem__)
    return Verdict(step, values[name], beyond(values[name]), name)


def _is_matrix(name: str, values: np.ndarray[Any, Any]) -> bool:
    """Whether a parameter is a kernel or matrix rather than a norm, bias or scale."""
    return name.endswith(".weight") and values.ndim > 1


class VanishingGradients(_Rule):
    """A layer learns nothing because hardly any gradient reaches it (limit: SageMaker's)."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        means = {
            name: float(np.abs(values).mean())
            for name, values in self.tensors(step, "gradient/")
            if _is_matrix(name, values)
        }
        return _extreme(step, means, min, lambda mean: mean < 1e-7)


class ExplodingTensors(_Rule):
    """Gradients explode, or a tensor is no longer finite."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        square, seen = 0.0, False
        for name, values in self.tensors(step, ""):
            if values.dtype.kind != "f":
                continue
            if not np.isfinite(values).all():
                return Verdict(step, math.inf, True, name)
            if name.startswith("gradient/"):
                seen = True
                square += float(np.vdot(values, values))
        norm = math.sqrt(square)
        return Verdict(step, norm, norm > 1000) if seen else None


class LossNotDecreasing(_Rule):
    """The train loss does not fall, or not below that of guessing."""

    _least = 6
    _losses: tuple[float, ...] = ()
    _classes = 0

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        loss = None if evaluation else self.loss(step)
        if loss is None:
            return None
        name, value = loss
        self._losses += (value,)
        for _, counts in self.tensors(step, "class_counts"):
            self._classes = len(counts)
        third = len(self._losses) // 3
        if len(self._losses) < self._least or not self.is_last(step, name):
            return None
        first, last = np.mean(self._losses[:third]), np.mean(self._losses[-third:])
        guessing = math.log(self._classes) if self._classes > 1 else math.inf
        flat = last > 0.99 * first and (guessing == math.inf or last > guessing / 2)
        triggered = flat or last > 0.98 * guessing
        return Verdict(step, float(last / first), bool(triggered or not math.isfinite(last)))


class Overfitting(_Rule):
    """The validation loss rises while the train loss still falls."""

    _best = (math.inf, math.inf)  # validation and train loss of the best evaluation

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        loss = self.loss(step) if evaluation else None
        train = [v.item() for name, v in self.tensors(step, "scalar/") if "train_loss" in name]
        if loss is None or not train:
            return None
        _, value = loss
        if value <= self._best[0]:
            self._best = (value, train[0])
        ratio = value / self._best[0]
        return Verdict(step, ratio, ratio > 1.2 and train[0] < self._best[1])


class DeadRelu(_Rule):
    """Channels are 0 for every photo: no gradient passes through them."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        activity = self.tensors(step, "relu_activity/")
        dead = {name: float((values == 0).mean()) for name, values in activity}
        return _extreme(step, dead, max, lambda share: share > 0.5)


class WeightUpdates(_Rule):
    """Steps change weights by far too much or too little, relative to the weights."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        ratios = {
            name: float(values)
            for name, values in self.tensors(step, "update_ratio/")
            if math.isfinite(values)  # not so for weights that are all 0
        }
        verdict = _extreme(step, ratios, max, lambda ratio: ratio > 0.5)
        if verdict and self.is_last(step, verdict.where):
            stuck = max(v.value for v in [*self.verdicts, verdict]) < 1e-6
            verdict = dataclasses.replace(verdict, triggered=verdict.triggered or stuck)
        return verdict


class PoorInitialization(_Rule):
    """Weights start where they cannot learn: constant, much too small or much too large."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        if evaluation or self.base_trial.mode_step(step) != 0:
            return None
        ratios = {
            name: float(values.std(dtype=np.float64) / math.sqrt(2 / values[0].size))
            for name, values in self.tensors(step, "")
            if _is_matrix(name, values) and "/" not in name
        }
        if not ratios:
            return None
        name = max(ratios, key=lambda name: abs(math.log10(max(ratios[name], 1e-30))))
        return Verdict(step, ratios[name], not 0.01 < ratios[name] < 10, name)


class ClassImbalance(_Rule):
    """Some classes have many more photos than others (limit: SageMaker's)."""

    def _judge(self, step: int, evaluation: bool) -> Verdict | None:
        if self.verdicts:
            return None
        for name, counts in self.tensors(step, "class_counts"):
            ratio = float(counts.max() / max(counts.min(), 1))
            return Verdict(step, ratio, ratio > 10, name)
        return None


RULES = (
    LossNotDecreasing, Overfitting, VanishingGradients, ExplodingTensors, WeightUpdates, DeadRelu,
    PoorInitialization, ClassImbalance,
)  # fmt: skip


def find(folder: Path) -> list[Finding]:
    """Judge the trial in a job's folder, or return its saved findings; TrialError if neither."""
    for inside in _INSIDE:
        if _is_trial(folder / inside):
            return check(folder / inside)
        if (file := folder / inside / FINDINGS_FILE).is_file():
            try:
                return [Finding.from_json(entry) for entry in json.loads(file.read_text())]
            except (ValueError, TypeError, KeyError) as error:
                raise TrialError(f"{file} is damaged: {error}") from error
    return check(folder)  # raises


def _is_trial(folder: Path) -> bool:
    return any((folder / "collections").glob("*/*_collections.json"))


def check(folder: Path) -> list[Finding]:
    """Have all rules judge a trial, which may be incomplete; TrialError if it is none.

    The trial is Debugger's ``LocalPath``, or what is below its ``S3OutputPath``.
    """
    if not _is_trial(folder):  # smdebug would wait for one forever
        raise TrialError(f"expected tensors that Debugger saved, found none in {folder}")
    trial = create_trial(str(folder))
    findings = []
    for kind in RULES:
        rule = kind(trial)
        for step in trial.steps():
            invoke_rule(rule, start_step=step, end_step=step + 1)
        name = kind.__name__
        findings.append(Finding(name, **_TEXTS[name], verdicts=tuple(rule.verdicts)))
    return findings
