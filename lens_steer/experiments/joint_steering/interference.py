"""Interference between behaviours: predicted from the angle between their vectors, and measured.

    measured_ij   (change of j at +s of i  -  change of j at -s of i) / 2       s: one strength for all; nats
    predicted_ij  A_ij measured_jj,   A_ij = <v_i, v_j> / ||v_j||^2             across sites: the stream as one space
    random        the same of random directions of the norms of the vectors

The prediction takes the effect of a behaviour's own vector from measurement, and the rest from geometry. It is of first
order, and ignores the blocks between two sites and the template that all questions share: a vector that moves the
answers to any question interferes with every behaviour, whatever its angle.
"""

from collections.abc import Mapping

import pandas as pd
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from lens_steer.experiments.evaluator import Evaluator
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import Site, SiteLike
from lens_steer.metrics.interference import (
    agreement,
    agreement_without_geometry,
    permutation_p,
    predicted_interference,
)
from lens_steer.metrics.significance import sign_flip_p, with_holm
from lens_steer.metrics.statistics import mean_interval
from lens_steer.vector import SteeringVector, random_like
from lens_steer.vector.compose import assign, gram_matrix, strength_matrix

RESAMPLES = 999


def interference(
    evaluator: Evaluator,
    vectors: Mapping[str, SteeringVector],
    places: SiteLike | Mapping[str, SiteLike],
    strength: float,
    positions: str,
    scale: Scale,
    n_random: int,
    seed: int,
) -> tuple[pd.DataFrame, Float[Tensor, "behaviour behaviour item"]]:
    """Steers each behaviour by itself, both ways, and measures all of them.

    Args:
        evaluator: the items of each behaviour.
        vectors: by behaviour, those of the evaluator.
        places: where each is written; one site for all, or one each.
        strength: how strongly, both ways.
        positions: which tokens are edited.
        scale: what strength 1 means.
        n_random: random directions, of the norms and sites of the vectors in turn.
        seed: of the random directions, and of the intervals (999 resamples).

    Returns:
        One row an ordered pair: steered, read, their sites, cosine, strength, predicted, measured with `_low`, `_high`
        and `_why`, p (sign flips of the items' changes) and p_holm over the `family` of all pairs, random_low and
        random_high (2.5th to 97.5th percentile over random directions; NaN without); and the change of each item
        (second axis: read).

    Raises:
        ScoreError, SiteError, MismatchError: as `assign` and `gram_matrix` say.
    """
    plan = assign(vectors, places)
    gram = gram_matrix(plan, scale)
    projected = strength_matrix(gram).T
    names, sites = list(vectors), [placement.site for placement in plan.placements]
    written = [(placement.vector, placement.site) for placement in plan.placements]
    for k in range(n_random):
        vector, site = written[k % len(names)]
        written.append((random_like(vector, seed + k), site))
    changes = _changes(evaluator, written, strength, positions, scale)
    means = reduce(changes, "vector behaviour item -> vector behaviour", "mean")
    measured, random = means[: len(names)], means[len(names) :]
    predicted = predicted_interference(projected, measured)
    norms = gram.diagonal().sqrt()
    rows = [
        {
            "steered": steered,
            "read": read,
            "steered_site": str(sites[i]),
            "read_site": str(sites[j]),
            "cosine": float(gram[i, j] / (norms[i] * norms[j])),
            "projected_strength": float(projected[i, j]),
            "predicted": float(predicted[i, j]),
            **mean_interval(changes[i, j], resamples=RESAMPLES, seed=seed).columns("measured"),
            "p": sign_flip_p(changes[i, j], seed=seed),
            **_band(random[:, j]),
        }
        for i, steered in enumerate(names)
        for j, read in enumerate(names)
    ]
    return with_holm(pd.DataFrame(rows), "p", "ordered pairs"), changes[: len(names)]


def interference_agreement(
    pairs: pd.DataFrame, changes: Float[Tensor, "behaviour behaviour item"], resamples: int, seed: int
) -> pd.DataFrame:
    """How far measured interference is the predicted one.

    Args:
        pairs: from `interference`.
        changes: from `interference`.
        resamples: of the interval.
        seed: of the bootstrap.

    Returns:
        One row a statistic (`pearson`, `spearman`): value, low, high, why, n (pairs), `without_geometry` (each
        behaviour's own effect alone as the prediction), and `p` (exact permutation of behaviours in the geometry).

    Raises:
        ScoreError: fewer than three behaviours.
    """
    strengths = torch.tensor(pairs["projected_strength"].to_numpy(dtype=float), device="cpu")
    projected = rearrange(strengths, "(behaviour other) -> behaviour other", behaviour=len(changes))
    found = agreement(projected, changes, resamples=resamples, seed=seed)
    measured = reduce(changes.double(), "behaviour other item -> behaviour other", "mean")
    baseline, p = agreement_without_geometry(measured), permutation_p(projected, measured, seed)
    return pd.DataFrame(
        [
            {"statistic": name, "value": f.value, "low": f.low, "high": f.high, "why": f.why, "n": f.n}
            | {"without_geometry": baseline[name], "p": p[name]}
            for name, f in found.items()
        ]
    )


def _changes(
    evaluator: Evaluator,
    written: list[tuple[SteeringVector, Site]],
    strength: float,
    positions: str,
    scale: Scale,
) -> Float[Tensor, "n behaviour item"]:
    """Half the difference between adding and subtracting each vector, of every item."""
    configurations = [
        [Intervention.of(vector, site, sign * strength, scale, positions)]
        for vector, site in written
        for sign in (1, -1)
    ]
    measured = evaluator.measure(configurations)
    return torch.stack([(measured.changes(2 * k) - measured.changes(2 * k + 1)) / 2 for k in range(len(written))])


def _band(random: Float[Tensor, " n"]) -> dict[str, float]:
    """The middle 95 % over random directions."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")
    low, high = random.quantile(ends).tolist() if len(random) else (float("nan"),) * 2
    return {"random_low": low, "random_high": high}
