"""Two-dimensional views of the activations of both classes of behaviours: PCA, or LDA on held-out rows.

Every second block of pairs (both option orders of an item) is held out from fitting the discriminants; only held-out
rows show whether the classes are separable. Formulas: `lens_steer.metrics.planes`. Separation in a plane does not imply
that steering along it works.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import ScoreError
from lens_steer.metrics.planes import lda_plane, pca_plane

SIDES = ("positive", "negative")


def pair_letters(contrast: ContrastSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first character of each pair's positive and negative completion: its letter, of `contrast_from_choices`."""
    found = [tuple(getattr(pair, side).strip()[0] for pair in contrast.pairs) for side in SIDES]
    return found[0], found[1]


def activation_plane(
    sides: Mapping[str, tuple[Tensor, Tensor]],
    kind: Literal["pca", "lda"] = "pca",
    letters: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    block: int = 2,
) -> pd.DataFrame:
    """Projects the activations of several behaviours at one site on a plane.

    Args:
        sides: by behaviour, the positive and the negative rows at the site, from `contrast_activations`.
        kind: principal components of all rows, or discriminants of the behaviours' sides.
        letters: by behaviour, a letter for each positive and negative row, such as `pair_letters` gives.
        block: so many rows of a class in a row are held out together.

    Returns:
        One row an activation: kind, behaviour, side, letter ("" where none are given), pair (its place in its side),
        x, y, held_out (of a PCA, always), share_x and share_y: of all variance, or of that between the classes.

    Raises:
        ScoreError: there are no behaviours, too few rows, or letters that are not one a row.
    """
    if not sides or block < 1:
        raise ScoreError(f"{len(sides)} behaviours, blocks of {block}; give at least one of each.")
    parts = []
    for behaviour, both in sides.items():
        for index, (side, rows) in enumerate(zip(SIDES, both, strict=True)):
            given = [""] * len(rows) if letters is None else list(letters[behaviour][index])
            if len(given) != len(rows):
                raise ScoreError(f"{behaviour}, {side}: {len(given)} letters for {len(rows)} rows; give one a row.")
            about = {"kind": kind, "behaviour": behaviour, "side": side, "letter": given, "pair": range(len(rows))}
            parts.append(pd.DataFrame(about))
    frame = pd.concat(parts, ignore_index=True)
    rows = torch.cat([side for both in sides.values() for side in both])
    held_out = torch.from_numpy(frame["pair"].to_numpy() // block % 2 == 1)
    if kind == "lda":
        classes = (frame["behaviour"] + " " + frame["side"]).tolist()
        plane = lda_plane(rows, classes, ~held_out)
    elif kind == "pca":
        plane, held_out = pca_plane(rows), torch.ones(len(rows), dtype=torch.bool, device="cpu")
    else:
        raise ScoreError(f"kind {kind!r}; expected 'pca' or 'lda'.")
    x, y = plane.coordinates.T.tolist()
    return frame.assign(x=x, y=y, held_out=held_out.numpy(), share_x=plane.shares[0], share_y=plane.shares[1])
