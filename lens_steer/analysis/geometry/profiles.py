"""Norms of directions relative to activations, and the concentration of their energy in few dimensions.

    norm profile     ||v||, the median ||h|| of the training tokens, and their ratio, by site
    energy           sum of the k largest v_j^2 / ||v||^2, by k        (`lens_steer.metrics.quality.energy_shares`)

The null of the energy is isotropic random directions of the same width. A direction far above it in one or two
dimensions is dominated by massive activations.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from lens_steer.errors import ScoreError
from lens_steer.metrics.quality import energy_shares
from lens_steer.model import require_same_model
from lens_steer.vector import SteeringVector

BAND = (0.025, 0.975)


def norm_profile(vectors: Mapping[str, SteeringVector]) -> pd.DataFrame:
    """The norm of every direction beside that of the activations at its site.

    Args:
        vectors: vectors of one model, by the name they get in the table.

    Returns:
        model, vector, site, kind, layer, norm, activation_norm (median of the vector's training tokens) and relative,
        their ratio.

    Raises:
        ScoreError: there are no vectors.
        MismatchError: vectors of different models.
    """
    rows = [
        {
            "model": vector.fingerprint.label,
            "vector": name,
            "site": str(site),
            "kind": site.kind,
            "layer": site.layer,
            "norm": vector.norm(site),
            "activation_norm": vector.activation_norm(site),
            "relative": vector.norm(site) / vector.activation_norm(site),
        }
        for name, vector in _checked(vectors).items()
        for site in vector.sites
    ]
    return pd.DataFrame(rows)


def energy_profile(vectors: Mapping[str, SteeringVector], draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """The share of each direction's energy in its k largest dimensions.

    Args:
        vectors: vectors of one model, by the name they get in the table.
        draws: random directions of each width.
        seed: of the random directions.

    Returns:
        model, vector, site, layer, k (1, 2, 5, 10, ... up to the width), share, dimension (the k-th largest),
        null_low, null_high (95 %) and n_random.

    Raises:
        ScoreError: there are no vectors, or no draws.
        MismatchError: vectors of different models.
    """
    if draws < 1:
        raise ScoreError(f"{draws} random directions; give at least one.")
    rows, nulls = [], {}
    for name, vector in _checked(vectors).items():
        for site in vector.sites:
            direction = vector.at(site)
            width = len(direction)
            grid = _grid(width)
            if width not in nulls:
                noise = torch.randn(
                    draws, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float32, device="cpu"
                )
                shares = [[*energy_shares(v, grid).shares.values()] for v in noise]
                nulls[width] = np.quantile(np.array(shares), BAND, axis=0)
            found = energy_shares(direction, grid)
            for place, k in enumerate(grid):
                rows.append(
                    {
                        "model": vector.fingerprint.label,
                        "vector": name,
                        "site": str(site),
                        "layer": site.layer,
                        "k": k,
                        "share": found.shares[k],
                        "dimension": found.dimensions[k - 1],
                        "null_low": nulls[width][0, place],
                        "null_high": nulls[width][1, place],
                        "n_random": draws,
                    }
                )
    return pd.DataFrame(rows)


def _checked(vectors: Mapping[str, SteeringVector]) -> Mapping[str, SteeringVector]:
    """Vectors of one model, at least one."""
    if not vectors:
        raise ScoreError("no vectors; give at least one.")
    first = next(iter(vectors.values()))
    for vector in vectors.values():
        require_same_model(first.fingerprint, vector.fingerprint, f"vectors {first.name!r} and {vector.name!r}")
    return vectors


def _grid(width: int) -> list[int]:
    """1, 2, 5, 10, 20, ... and the width."""
    steps = [step * 10**power for power in range(len(str(width))) for step in (1, 2, 5)]
    return [*(k for k in steps if k < width), width]
