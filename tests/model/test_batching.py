"""Batches for which memory does not suffice: their halves give what one pass would have given."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers.models.mistral.modeling_mistral import MistralMLP

from lens_steer import Intervention, SteeringVector, extract, generate, load_model, sweep
from lens_steer.data.choices import ChoiceItem
from lens_steer.errors import BatchWarning
from lens_steer.evaluation.likelihood import text_slopes
from lens_steer.evaluation.score import ScoringOptions, score_choices
from lens_steer.evaluation.side_effects import measure_side_effects
from lens_steer.evaluation.sweep import first_order
from lens_steer.extraction.record import record
from lens_steer.generation import Decoding
from lens_steer.hooks.sites import Site
from lens_steer.model.batching import within_memory

TEXTS = ["I have seven of them" + " and you have the house" * (12 + n % 4) + " now" * (n // 4) for n in range(11)]
PAIRS = [(f"{text} and I want more", f"{text} and I can go") for text in TEXTS]
ITEMS = [ChoiceItem(id=str(n), stem=text, matching=" yes", other=" no") for n, text in enumerate(TEXTS)]
SITES = ["resid_post@1", "resid_post@3"]
ERRORS = {
    "accelerator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    "python": MemoryError("no room"),
}


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.fixture(scope="module")
def vector(lab: Any) -> SteeringVector:
    return extract(lab, PAIRS, sites=SITES, paired=True)


class Memory:
    """Room for so many tokens in the model's MLPs; what is tried once a model has at most 60."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens, self.error = 10**6, ERRORS["torch"]
        plain = MistralMLP.forward

        def forward(module: Any, given: Tensor) -> Tensor:
            if given.shape[0] * given.shape[1] > self.tokens:
                raise self.error
            return plain(module, given)

        monkeypatch.setattr(MistralMLP, "forward", forward)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


def edit(vector: SteeringVector) -> Intervention:
    return Intervention.of(vector, "resid_post@1", 2.0)


def extracted(lab: Any, _: SteeringVector) -> Tensor:
    return extract(lab, PAIRS, sites=SITES, paired=True, batch_size=16).directions[Site.parse("resid_post@3")]


def recorded(lab: Any, _: SteeringVector) -> Tensor:
    """Activations and medians, in the order of texts and tokens."""
    parts = list(record(lab, TEXTS, "resid_post@3", batch_size=8, medians=True))
    (site,) = parts[0].activations
    rows = torch.cat([torch.cat([part.activations[site], part.medians[site][:, None]], dim=1) for part in parts])
    return rows[torch.cat([part.sequences * 1000 + part.positions for part in parts]).argsort()]


def generated(lab: Any, vector: SteeringVector) -> pd.DataFrame:
    decoding = Decoding(max_new_tokens=6, temperature=0.7, seed=3)
    found = generate(lab, TEXTS, edit(vector), decoding, record=True).continuations
    return pd.DataFrame([{"text": one.text, "tokens": str(one.tokens), "kl": sum(one.record["kl"])} for one in found])


def swept(lab: Any, vector: SteeringVector, **options: Any) -> pd.DataFrame:
    return sweep(lab, vector, ITEMS, SITES, [-2.0, 2.0], options=ScoringOptions(**options)).to_frame()


MEASURES: dict[str, Callable[[Any, SteeringVector], Any]] = {
    "extract": extracted,
    "record": recorded,
    "generate": generated,
    "sweep of letters": swept,
    "sweep of texts": partial(swept, scoring="option_sum"),
    "sweep without reuse": partial(swept, reuse=False),
    "scores": lambda lab, vector: score_choices(lab, ITEMS, edit(vector)).scores,
    "first order": lambda lab, vector: first_order(lab, [vector], ITEMS),
    "slopes of texts": lambda lab, vector: text_slopes(lab, [vector], TEXTS),
    "side effects": lambda lab, vector: measure_side_effects(lab, TEXTS, edit(vector)).to_frame(),
}


@pytest.mark.parametrize("name", MEASURES)
def test_halves_give_the_numbers_of_the_whole_batch(
    lab: Any, vector: SteeringVector, memory: Memory, name: str
) -> None:
    whole, memory.tokens = MEASURES[name](lab, vector), 300
    with pytest.warns(BatchWarning, match=r"a batch of \d+, which is run in halves; a smaller batch_size saves"):
        halved = MEASURES[name](lab, vector)
    if isinstance(halved, pd.DataFrame):
        pd.testing.assert_frame_equal(halved, whole, rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(halved, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ERRORS)
def test_one_row_for_which_memory_does_not_suffice_ends_in_the_error(
    lab: Any, vector: SteeringVector, memory: Memory, kind: str
) -> None:
    memory.tokens, memory.error = 60, ERRORS[kind]
    for measure in MEASURES.values():
        with pytest.warns(BatchWarning), pytest.raises(type(memory.error), match=re.escape(str(memory.error))):
            measure(lab, vector)
    memory.tokens = 10**6
    extracted(lab, vector)  # and no hook is left


def test_another_error_is_passed_on_at_once(lab: Any, vector: SteeringVector, memory: Memory) -> None:
    memory.tokens, memory.error = 60, RuntimeError("the size of tensor a must match the size of tensor b")
    for measure in MEASURES.values():
        with pytest.raises(RuntimeError, match="must match the size"):
            measure(lab, vector)


def test_tokens_that_were_told_are_not_told_again(lab: Any, memory: Memory) -> None:
    memory.tokens = 300
    with pytest.raises(RuntimeError, match="can't allocate"):
        generate(lab, TEXTS, decoding=Decoding(max_new_tokens=2), on_token=lambda _: None)


def test_a_batch_is_halved_until_its_parts_fit_and_keeps_its_order() -> None:
    def work(batch: Any) -> list[int]:
        if len(batch) > 2:
            raise MemoryError
        return [2 * entry for entry in batch]

    with pytest.warns(BatchWarning):
        assert within_memory(work, range(7)) == [[0], [2, 4], [6, 8], [10, 12]]
