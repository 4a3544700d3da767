"""Vectors of shuffled labels: the control of a vector that its texts make, whatever they are called.

    v_k[site]  =  ||v[site]|| u_k[site] / ||u_k[site]||,      u_k = method(texts, labels shuffled with seed k)

They lie where the training texts vary, as the vector in question does and random directions do not, and move answers
further than random directions of the same norm: beside these alone, one in five of them passes for a vector that
steers on the lab (docs/statistics.md). All of them are fitted in one pass over the activations.
"""

import math
from pathlib import Path

from lens_steer.data.contrast import ContrastSet
from lens_steer.data.corpora import TextContrast
from lens_steer.errors import ContrastError
from lens_steer.extraction.fitting import Fitting
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.task import prepare, recordings
from lens_steer.hooks.positions import Positions
from lens_steer.model import SteerableModel
from lens_steer.vector import SteeringVector


def shuffled_vectors(
    model: SteerableModel,
    vector: SteeringVector,
    contrast: ContrastSet | TextContrast,
    n: int,
    seed: int = 0,
    batch_size: int = 32,
    cache: str | Path | None = None,
    options: ExtractOptions | None = None,
) -> list[SteeringVector]:
    """Fits vectors to a contrast with shuffled labels, at the sites and with the norms of its own vector.

    Args:
        model: the vector's model.
        vector: what `extract` made of the contrast; gives sites, norms, method and the tokens read.
        contrast: of pairs, of whose questions a random half is exchanged; or of two lists, whose texts are dealt out
            anew.
        n: how many.
        seed: of the first; the labels of vector k are those of `shuffled_labels(contrast, seed + k)`.
        batch_size: sequences in one forward pass.
        cache: a folder of activations, shared with `extract`.
        options: those with which the vector was made.

    Returns:
        `n` vectors named `shuffled SEED`.

    Raises:
        ContrastError: so few texts that labels cannot be shuffled in twice as many ways.
        DirectionError: a direction of shuffled labels is zero.
        SiteError, PositionError, DataError, MethodError, ActivationError: as `extract`.
    """
    units = len(contrast.questions) if isinstance(contrast, ContrastSet) else contrast.n
    first = units // 2 if isinstance(contrast, ContrastSet) else len(contrast.positive)
    if (ways := math.comb(units, first)) < 2 * n:
        raise ContrastError(
            f"contrast {contrast.name!r} has {units} questions or texts, whose labels can be shuffled in {ways} ways; "
            f"{n} vectors of shuffled labels need twice as many ways. Give more, or ask for fewer vectors."
        )
    options, sites = options or ExtractOptions(), tuple(vector.directions)
    task = prepare(model, contrast, sites, vector.method, Positions.parse(vector.position), batch_size, options)
    seeds = range(seed, seed + n)
    fittings = [Fitting(vector.method, options, task.sequences.shuffled(k), sites) for k in seeds]
    for recording in recordings(model, task, cache, options.progress):
        for fitting in fittings:
            fitting.update(recording)
    found = []
    for k, fitting in zip(seeds, fittings, strict=True):
        directions, _ = fitting.fit()
        scaled = {site: u * (vector.directions[site].norm() / u.norm()) for site, u in directions.items()}
        found.append(vector.replaced(f"shuffled {k}", scaled, options={"seed": k, "norms_of": vector.name}))
    return found
