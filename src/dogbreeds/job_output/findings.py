"""What Debugger's rules found in a training job, for programs and for people."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

FINDINGS_FILE = "debugger.json"


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a step."""

    step: int  # counted over training and evaluations, as in the trial's files
    value: float  # the number that the rule computed
    triggered: bool  # whether the value is beyond the limit
    where: str = ""  # the tensor that the value comes from; may be empty


@dataclass(frozen=True)
class Finding:
    """What a rule says of a trial."""

    rule: str  # its name
    measure: str  # what its number is
    limit: str  # which numbers trigger it, in words
    advice: str  # what to do then
    verdicts: tuple[Verdict, ...]  # one per step that it could judge, in order

    @property
    def first(self) -> Verdict | None:
        """The first step that triggers the rule."""
        return next((verdict for verdict in self.verdicts if verdict.triggered), None)

    @property
    def result(self) -> str:
        """``"FIRED"``, ``"ok"``, or ``"-"`` if no step could be judged."""
        return "FIRED" if self.first else "ok" if self.verdicts else "-"

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready; a number that is not finite becomes a string."""
        document = dataclasses.asdict(self)
        for verdict in document["verdicts"]:
            if not math.isfinite(verdict["value"]):
                verdict["value"] = str(verdict["value"])
        return {**document, "result": self.result}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Finding":
        """Read what `to_json` returned."""
        fields = {name: document[name] for name in ("rule", "measure", "limit", "advice")}
        verdicts = (Verdict(**{**v, "value": float(v["value"])}) for v in document["verdicts"])
        return cls(**fields, verdicts=tuple(verdicts))


def table(findings: list[Finding]) -> str:
    """Return findings as a table for people."""
    lines = [f"{'RULE':<20} {'RESULT':<6} {'STEPS':>5}  FINDING"]
    for finding in findings:
        text = ""
        if first := finding.first:
            where = f" in {first.where}" if first.where else ""
            text = f"step {first.step}{where}: {finding.measure} is {first.value:.3g}"
            text += f" ({finding.limit}); {finding.advice}"
        elif finding.verdicts:
            last = finding.verdicts[-1]
            text = f"{finding.measure}: {last.value:.3g} at step {last.step}"
        else:
            text = "not judged: the job is too short, or has no such tensors"
        judged = len(finding.verdicts)
        lines.append(f"{finding.rule:<20} {finding.result:<6} {judged:>5}  {text}".rstrip())
    return "\n".join(lines)
