"""Several behaviours of the lab at once: what `lens-steer reproduce` runs after individual steering.

Combined steering is at the site that most behaviours were steered at best, simultaneous steering at consecutive layers
from there on in the order of the behaviours, which is as arbitrary here as it was in the paper. Vectors are those of
individual steering; few items, since every cell is asked on all behaviours.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lens_steer.data.splits import Splits
from lens_steer.errors import SiteError
from lens_steer.experiments.many_behaviours import Many, ManyResult, many_behaviours
from lens_steer.experiments.multi_behaviour import IndividualResult
from lens_steer.lab.corpora import lab_corpus
from lens_steer.model import SteerableModel

ITEMS = {"validation": 8, "test": 12}
TEXTS = {"train": 1, "validation": 5, "test": 8}
LAB_MANY = Many(site="", places={}, strengths=(0, 0.125, 0.25, 0.5, 1, 2), n_random=6, max_tokens=128)
"""Without its sites, which `lab_settings` fills in."""


def lab_settings(result: IndividualResult, settings: Many = LAB_MANY) -> Many:
    """The sites and positions of steering at once, from those of steering one by one.

    Args:
        result: of individual steering.
        settings: everything else.

    Returns:
        The settings with site, places and positions.

    Raises:
        SiteError: the vectors have fewer sites than there are behaviours.
    """
    points = list(result.points.values())
    (site, positions), _ = Counter((point.site, point.positions) for point in points).most_common(1)[0]
    names, sites = list(result.vectors), next(iter(result.vectors.values())).sites
    first = min(sites.index(site), len(sites) - len(names))
    if first < 0:
        raise SiteError(f"{len(sites)} sites for {len(names)} behaviours; simultaneous steering needs one for each.")
    places = {name: str(place) for name, place in zip(names, sites[first:], strict=False)}
    return replace(settings, site=str(site), places=places, positions=str(positions))


def lab_many(
    model: SteerableModel,
    result: IndividualResult,
    behaviours: Mapping[str, Splits],
    seed: int = 0,
    settings: Many = LAB_MANY,
) -> ManyResult:
    """Steers the lab's behaviours at once.

    Args:
        model: the lab.
        result: of individual steering of these behaviours.
        behaviours: the items.
        seed: of random directions and intervals.
        settings: without sites.

    Returns:
        Tidy frames.
    """
    fewer = {
        name: Splits(train=splits.train, **{part: getattr(splits, part)[:n] for part, n in ITEMS.items()})
        for name, splits in behaviours.items()
    }
    ready = replace(lab_settings(result, settings), seed=seed)
    return many_behaviours(model, result.vectors, fewer, lab_corpus("text", **TEXTS), ready)
