"""A direction read through the unembedding: which tokens it speaks for.

    logits = transform(W_U . final_norm(v) + b_U)     `logit_readout`; transform = the architecture's own

Source: nostalgebraist 2020, the logit lens. `logit_readout` applies the model's real final norm to the direction
itself, with statistics of the direction alone. So the reading does not change with the direction's length, and under
a LayerNorm the mean over coordinates is taken out and the norm's own bias is read along with it: that bias, and b_U,
would be read from any vector. To remove them, the reading here is antisymmetric: half the difference of the readings
of v and of -v, so that -v turns the table upside down. It says what the direction would write at the last layer, and
nothing of what the layers between make of it.
"""

import pandas as pd
import torch

from lens_steer.errors import ScoreError
from lens_steer.model import SteerableModel, fingerprint
from lens_steer.sites import Site, SiteLike
from lens_steer.vector import SteeringVector, require_same_model


def vector_lens(model: SteerableModel, vector: SteeringVector, site: SiteLike, k: int = 10) -> pd.DataFrame:
    """The tokens that a direction raises and lowers most.

    Args:
        model: the vector's model.
        vector: where the direction comes from.
        site: one of the vector's sites.
        k: how many tokens at each end.

    Returns:
        2 k rows: vector, site, end ("top" or "bottom"), rank (from 1), token id, token text and logit
        (natural-log units, at the scale of the final norm, not of a strength).

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector has no such site.
        ScoreError: k is below 1, or above half of the vocabulary.

    Source:
        nostalgebraist 2020, "interpreting GPT: the logit lens".

    Example:
        >>> from lens_steer import contrast_from_choices, extract, load_model
        >>> from lens_steer.lab.items import open_items
        >>> model = load_model("lab")
        >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
        >>> vector_lens(model, extract(model, pairs, "resid_post@7"), "resid_post@7", k=2)["end"].tolist()
        ['top', 'top', 'bottom', 'bottom']
    """
    from transformer_lens.tools.analysis import logit_readout

    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model of the lens")
    direction = vector.at(site)
    values = logit_readout(model, torch.stack([direction, -direction])).values.float().cpu()
    logits = (values[0] - values[1]) / 2
    if not 1 <= k <= logits.numel() // 2:
        raise ScoreError(f"k is {k}; give 1 to {logits.numel() // 2}, half of the vocabulary.")
    tokenizer = getattr(model, "tokenizer", None)
    rows = []
    for end, largest in (("top", True), ("bottom", False)):
        found = logits.topk(k, largest=largest)
        for rank, (logit, token) in enumerate(zip(found.values.tolist(), found.indices.tolist(), strict=True), 1):
            text = "" if tokenizer is None else tokenizer.decode([token])
            where = {"vector": vector.name, "site": str(Site.parse(site)), "end": end, "rank": rank}
            rows.append({**where, "token_id": token, "token": text, "logit": logit})
    return pd.DataFrame(rows)
