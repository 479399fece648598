"""Debugger in the real `train`, configured as SageMaker does it."""

import json
import subprocess
from pathlib import Path

import pytest

from dogbreeds.job_output.findings import Finding, table
from dogbreeds.local import training
from dogbreeds.monitoring.debugger.rules import find
from dogbreeds.monitoring.debugger.smdebug_compat import ModeKeys, create_trial

pytestmark = pytest.mark.integration

# As SageMaker's SDK writes it for rules that want losses, weights and gradients.
CONFIGURATION = {
    "S3OutputPath": "s3://bucket/debugger",
    "LocalPath": "/opt/ml/output/tensors",
    "HookParameters": None,
    "CollectionConfigurations": [
        {"CollectionName": name, "CollectionParameters": {"save_interval": "2"}}
        for name in ("losses", "weights", "gradients")
    ],
}


def test_a_learning_rate_that_fails_is_found_out_in_a_job_as_sagemaker_runs_it(
    sample: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "ml"
    hyperparameters = {
        "model": "shufflenet_v2_x0_5", "weights": "none", "image_size": "32", "epochs": "2",
        "batch_size": "40", "lr": "0.08", "optimizer": "adam", "profile_steps": "2:3",
    }  # fmt: skip
    training.make_tree(tree, sample, hyperparameters)
    (tree / "input" / "config" / "debughookconfig.json").write_text(json.dumps(CONFIGURATION))
    process = training.start(tree, subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        training.stop(process)
    log = output.decode()
    assert process.returncode == 0, log

    trial = create_trial(str(tree / "output" / "tensors"))
    assert trial.steps(mode=ModeKeys.TRAIN) == list(range(0, 12, 2))
    assert len(trial.steps(mode=ModeKeys.EVAL)) == 2
    weights = trial.tensor_names(collection="weights")
    assert "ShuffleNetV2_conv1.0.weight" in weights
    assert {f"gradient/{name}" for name in weights} <= set(
        trial.tensor_names(collection="gradients")
    )
    losses = trial.tensor("CrossEntropyLoss_output_0")
    assert losses.value(0, mode=ModeKeys.TRAIN) == pytest.approx(1.8, abs=0.5)  # ln 6 by guessing
    history = json.loads((tree / "output" / "data" / "history.json").read_text())
    assert losses.value(1, mode=ModeKeys.EVAL) == pytest.approx(history[1]["valid_loss"])

    findings = find(tree)
    assert {f.rule for f in findings if f.first} >= {"WeightUpdates"}, table(findings)
    assert table(findings) in log
    saved = json.loads((tree / "output" / "data" / "debugger.json").read_text())
    assert [Finding.from_json(entry) for entry in saved] == findings
    assert len(list((tree / "output" / "data" / "traces").iterdir())) == 1
