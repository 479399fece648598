import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from dogbreeds.training.calibration import expected_calibration_error, fit_temperature


def photos(temperature: float, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes drawn with the probabilities that they say at a temperature."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 5, generator=generator)
    probabilities = (logits / temperature).softmax(1)
    return logits, probabilities.multinomial(1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_classes_is_found_again(temperature: float) -> None:
    logits, targets = photos(temperature)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(temperature, rel=0.05)
    right = logits.argmax(1) == targets
    before, after = (
        expected_calibration_error((logits / t).softmax(1).amax(1), right) for t in (1.0, found)
    )
    assert after < 0.01
    assert after <= before + 0.005


def test_the_loss_is_lowest_at_the_temperature_found() -> None:
    logits, targets = photos(2.0)
    found = fit_temperature(logits, targets)

    def loss(t: float) -> float:
        return F.cross_entropy(logits / t, targets).item()

    assert loss(found) < min(loss(found * 1.05), loss(found / 1.05))


@pytest.mark.parametrize("count", [1, 30, 300])
def test_a_model_that_is_always_right_does_not_become_certain(count: int) -> None:
    targets = torch.arange(count) % 3
    logits = F.one_hot(targets, 3) * 2.0
    confidence = (logits / fit_temperature(logits, targets)).softmax(1).amax(1).mean().item()
    # As sure as someone who has been right `count` times: Laplace's rule, with a third by chance.
    assert confidence == pytest.approx(1 - 2 / 3 / (count + 1), abs=1e-3)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    confidences = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.51])
    right = torch.tensor([True, True, True, False, False, True])
    gaps = 4 * abs(0.75 - 0.95) + 2 * abs(0.5 - 0.53)
    assert expected_calibration_error(confidences, right) == pytest.approx(gaps / 6, abs=1e-6)
    assert math.isclose(expected_calibration_error(torch.ones(3), torch.ones(3).bool()), 0)
