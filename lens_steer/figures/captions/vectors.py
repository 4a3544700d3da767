"""Captions of figures of vectors: lenses, agreement, cosines, planes, norms, energy."""

import pandas as pd

from lens_steer.figures.captions.common import (
    NO_STRENGTH,
    OF_THE_EDIT,
    compared,
    counted,
    directions,
    interval,
    names,
    of_model,
    sample,
)
from lens_steer.figures.style import Caption, words


def lens_caption(tokens: pd.DataFrame, groups: list[list[str]]) -> Caption:
    """Of `lens_panel`, with the readings of each panel."""
    contextual = tokens[tokens["reading"] == "contextual"]
    strength, n = NO_STRENGTH, "the whole vocabulary"
    if len(contextual):
        strength = f"contextual: {contextual['note'].iloc[0]}; the others: {NO_STRENGTH}"
        n += f"; {int(contextual['n'].iloc[0])} contexts of the contextual reading"
    agreed = "".join(
        f" {', '.join(group)} agree and are drawn once, with the values of {group[0]}; tokens that not all of them "
        "show are in italics."
        for group in groups if len(group) > 1
    )  # fmt: skip
    return Caption(
        shown=f"Tokens that the vector {names(tokens['vector'])}{of_model(tokens)} raises and lowers most, "
        f"by reading ({names(tokens['reading'])}) and site.{agreed}",
        n=n,
        interval=f"none drawn; in the data: {interval(contextual, 'contexts')}" if len(contextual) else "none: exact",
        control=compared(tokens, "at the same end and rank; bold tokens are outside their 95 %"),
        strength_scale=strength,
    )


def agreement_caption(agreement: pd.DataFrame) -> Caption:
    """Of `agreement_curves`."""
    return Caption(
        shown=f"Agreement between readings of the vector {names(agreement['vector'])}{of_model(agreement)}: rank "
        f"correlation over the vocabulary, and the share of common tokens among the {int(agreement['k'].iloc[0])} "
        "highest and lowest.",
        n="the whole vocabulary",
        interval="none: only the contexts are sampled",
        control=compared(agreement, "read the second way; the band is their 95 %"),
        strength_scale="that of the contextual reading, where there is one",
    )


def residual_caption(lens: pd.DataFrame) -> Caption:
    """Of `residual_lens_heatmap`; its frame does not contain the strength."""
    random = lens.loc[lens["run"].str.startswith("random"), "run"].nunique()
    return Caption(
        shown=f"Logit lens of the residual stream{of_model(lens)} at the last token: median rank of target "
        "tokens unsteered and steered, and the mean change in their log-probability.",
        n=sample(lens, "context"),
        interval=f"none drawn; in the data: {interval(lens, 'contexts')}",
        control=directions(random, "dots are changes within their range"),
        strength_scale=OF_THE_EDIT,
    )


def atlas_caption(atlas: pd.DataFrame) -> Caption:
    """Of `cosine_atlas_map`."""
    rows = "directions with the covariance of the vectors' own data" if "rows" in set(atlas["null"]) else "isotropic"
    corrected = "; below the diagonal corrected for noise by split halves" if atlas["corrected"].notna().any() else ""
    return Caption(
        shown=f"Cosines between directions{of_model(atlas)}{corrected}.",
        n=counted(int(atlas["p_holm"].notna().sum()), "pair"),
        interval="none: one vector a direction; p is against random directions",
        control=f"random directions ({rows}); dots: two-sided p of at least 0.05 after Holm's correction",
        strength_scale=NO_STRENGTH,
    )


def plane_caption(planes: pd.DataFrame) -> Caption:
    """Of `plane_scatter`."""
    counts = planes[planes["held_out"]].groupby("kind", sort=False).size()
    return Caption(
        shown=f"Activations of {names(planes['behaviour'])} on two axes ({names(planes['kind'])}); filled: positive.",
        n=", ".join(f"{count} activations ({kind})" for kind, count in counts.items()),
        interval="none: every activation is drawn",
        control="discriminants are fitted on rows that are not shown",
        strength_scale=NO_STRENGTH,
    )


def norm_caption(profile: pd.DataFrame) -> Caption:
    """Of `norm_curves`."""
    return Caption(
        shown=f"Norms of the vectors {names(profile['vector'])}{of_model(profile)}, and the median norm of "
        "their training tokens' activations.",
        n=counted(profile["vector"].nunique(), "vector"),
        interval="none: one vector each, of one training set",
        control="none: activation norms are the comparison",
        strength_scale="raw: the vectors as extracted",
    )


def energy_caption(profile: pd.DataFrame) -> Caption:
    """Of `energy_curves`."""
    return Caption(
        shown=f"Share of the squared norm of the vectors {names(profile['vector'])}{of_model(profile)} in "
        "their largest dimensions.",
        n=counted(profile["vector"].nunique(), "vector"),
        interval="none: one vector each, of one training set",
        control=compared(profile, "the band is their 95 %"),
        strength_scale=NO_STRENGTH,
    )


def cosines_caption(cosines: pd.DataFrame) -> Caption:
    """Of `cosine_heatmap`."""
    chance = cosines["chance"].max() if "chance" in cosines.columns else None
    return Caption(
        shown=f"Cosines between the vectors of {words(names(cosines['first']))}{of_model(cosines)}, by site.",
        n=f"{counted(cosines['first'].nunique(), 'vector')}, {counted(cosines['site'].nunique(), 'site')}",
        interval="none: one vector each, of one training set",
        control="none: the table has no cosine of random directions"
        if chance is None
        else f"random directions have a cosine of {chance:.2g} in size",
        strength_scale=NO_STRENGTH,
    )


def tokens_caption(tokens: pd.DataFrame) -> Caption:
    """Of `lens_bars`."""
    return Caption(
        shown=f"The tokens that the vector of each behaviour ({words(names(tokens['behaviour']))}){of_model(tokens)} "
        "promotes and suppresses most, through the unembedding.",
        n="the whole vocabulary",
        interval="none: the unembedding is exact",
        control="none: random directions are in the lens panel",
        strength_scale=NO_STRENGTH,
    )
