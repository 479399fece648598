"""What Debugger's rules found in a training job, for programs and for people."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

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
