"""Vectors of shuffled labels are what `extract` makes of the shuffled contrast, with the norms of the vector itself."""

from typing import Any

import pytest
import torch

from lens_steer import extract
from lens_steer.data.contrast import as_contrast, contrast_from_choices, shuffled_labels
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ContrastError
from lens_steer.extraction import ExtractOptions, shuffled_vectors
from lens_steer.lab.items import open_items
from lens_steer.model import load_model

SITES = ("resid_post@0", "mlp_out@2")
PAIRS = contrast_from_choices("myopic", open_items("myopic", 6, split="train"))
LISTS = TextContrast(
    name="lists",
    positive=("a good day", "what a wonderful cat", "the dollar", "ten"),
    negative=("a bad day", "how sad a hat", "later", "one dollar today", "mat", "no"),
)


@pytest.fixture(scope="module")
def lab() -> Any:
    return load_model("lab")


@pytest.mark.parametrize(
    ("contrast", "method", "position", "options"),
    [
        (PAIRS, "mean_difference", "last", None),
        (PAIRS, "balanced_mean_difference", "last", None),
        (PAIRS, "logistic_probe", "last", ExtractOptions(method={"penalty": 2.0})),
        (PAIRS, "mean_difference", "all", ExtractOptions(drop_massive=True)),
        (LISTS, "mean_difference", "content", None),
    ],
)
def test_they_are_what_extract_makes_of_the_shuffled_contrast(
    lab: Any, contrast: Any, method: str, position: str, options: ExtractOptions | None
) -> None:
    vector = extract(lab, contrast, sites=SITES, method=method, position=position, options=options)
    found = shuffled_vectors(lab, vector, contrast, n=3, seed=5, batch_size=4, options=options)
    assert [one.name for one in found] == ["shuffled 5", "shuffled 6", "shuffled 7"]
    for seed, one in zip((5, 6, 7), found, strict=True):
        shuffled = shuffled_labels(contrast, seed)
        alone = extract(lab, shuffled, sites=SITES, method=method, position=position, options=options)
        for site, direction in one.directions.items():
            assert float(torch.cosine_similarity(direction, alone.directions[site], dim=0)) > 1 - 1e-5
            assert float(direction.norm()) == pytest.approx(float(vector.directions[site].norm()), rel=1e-5)
    assert not torch.allclose(found[0].at(0), found[1].at(0))


def test_labels_that_cannot_be_shuffled_often_enough_are_refused(lab: Any) -> None:
    few = as_contrast([("a good day", "a bad day"), ("one", "two"), ("cat", "hat")])
    vector = extract(lab, few, sites=SITES)
    assert len(shuffled_vectors(lab, vector, few, n=1)) == 1  # type: ignore[arg-type]
    with pytest.raises(ContrastError, match=r"3 questions or texts.* in 3 ways; 2 vectors .* twice as many"):
        shuffled_vectors(lab, vector, few, n=2)  # type: ignore[arg-type]
