"""What can be told of a vector before it steers, and how well it ranks behaviours by their steerability.

    norm                    ||v|| over the median activation norm of the site
    directional_agreement   mean cosine of a training pair's difference with the mean of the others
    d_prime, overlap, auroc of validation activations projected on v
    split_half_cosine       of the directions of two random halves of the training pairs
    first_order             mean slope at strength 0 on validation items, from one backward pass
    lens_accuracy           share of validation questions in which the logit lens at the site prefers the right option

    rank correlation        Spearman, over behaviours, with the interval of Bonett & Wright (`metrics.reliability`)

Source: Braun et al. 2025 (arXiv 2505.22637) for agreement and separability; for the lens, arXiv 2604.15557. They are
screens: none shows that a vector steers, and a correlation over eight behaviours has a wide interval.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from lens_steer.analysis.lens import lens_accuracy
from lens_steer.data.contrast import contrast_from_choices
from lens_steer.data.splits import Splits
from lens_steer.evaluation.sweep import first_order
from lens_steer.experiments.evaluator import scoring_options
from lens_steer.experiments.reliability.measure import Place
from lens_steer.experiments.reliability.settings import Reliability
from lens_steer.extraction import contrast_activations
from lens_steer.metrics.quality import directional_agreement, separability, split_half_cosine
from lens_steer.metrics.reliability import rank_interval
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector

PREDICTORS = (
    "norm",
    "directional_agreement",
    "d_prime",
    "overlap",
    "auroc",
    "split_half_cosine",
    "first_order",
    "lens_accuracy",
)
TARGETS = ("steerability", "anti_share")
IN_AND_OUT, RELATIVE = "steerability of the own vector, same setting", "relative steerability"
SPLITS = 20


def predictors(
    model: SteerableModel, vector: SteeringVector, place: Place, splits: Splits, settings: Reliability
) -> dict[str, float]:
    """Every predictor of one vector at its place.

    Args:
        model: the vector's model.
        vector: made of the training items.
        place: where it is added.
        splits: training and validation items.
        settings: how questions are asked.

    Returns:
        By the names of `PREDICTORS`; NaN for the lens of a site that is not in the residual stream.
    """
    site, options = place.site, scoring_options(settings)
    sides = []
    for items in (splits.train, splits.validation):
        contrast = contrast_from_choices(vector.name, items, settings.template, settings.answer)
        read = contrast_activations(
            model, contrast, sites=str(site), batch_size=settings.batch_size, cache=settings.checkpoint
        )
        sides.append(read[site])
    (pos, neg), (held_pos, held_neg) = sides
    apart = separability(held_pos, held_neg, vector.at(site))
    slopes = first_order(model, [vector], splits.validation, str(site), place.positions, settings.scale, options)
    in_stream = site.kind in ("resid_pre", "resid_post")
    read = lens_accuracy(model, options.prepare(model, splits.validation), [site]) if in_stream else {site: math.nan}
    return {
        "norm": vector.norm(site) / vector.activation_norm(site),
        "directional_agreement": directional_agreement(pos - neg),
        "d_prime": apart.d_prime,
        "overlap": apart.overlap,
        "auroc": apart.auroc,
        "split_half_cosine": split_half_cosine(pos, neg, _mean_difference, SPLITS, settings.seed, paired=True),
        "first_order": float(slopes["slope"].mean()),
        "lens_accuracy": read[site],
    }


def ranking(behaviours: pd.DataFrame, shift: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """How well each predictor ranks behaviours; and how steerability in and out of distribution go together.

    Args:
        behaviours: one row a behaviour, with the predictors, `steerability` and `anti_share`.
        shift: rows of prompt settings; empty where they were left out.
        seed: of the bootstrap over behaviours.

    Returns:
        Columns: predictor, target, correlation, low, high, n (behaviours), pairs (of prompt settings; 0 where
        behaviours alone are ranked). Empty for fewer than three behaviours.
    """
    columns = ["predictor", "target", "correlation", "low", "high", "n", "pairs"]
    rows = []
    if len(behaviours) > 2:
        for predictor in PREDICTORS:
            for target in TARGETS:
                both = behaviours[[predictor, target]].dropna()
                if len(both) > 2:
                    found = rank_interval(_column(both, predictor), _column(both, target))
                    rows.append([predictor, target, found.value, found.low, found.high, found.n, 0])
        if len(shift):
            rows += _shift_rows(shift, seed)
    return pd.DataFrame(rows, columns=columns)


def _shift_rows(shift: pd.DataFrame, seed: int) -> list[list[object]]:
    """In against out of distribution, and relative steerability against the gap, over pairs of settings."""
    own = shift[shift["trained"] == shift["asked"]].set_index(["behaviour", "asked"])
    away = shift[shift["trained"] != shift["asked"]]
    keys = pd.MultiIndex.from_frame(away[["behaviour", "asked"]])
    away = away.assign(
        own=own.loc[keys, "steerability"].to_numpy(), own_low=own.loc[keys, "steerability_low"].to_numpy()
    )
    steered = away[away["own_low"] > 0]
    wanted = ((IN_AND_OUT, "steerability of other settings' vectors", away, "own", "steerability"),
              (RELATIVE, "gap of unsteered propensity", steered, "relative", "propensity_gap"))  # fmt: skip
    rows: list[list[object]] = []
    for predictor, target, frame, first, second in wanted:
        groups = {str(name): part[[first, second]].to_numpy(dtype=float) for name, part in frame.groupby("behaviour")}
        if len(groups) > 2:
            rows.append([predictor, target, *_clustered(groups, seed), len(groups), len(frame)])
    return rows


def _clustered(groups: Mapping[str, np.ndarray], seed: int, resamples: int = 2000) -> tuple[float, float, float]:
    """Spearman's correlation over all pairs, with a percentile interval over whole behaviours."""
    from scipy.stats import spearmanr

    parts, rng = list(groups.values()), np.random.default_rng(seed)

    def correlation(chosen: np.ndarray) -> float:
        pairs = np.concatenate([parts[k] for k in chosen])
        if np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
            return math.nan
        return float(spearmanr(pairs[:, 0], pairs[:, 1])[0])  # type: ignore[arg-type]

    drawn = [correlation(rng.integers(0, len(parts), len(parts))) for _ in range(resamples)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return correlation(np.arange(len(parts))), float(low), float(high)


def _mean_difference(pos: torch.Tensor, neg: torch.Tensor) -> torch.Tensor:
    return pos.mean(dim=0) - neg.mean(dim=0)


def _column(frame: pd.DataFrame, name: str) -> torch.Tensor:
    return torch.tensor(frame[name].to_numpy(dtype=float), device="cpu")
