"""In-context vectors of demonstrations, whose activations are read at the last token or averaged over the last few.

    H(text) = mean over the last k tokens of the activations at all sites, side by side    k = 1 `last`, 4 `last_four`
    v       = mean_i [H(positive_i) - H(negative_i)] + first principal component of these differences

Liu et al. 2023 (arXiv 2311.06668) read the last token; the code of Brumley et al. 2024 (arXiv 2411.07213) is reported
to average the last four. Both readings have a name here, because they are different vectors. Tokens that the tokenizer
puts in front of every text are not averaged; a shorter text is averaged over what it has. The formula is in
`extraction.methods.in_context`.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import MethodError
from lens_steer.extraction.methods.in_context import fit_in_context_vector
from lens_steer.extraction.record import record, token_rows
from lens_steer.hooks.sites import Site, Sites, sites_of
from lens_steer.model import SteerableModel, fingerprint, opening_tokens, versions
from lens_steer.vector import SteeringVector

Reading = Literal["last", "last_four"]
TOKENS: dict[str, int] = {"last": 1, "last_four": 4}


def extract_in_context_vector(
    model: SteerableModel,
    contrast: ContrastSet,
    sites: Sites = "resid_post@*",
    reading: Reading = "last",
    batch_size: int = 32,
) -> SteeringVector:
    """Makes the in-context vector of paired demonstrations.

    Args:
        model: a loaded model.
        contrast: pairs; prompt and completion are read as one text.
        sites: in the syntax of `parse_sites`; the vector is joint over all of them.
        reading: which tokens of a text are averaged.
        batch_size: texts in one forward pass.

    Returns:
        A direction at each site, to be written by `hooks.operators.InContextAdd`. With `last` it is that of
        `extract(model, contrast, method="in_context_vector")`.

    Raises:
        MethodError: an unknown reading, fewer than two pairs, or differences that do not vary.
        SiteError: the model has no such site.

    Source:
        Liu et al. 2023, "In-context Vectors", arXiv 2311.06668.
    """
    if reading not in TOKENS:
        raise MethodError(f"reading {reading!r} of an in-context vector; give one of {', '.join(TOKENS)}.")
    wanted = sites_of(model, sites)
    sides = [[pair.prompt + getattr(pair, side) for pair in contrast.pairs] for side in ("positive", "negative")]
    means = [_read(model, texts, wanted, TOKENS[reading], batch_size) for texts in sides]
    positive, negative = (torch.cat([side[site] for site in wanted], dim=1) for side in means)
    fit = fit_in_context_vector(positive, negative)
    parts = fit.direction.split([means[0][site].shape[1] for site in wanted])
    return SteeringVector(
        name=contrast.name,
        directions=dict(zip(wanted, parts, strict=True)),
        method="in_context_vector",
        position=reading,
        data_hash=contrast.hash,
        n_positive=contrast.n,
        n_negative=contrast.n,
        activation_norms={
            site: float(torch.cat([side[site] for side in means]).norm(dim=1).median()) for site in wanted
        },
        fingerprint=fingerprint(model),
        options={"reading": reading, "notes": {"all": dict(fit.notes)}},
        versions=versions(),
    )


def _read(
    model: SteerableModel, texts: list[str], sites: tuple[Site, ...], tokens: int, batch_size: int
) -> dict[Site, Float[Tensor, "n width"]]:
    """The mean activations of the last tokens of each text."""
    rows, opening = token_rows(model, texts), len(opening_tokens(model))
    lengths = [len(row) for row in rows]
    starts = torch.tensor([max(length - tokens, min(opening, length - 1)) for length in lengths], device="cpu")
    counts = torch.tensor(lengths, device="cpu") - starts
    total: dict[Site, Tensor] = {}
    for batch in record(model, texts, sites, "all", batch_size=batch_size):
        kept = batch.positions >= starts[batch.sequences]
        for site in sites:
            values = batch.activations[site][kept].double()
            zeros = torch.zeros(len(texts), values.shape[1], dtype=torch.float64, device="cpu")
            total.setdefault(site, zeros).index_add_(0, batch.sequences[kept], values)
    return {site: (values / counts[:, None]).float() for site, values in total.items()}
