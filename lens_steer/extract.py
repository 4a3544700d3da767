"""Vectors from data: the activations of a contrast set, streamed through a method, at every wanted site in one pass.

    for each pair:  prompt + positive -> pos,   prompt + negative -> neg      (at the chosen position)
    direction[site] = method(pos[site], neg[site])      activation_norm[site] = median ||h[site]|| over the tokens read

The prompt and its completion are tokenised together, as the model would read them. `last` is the last token of prompt
+ completion: the letter itself where the completion is a letter, the end of the text where it is a text. Memory does
not grow with the number of pairs, but for one norm a token and site. It does not judge whether the direction steers
anything.

Example:
    >>> from lens_steer import contrast_from_choices, extract, load_model
    >>> from lens_steer.lab.items import open_items
    >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
    >>> vector = extract(load_model("lab"), pairs, "resid_post@0:2")
    >>> vector.at("resid_post@1").shape, vector.n_positive
    (torch.Size([128]), 20)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lens_steer.data.contrast import ContrastSet
from lens_steer.errors import PositionError
from lens_steer.methods import Fitter, make_fitter
from lens_steer.model import SteerableModel, fingerprint, tokenize, versions
from lens_steer.positions import Positions
from lens_steer.record import record
from lens_steer.sites import Site, SiteLike, parse_sites
from lens_steer.vector import SteeringVector


def extract(
    model: SteerableModel,
    contrast_set: ContrastSet,
    sites: SiteLike | Sequence[SiteLike] = "resid_post@*",
    method: str = "mean_difference",
    position: str | int | Sequence[int] | Positions = "last",
    batch_size: int = 32,
    progress: bool = False,
) -> SteeringVector:
    """Makes a steering vector of a contrast set.

    Args:
        model: a loaded model.
        contrast_set: pairs of completions of one prompt.
        sites: as `parse_sites` reads them; all in one pass.
        method: a name of `lens_steer.methods.FITTERS`.
        position: which tokens are read, as `Positions.parse` reads them.
        batch_size: sequences in one forward pass.
        progress: draw a progress bar.

    Returns:
        A direction at each site, from the negative to the positive side, with its provenance; `n_positive` and
        `n_negative` count the activations read on each side.

    Raises:
        SiteError: the model has no such site.
        PositionError: a completion has no token at that position, or the prompt's tokens change when it is completed.
        MethodError: there is no such method.
        DirectionError: the two sides do not differ at a site.
    """
    rule, wanted = Positions.parse(position), parse_sites(sites, int(model.cfg.n_layers), int(model.cfg.n_heads))
    fitters: dict[Site, Fitter] = {site: make_fitter(method) for site in wanted}
    texts = [pair.prompt + side for pair in contrast_set.pairs for side in (pair.positive, pair.negative)]
    rows = tokenize(model, texts)
    lengths = _prompt_lengths(model, contrast_set, rows) if rule.needs_prompt_lengths else None
    norms: dict[Site, list[Tensor]] = {site: [] for site in wanted}
    counts = torch.zeros(len(rows), dtype=torch.long)
    for batch in record(model, rows, wanted, rule, lengths, batch_size=batch_size, progress=progress):
        counts += torch.bincount(batch.sequences, minlength=len(rows))
        positive = batch.sequences % 2 == 0
        for site in wanted:
            activations = batch.activations[site]
            fitters[site].update(activations[positive], activations[~positive])
            norms[site].append(activations.norm(dim=-1))
    _check_counts(contrast_set, rule, counts)
    return SteeringVector(
        name=contrast_set.name,
        directions={site: fitter.fit() for site, fitter in fitters.items()},
        method=method,
        position=str(rule),
        data_hash=contrast_set.hash,
        n_positive=int(counts[0::2].sum()),
        n_negative=int(counts[1::2].sum()),
        activation_norms={site: float(torch.cat(parts).median()) for site, parts in norms.items()},
        fingerprint=fingerprint(model),
        options={"pairs": contrast_set.n},
        versions=versions(),
    )


def _check_counts(contrast_set: ContrastSet, rule: Positions, counts: Int[Tensor, " n"]) -> None:
    """Refuses a position that some completion does not have."""
    if not bool(counts.all()):
        empty = contrast_set.pairs[int((counts == 0).nonzero()[0]) // 2]
        raise PositionError(
            f"contrast set {contrast_set.name!r}, pair {empty.id!r}: position {str(rule)!r} selects no token of one "
            "side; choose a position that every sequence has, such as 'last'."
        )


def _prompt_lengths(model: SteerableModel, contrast_set: ContrastSet, rows: list[list[int]]) -> list[int]:
    """The prompt's length in each row, where the completed prompt begins with the prompt's own tokens."""
    prompts = tokenize(model, [pair.prompt for pair in contrast_set.pairs])
    lengths = []
    for index, row in enumerate(rows):
        prompt = prompts[index // 2]
        if row[: len(prompt)] != prompt:
            pair = contrast_set.pairs[index // 2]
            raise PositionError(
                f"contrast set {contrast_set.name!r}, pair {pair.id!r}: the prompt's tokens change when it is "
                "completed, so its length is not defined. Move the space or bracket between prompt and "
                "completion to the other side, or read at 'last'."
            )
        lengths.append(len(prompt))
    return lengths
