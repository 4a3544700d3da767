"""Attention patterns of heads over one text, such as the heads that read a steering vector.

    pattern[head, to, from] >= 0, each row of a head sums to 1

Hovering over a head enlarges it; a click selects it. Each pair of tokens is one square: a hundred tokens are slow to
draw, a thousand are too many.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from lens_steer.errors import DataError
from lens_steer.figures.views.view import Drawing, View, visible

DECIMALS, WIDTH = 4, 720


def attention_view(
    patterns: Float[np.ndarray, "head pos pos"],
    tokens: Sequence[str],
    heads: Sequence[str],
    causal: bool = True,
) -> View:
    """The attention patterns of heads over one text.

    Args:
        patterns: attention weights of each head, from each query token (second axis) to each key token (third axis).
        tokens: the tokens of the text.
        heads: the name of each head, such as `5.3`.
        causal: grey out the pairs that a causal head cannot attend to.

    Returns:
        The view, one drawing for all heads.

    Raises:
        DataError: no heads or tokens, shapes that disagree, or weights that are not finite.
    """
    if patterns.shape != (len(heads), len(tokens), len(tokens)) or not len(heads) or not len(tokens):
        raise DataError(
            f"patterns of shape {patterns.shape} with {len(heads)} heads and {len(tokens)} tokens; give "
            f"({len(heads)}, {len(tokens)}, {len(tokens)}), and at least one of each."
        )
    if not np.isfinite(patterns).all():
        raise DataError("an attention weight is NaN or infinite; give patterns after the softmax.")
    properties = {
        "attention": patterns.astype(float).round(DECIMALS).tolist(),
        "attentionHeadNames": list(heads),
        "tokens": [visible(token) for token in tokens],
        "minValue": 0,
        "maxValue": 1,
        "maskUpperTri": causal,
    }
    return View(drawings=(Drawing(element="AttentionHeads", properties=properties, width=WIDTH),))
