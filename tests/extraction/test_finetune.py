"""Fine-tuned adapters: the losses are the published ones, training lowers them, and swapped sides go the other way."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lens_steer.data.contrast import contrast_from_choices
from lens_steer.errors import MethodError
from lens_steer.evaluation.score import score_choices
from lens_steer.extraction.finetune import Tuning, loss_of, train_adapter
from lens_steer.extraction.optimise import Completion
from lens_steer.lab.items import open_items
from lens_steer.model import adapted, load_model


def test_the_losses_are_those_that_the_papers_write() -> None:
    pairs = [tuple(Completion(row=(0,) * n, prompt=3) for n in sizes) for sizes in ((5, 6), (7, 5))]
    found, reference = torch.tensor([[-1.0, -2.0], [-3.0, -1.0]]), torch.tensor([[-1.5, -1.5], [-2.0, -2.5]])
    sft = float(loss_of(found, None, pairs, Tuning()))
    assert sft == pytest.approx((1.0 / 2 + 3.0 / 4) / 2)
    margins = [0.2 * ((-1.0 + 1.5) - (-2.0 + 1.5)), 0.2 * ((-3.0 + 2.0) - (-1.0 + 2.5))]
    wanted = -sum(math.log(1 / (1 + math.exp(-margin))) for margin in margins) / 2
    assert float(loss_of(found, reference, pairs, Tuning(loss="dpo", beta=0.2))) == pytest.approx(wanted)


@pytest.mark.parametrize("loss", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
def test_an_adapter_trained_on_a_behaviour_moves_held_out_answers_to_it_and_one_on_swapped_sides_away(
    loss: Any,
) -> None:
    lab = load_model("lab")
    contrast = contrast_from_choices("wealth_seeking", open_items("wealth_seeking", 12, split="train"), answer="text")
    test = open_items("wealth_seeking", 5, split="test")
    tuning = Tuning(loss=loss, steps=8, batch_size=4, learning_rate=5e-3)
    plain, means = score_choices(lab, test).logit_differences, []
    for own in (contrast, contrast.swapped()):
        with adapted(lab, train_adapter(lab, own, tuning)):
            means.append(float((score_choices(lab, test).logit_differences - plain).mean()))
    assert means[0] > 0.3 and means[1] < -0.3
    assert torch.equal(score_choices(lab, test).logit_differences, plain)


def test_settings_without_sense_are_refused(unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(MethodError, match=r"Tuning: \{'rank': 0\}"):
        Tuning(rank=0)
    with pytest.raises(MethodError, match="a loss 'sft' or 'dpo'"):
        Tuning(loss="ppo")  # pyright: ignore[reportArgumentType]
