"""`extract`: the activations of a contrast at all requested sites in one pass, streamed through a method.

    for each pair:  prompt + positive -> pos,   prompt + negative -> neg      (at the chosen position)
    direction[site] = method(pos[site], neg[site])      activation_norm[site] = median ||h[site]|| over the tokens read

Prompt and completion are tokenised together, as the model would read them. `last` is the last token of prompt +
completion, so for letter completions the letter. The common prefix of a pair is forwarded once, and every pass stops at
the last requested site. Memory does not grow with the number of pairs, except for their tokens (four bytes each) and
for methods that keep all rows. Whether the direction steers is not tested here.

Example:
    >>> from lens_steer import contrast_from_choices, extract, load_model
    >>> from lens_steer.lab.items import open_items
    >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
    >>> model = load_model("lab")
    >>> vector = extract(model, pairs, sites="resid_post@0:2")
    >>> vector.at(1).shape, vector.n_positive
    (torch.Size([128]), 20)
    >>> extract(model, ["I love this.", "What joy."], ["I hate this.", "What grief.", "Oh no."]).n_negative
    3
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lens_steer.data.contrast import Contrast, ContrastSet, as_contrast
from lens_steer.errors import SteeringWarning
from lens_steer.extraction.fitting import Fitting
from lens_steer.extraction.methods import find_method
from lens_steer.extraction.options import ExtractOptions
from lens_steer.extraction.task import ExtractionTask, prepare, recordings
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Sites, sites_of
from lens_steer.model import SteerableModel, fingerprint, require_model, versions
from lens_steer.vector import SteeringVector


def extract(
    model: SteerableModel,
    source: Contrast,
    negatives: Sequence[str] | None = None,
    sites: Sites = "resid_post@*",
    method: str = "mean_difference",
    position: str | int | Sequence[int] | Positions = "last",
    batch_size: int = 32,
    cache: str | Path | None = None,
    options: ExtractOptions | None = None,
    paired: bool = False,
) -> SteeringVector:
    """Extracts a steering vector from two lists of texts, from pairs, or from a contrast.

    Args:
        model: a loaded model.
        source: positive texts; (positive, negative) pairs of texts; or a contrast set or text contrast.
        negatives: negative texts, where the source is a list of positive texts.
        sites: in the syntax of `parse_sites`; all in one pass.
        method: a name of `lens_steer.extraction.methods.METHODS`.
        position: which tokens are read, in the syntax of `Positions.parse`.
        batch_size: sequences in one forward pass.
        cache: a folder for activations; those of this model, data and position are not computed again.
        options: less common settings.
        paired: whether text i of both lists is a pair; otherwise the lists may differ in length.

    Returns:
        A direction at each site, from the negative to the positive class, with its provenance. `n_positive` and
        `n_negative` count the activations of each class; `options` has the settings and counts of the extraction.

    Raises:
        ArgumentError: the first argument is not a model.
        SiteError: the model has no such site.
        ContrastError: the source is of another kind; the message shows the call to write.
        PositionError, ContrastError, DataError: a sequence is invalid or has no such position; it is named.
        MethodError: an unknown method or option, a method that needs another contrast, or too much memory.
        ActivationError: an activation is NaN or infinite; the sequence and the site are named.
        DirectionError: the two classes differ at none of the sites. Where they differ at some, the others are left out
            with a `SteeringWarning`.
        SteeringError: a cache was asked for while hooks are installed on the model.
    """
    require_model(model, "extract(model, positives, negatives)", source, negatives, sites)
    contrast = as_contrast(source, negatives, paired)
    options, wanted = options or ExtractOptions(), sites_of(model, sites)
    task = prepare(model, contrast, wanted, method, Positions.parse(position), batch_size, options)
    fitting = Fitting(method, options, task.sequences, wanted)
    for recording in recordings(model, task, cache, options.progress):
        fitting.update(recording)
    directions, notes = fitting.fit()
    if fitting.left_out:
        reasons = "; ".join(f"{site}: {reason}" for site, reason in fitting.left_out.items())
        warnings.warn(
            f"vector {options.name or contrast.name!r} has no direction at {len(fitting.left_out)} of {len(wanted)} "
            f"sites, which are left out, and nothing can be steered there. {reasons}.",
            SteeringWarning,
            stacklevel=2,
        )
    return SteeringVector(
        name=options.name or contrast.name,
        directions=directions,
        method=method,
        position=str(task.reading.rule),
        data_hash=contrast.hash,
        n_positive=task.n_positive,
        n_negative=task.n_negative,
        activation_norms=fitting.norms(),
        fingerprint=fingerprint(model),
        options=_provenance(task, options, fitting) | ({"notes": notes} if notes else {}),
        versions=versions(),
    )


def _provenance(task: ExtractionTask, options: ExtractOptions, fitting: Fitting) -> dict[str, Any]:
    """The vector's `options`: settings and counts of the extraction.

    The number of pairs and, for a grouped method, of each group; the number of texts of each class and `max_tokens`;
    the method's options; `dropped` activations by site; sites `left_out` and why; the number of sequences `cut` to the
    context; and why common prefixes were not shared.
    """
    source, method = task.sequences.source, find_method(fitting.method)
    said: dict[str, Any] = {}
    if isinstance(source, ContrastSet):
        said["pairs"] = source.n
        if method.grouped:
            groups = [pair.group for pair in source.pairs]
            said["groups"] = {group: groups.count(group) for group in sorted(set(groups))}
    else:
        said |= {"positive_texts": len(source.positive), "negative_texts": len(source.negative)}
        said |= {"max_tokens": source.max_tokens} if source.max_tokens is not None else {}
    if options.method:
        said["method"] = dict(options.method)
    if options.drop_massive:
        said["dropped"] = {str(site): count for site, count in fitting.dropped.items()}
    if fitting.left_out:
        said["left_out"] = {str(site): reason for site, reason in fitting.left_out.items()}
    if task.sequences.cut:
        said["cut"] = task.sequences.cut
    if task.why_not_shared:
        said["prefix_not_shared"] = task.why_not_shared
    return said
