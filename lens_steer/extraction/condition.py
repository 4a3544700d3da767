"""A condition under which to steer, from texts that meet it and texts that do not: conditional activation steering.

    h_i        mean activation of the tokens of text i at a site
    c          first principal component of all h, each pair centred on its own mean;  of pairs it is that of h+ - h-
    gate       fires where cos(h, tanh((c . h / c . c) c)) is above (or below) a threshold: the threshold and the side
               that tell the given texts apart best

Source: Lee et al. 2024 (CAST, arXiv 2409.05907), who search layer, threshold and comparator by F1 on a grid. Here the
thresholds are those between neighbouring texts, and what counts is the mean of the two sides' accuracies.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.components import pca_of_differences
from lens_steer.extraction.record import record
from lens_steer.hooks.operators import ConditionGate
from lens_steer.hooks.operators.gate import Comparator
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.model import SteerableModel


def extract_condition(
    model: SteerableModel, meeting: Sequence[str], others: Sequence[str], site: SiteLike, batch_size: int = 32
) -> ConditionGate:
    """A gate of rows that opens for texts such as those that meet a condition.

    Args:
        model: a loaded model.
        meeting: texts that meet it.
        others: texts that do not; of unequal lists the first texts are paired.
        site: where activations are read, and where the gate must look.
        batch_size: texts in one forward pass.

    Returns:
        The gate.

    Raises:
        MethodError: fewer than two texts of each.
        SiteError: the model has no such site.

    Source:
        Lee et al. 2024, arXiv 2409.05907.

    Example:
        >>> from lens_steer import load_model
        >>> model = load_model("lab")
        >>> code = ["def f(x):\\n    return x", "for i in range(3):\\n    print(i)", "import os"]
        >>> gate = extract_condition(model, code, ["The cat sat.", "A dog ran.", "It rained."], "resid_post@2")
        >>> gate.per
        'row'
    """
    n = min(len(meeting), len(others))
    if n < 2:
        raise MethodError(f"{len(meeting)} texts that meet a condition and {len(others)} others; give two of each.")
    inside, outside = (_means(model, texts[:n], Site.parse(site), batch_size) for texts in (meeting, others))
    condition = pca_of_differences(inside, outside)
    gate = ConditionGate(condition, threshold=0.0)
    comparator, threshold = best_threshold(gate.similarity(inside), gate.similarity(outside))
    return ConditionGate(condition, threshold, comparator)


def best_threshold(inside: Float[Tensor, " n"], outside: Float[Tensor, " other"]) -> tuple[Comparator, float]:
    """The side and the threshold that tell two sets of numbers apart best, by the mean of their shares.

    Args:
        inside: numbers that should be on that side.
        outside: numbers that should not.

    Returns:
        `above` or `below`, and a threshold between two of the numbers.
    """
    values = torch.cat([inside, outside]).sort().values
    between = (values[1:] + values[:-1]) / 2
    above = (inside > between[:, None]).float().mean(dim=1) + (outside < between[:, None]).float().mean(dim=1)
    below = (inside < between[:, None]).float().mean(dim=1) + (outside > between[:, None]).float().mean(dim=1)
    best, comparator = (above, "above") if float(above.max()) >= float(below.max()) else (below, "below")
    return comparator, float(between[int(best.argmax())])


def _means(model: SteerableModel, texts: Sequence[str], site: Site, batch_size: int) -> Float[Tensor, "n width"]:
    """The mean activation of the tokens of each text."""
    found: dict[int, Tensor] = {}
    for batch in record(model, texts, [site], "all", batch_size=batch_size):
        for sequence in batch.sequences.unique().tolist():
            found[sequence] = batch.activations[site][batch.sequences == sequence].mean(dim=0)
    return torch.stack([found[index] for index in range(len(texts))])
