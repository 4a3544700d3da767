"""In-context vectors: both readings against a transcription, one text at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.data.contrast import ContrastPair, ContrastSet
from lens_steer.errors import MethodError
from lens_steer.extraction import extract
from lens_steer.extraction.in_context_vector import TOKENS, extract_in_context_vector
from lens_steer.model import opening_tokens, tokenize

TEXTS = [("the cat sat today", "ten dollars later"), ("one", "you take one dollar"), ("the day", "the mat sat"),
         ("two dollars", "one cat later you sat")]  # fmt: skip
CONTRAST = ContrastSet(
    name="pairs",
    pairs=tuple(ContrastPair(id=str(i), prompt="", positive=p, negative=n) for i, (p, n) in enumerate(TEXTS)),
)


def by_hand(model: Any, tokens: int) -> np.ndarray:
    """mean of differences + signed first component, of H averaged over the last tokens behind BOS."""
    before = len(opening_tokens(model))

    def read(text: str) -> np.ndarray:
        (row,) = tokenize(model, [text])
        _, cache = model.run_with_cache(torch.tensor([row]))
        kept = min(tokens, len(row) - before)
        layers = [cache[f"blocks.{layer}.hook_out"][0, -kept:].mean(0) for layer in range(int(model.cfg.n_layers))]
        return torch.cat(layers).double().numpy()

    differences = np.stack([read(positive) - read(negative) for positive, negative in TEXTS])
    mean = differences.mean(0)
    u, _, vt = np.linalg.svd(differences - mean, full_matrices=False)
    sign = np.sign(u[np.abs(u[:, 0]).argmax(), 0])
    return mean + sign * vt[0]


@pytest.mark.parametrize("reading", ["last", "last_four"])
def test_both_readings_are_mean_difference_plus_first_component(llama: Any, reading: Any) -> None:
    vector = extract_in_context_vector(llama, CONTRAST, reading=reading, batch_size=3)
    found = torch.cat([vector.at(site) for site in vector.sites]).double().numpy()
    assert np.allclose(found, by_hand(llama, TOKENS[reading]), atol=1e-4)
    assert vector.position == reading and vector.options["reading"] == reading


def test_the_last_token_alone_is_what_extract_makes(llama: Any) -> None:
    one = extract_in_context_vector(llama, CONTRAST)
    other = extract(llama, CONTRAST, method="in_context_vector")
    assert one.sites == other.sites
    for site in one.sites:
        assert torch.allclose(one.at(site), other.at(site), atol=1e-4)
        assert one.activation_norm(site) == pytest.approx(other.activation_norm(site), rel=1e-4)


def test_the_two_readings_differ_and_a_third_is_refused(llama: Any, unchecked: Callable[[], None]) -> None:
    unchecked()
    one, four = (extract_in_context_vector(llama, CONTRAST, reading=reading) for reading in ("last", "last_four"))
    assert any(not torch.allclose(one.at(site), four.at(site), atol=1e-2) for site in one.sites)
    with pytest.raises(MethodError, match="give one of last, last_four"):
        extract_in_context_vector(llama, CONTRAST, reading="first")  # type: ignore[arg-type]
