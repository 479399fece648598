"""Rules judge jobs that are triggered on purpose, and leave a healthy one alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dogbreeds.cli.main import main
from dogbreeds.job_output.findings import FINDINGS_FILE, Finding, Verdict, table
from dogbreeds.monitoring.debugger import rules
from dogbreeds.monitoring.debugger.hook import Debugger
from dogbreeds.monitoring.debugger.rules import TrialError, VanishingGradients, check
from dogbreeds.monitoring.debugger.smdebug_compat import create_trial, invoke_rule
from helpers.small_jobs import job, network, run, store

EVERY_OTHER_STEP = {
    "HookParameters": {"save_interval": "2"},
    "CollectionConfigurations": [
        {"CollectionName": "weights"},
        {"CollectionName": "gradients"},
        {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}},
    ],
}


def trial(folder: Path, model: nn.Module | None = None, **settings: Any) -> Path:
    """Train, and return the folder of the tensors."""
    run(job(folder, Debugger(folder / "tensors", EVERY_OTHER_STEP), model, **settings))
    return folder / "tensors"


def fired(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings if finding.first}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trial(tmp_path_factory.mktemp("healthy"))


def test_no_rule_fires_on_a_healthy_job(healthy: Path) -> None:
    findings = check(healthy)
    assert fired(findings) == set(), table(findings)
    assert all(finding.verdicts for finding in findings)  # and all could judge it


def test_a_learning_rate_of_8_percent_is_too_high(tmp_path: Path) -> None:
    findings = check(trial(tmp_path, lr=0.08, optimizer="adam", warmup=0))
    assert "WeightUpdates" in fired(findings), table(findings)


def zeros() -> nn.Module:
    model = network()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def alike() -> nn.Module:
    model = network()
    nn.init.constant_(model.get_parameter("0.weight"), 0.1)
    return model


def dead() -> nn.Module:
    model = network()
    nn.init.constant_(model.get_parameter("1.bias"), -100)
    return model


def saturated() -> nn.Module:
    torch.manual_seed(0)
    hidden = [layer for _ in range(14) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 16), *hidden, nn.Linear(16, 3)
    )


def steep() -> nn.Module:
    model = network()
    with torch.no_grad():
        model.get_parameter("5.weight").mul_(1e5)
    return model


def overflowing() -> nn.Module:
    model = network()
    nn.init.constant_(model.get_parameter("5.weight"), 3e38)
    return model


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (zeros, "PoorInitialization"),
        (alike, "PoorInitialization"),
        (dead, "DeadRelu"),
        (saturated, "VanishingGradients"),
        (steep, "ExplodingTensors"),
    ],
)
def test_a_model_that_cannot_learn_from_the_start_triggers_rules(
    tmp_path: Path, model: Callable[[], nn.Module], rule: str
) -> None:
    findings = check(trial(tmp_path, model(), epochs=1))
    assert rule in fired(findings), table(findings)
    [finding] = [finding for finding in findings if finding.rule == rule]
    assert finding.first
    assert finding.first.step == 0
    assert f"step 0 in {finding.first.where}" in table(findings)


def test_a_job_that_diverges_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        trial(tmp_path, overflowing())
    findings = check(tmp_path / "tensors")
    assert {"ExplodingTensors"} <= fired(findings)
    [finding] = [finding for finding in findings if finding.rule == "ExplodingTensors"]
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_a_job_that_learns_by_heart_is_found_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.ReLU(), nn.Linear(64, 3))
    findings = check(
        trial(
            tmp_path, model, epochs=12, lr=0.003, label_smoothing=0, optimizer="adam",
            train=store((8, 8, 8), tell=0, noise=255),
            test=store((8, 8, 8), seed=1, tell=0, noise=255),
        )
    )  # fmt: skip
    assert "Overfitting" in fired(findings), table(findings)


def test_labels_that_tell_nothing_are_found_out(tmp_path: Path) -> None:
    findings = check(trial(tmp_path, train=store(tell=0), lr=1e-8, layer_decay=1))
    assert "LossNotDecreasing" in fired(findings), table(findings)
    assert "WeightUpdates" in fired(findings), table(findings)  # never large enough


def test_a_class_with_most_photos_is_found_out(tmp_path: Path) -> None:
    findings = check(trial(tmp_path, train=store((60, 5, 5)), epochs=1))
    assert "ClassImbalance" in fired(findings), table(findings)


def test_a_rule_runs_as_smdebug_runs_rules(healthy: Path) -> None:
    rule = VanishingGradients(create_trial(str(healthy)))
    invoke_rule(rule, end_step=6)
    assert rule.report["Datapoints"] == 3
    assert rule.report["RuleTriggered"] == 0


def test_the_command_prints_what_is_found(
    healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["debug", str(healthy.parent)]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("LossNotDecreasing    ok")
    assert main(["debug", str(healthy), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {entry["rule"]: entry["result"] for entry in document} == {
        rule.__name__: "ok" for rule in rules.RULES
    }


def test_what_a_job_found_itself_is_shown_where_its_tensors_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding("DeadRelu", "share", "above 0.5", "check", (Verdict(3, 0.9, True, "relu"),))
    (tmp_path / FINDINGS_FILE).write_text(json.dumps([finding.to_json()]))
    assert main(["debug", str(tmp_path)]) == 1
    assert "step 3 in relu: share is 0.9" in capsys.readouterr().out


def test_a_folder_without_tensors_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrialError, match="expected tensors that Debugger saved"):
        check(tmp_path)
    assert main(["debug", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
