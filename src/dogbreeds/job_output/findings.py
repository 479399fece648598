"""What Debugger's rules found in a training job, for programs and for people."""

import dataclasses
import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogbreeds.system.files import atomic_write

FINDINGS_FILE = "debugger.json"


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a step.

    Attributes:
        step: Counted over training and evaluations, as the trial's files are.
        value: The rule's number.
        triggered: Whether it is beyond the limit.
        where: The tensor that it is of; may be empty.
    """

    step: int
    value: float
    triggered: bool
    where: str = ""


@dataclass(frozen=True)
class Finding:
    """What a rule says of a trial.

    Attributes:
        rule: Its name.
        measure: What its number is.
        limit: When a number triggers the rule, in words.
        advice: What to do then.
        verdicts: Of each step that it could judge, in order.
    """

    rule: str
    measure: str
    limit: str
    advice: str
    verdicts: tuple[Verdict, ...]

    @property
    def first(self) -> Verdict | None:
        """The first step that triggers it."""
        return next((verdict for verdict in self.verdicts if verdict.triggered), None)

    @property
    def result(self) -> str:
        """``"FIRED"``, ``"ok"``, or ``"-"`` if no step could be judged."""
        return "FIRED" if self.first else "ok" if self.verdicts else "-"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it; a number that is none becomes a word."""
        document = dataclasses.asdict(self)
        for verdict in document["verdicts"]:
            if not math.isfinite(verdict["value"]):
                verdict["value"] = str(verdict["value"])
        return {**document, "result": self.result}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Finding":
        """Read what `to_json` gave."""
        verdicts = tuple(
            Verdict(**{**verdict, "value": float(verdict["value"])})
            for verdict in document["verdicts"]
        )
        fields = {name: document[name] for name in ("rule", "measure", "limit", "advice")}
        return cls(**fields, verdicts=verdicts)


def table(findings: list[Finding]) -> str:
    """Return findings as lines for people."""
    lines = [f"{'RULE':<20} {'RESULT':<6} {'STEPS':>5}  FINDING"]
    for finding in findings:
        text = ""
        if first := finding.first:
            where = f" in {first.where}" if first.where else ""
            text = f"step {first.step}{where}: {finding.measure} is {first.value:.3g}"
            text += f" ({finding.limit}); {finding.advice}"
        elif finding.verdicts:
            text = f"{finding.measure}: {finding.verdicts[-1].value:.3g} at the end"
        judged = len(finding.verdicts)
        lines.append(f"{finding.rule:<20} {finding.result:<6} {judged:>5}  {text}".rstrip())
    return "\n".join(lines)


def plot(findings: list[Finding], file: Path) -> None:
    """Draw each rule's number over the steps.

    Raises:
        OSError: The file cannot be written.
    """
    from dogbreeds.job_output.figure import Figure  # takes a second

    judged = [finding for finding in findings if finding.verdicts]
    rows = max(1, -(-len(judged) // 2))
    figure = Figure(figsize=(12, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, finding in zip(panels, judged, strict=False):
        finite = [v for v in finding.verdicts if math.isfinite(v.value)]
        axes.plot([v.step for v in finite], [v.value for v in finite], marker=".", color="#4477aa")
        triggered = [v for v in finite if v.triggered]
        axes.plot([v.step for v in triggered], [v.value for v in triggered], "o", color="#cc3311")
        if finite and min(v.value for v in finite) > 0:
            axes.set_yscale("log")
        axes.set_title(f"{finding.rule}: {finding.result}", loc="left")
        axes.set(xlabel="step", ylabel=textwrap.fill(finding.measure, 32))
        axes.yaxis.label.set_size("small")
        axes.grid(alpha=0.3)
    for axes in panels[len(judged) :]:
        axes.remove()
    with atomic_write(file) as partial:
        figure.savefig(partial, format="png", dpi=110)
