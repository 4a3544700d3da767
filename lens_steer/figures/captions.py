# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportAttributeAccessIssue=false
"""Stubs of captions, made of the same frames as the figures: what is shown, n, interval, control, strength scale.

They say what the frame knows; the model's name is the frame's. What the figure is there to show is the author's to add.
"""

import pandas as pd

from lens_steer.figures.style import Caption, drawable

NO_STRENGTH = "none: directions are read, nothing is steered"


def lens_caption(tokens: pd.DataFrame) -> Caption:
    """Of `lens_panel`: a frame of `token_table` or `read_vector`."""
    frame = drawable(tokens, ("model", "vector", "reading", "n", "n_random", "note"))
    contextual = frame[frame["reading"] == "contextual"]
    strength, n = NO_STRENGTH, "the whole vocabulary"
    if len(contextual):
        strength = f"contextual: {contextual['note'].iloc[0]}; the others: {NO_STRENGTH}"
        n += f"; {int(contextual['n'].iloc[0])} contexts of the contextual reading"
    return Caption(
        shown=f"Tokens that the vector {_names(frame['vector'])} of {_names(frame['model'])} raises and lowers most, "
        f"by {_names(frame['reading'])} reading and by site.",
        n=n,
        interval="none drawn; in the data, 95 % bootstrap over contexts",
        control=_random(frame, "at the same end and rank; bold tokens are beyond their 95 %"),
        strength_scale=strength,
    )


def agreement_caption(agreement: pd.DataFrame) -> Caption:
    """Of `agreement_curves`: a frame of `agreement_table` or `read_vector`."""
    frame = drawable(agreement, ("model", "vector", "k", "n_random"))
    return Caption(
        shown=f"Agreement between readings of the vector {_names(frame['vector'])} of {_names(frame['model'])}: rank "
        f"correlation over the vocabulary, and common tokens of the {int(frame['k'].iloc[0])} at either end.",
        n="the whole vocabulary",
        interval="none: nothing is sampled but the contexts",
        control=_random(frame, "read the second way; the band is their 95 %"),
        strength_scale="that of the contextual reading, where there is one",
    )


def residual_caption(lens: pd.DataFrame, strength_scale: str) -> Caption:
    """Of `residual_lens_heatmap`: a frame of `residual_lens`, and what it does not say: how strongly was steered."""
    frame = drawable(lens, ("model", "run", "n"))
    random = frame.loc[frame["run"].str.startswith("random"), "run"].nunique()
    return Caption(
        shown=f"Logit lens of the residual stream of {_names(frame['model'])} at the last token: median rank of wanted "
        "tokens unsteered and steered, and the mean change of their log-probability.",
        n=f"{int(frame['n'].iloc[0])} contexts",
        interval="none drawn; in the data, 95 % bootstrap over contexts",
        control=f"{random} random directions; dots are changes within their range" if random else "none",
        strength_scale=strength_scale,
    )


def atlas_caption(atlas: pd.DataFrame) -> Caption:
    """Of `cosine_atlas_map`: a frame of `cosine_atlas`."""
    frame = drawable(atlas, ("model", "first", "null", "corrected", "p_holm"))
    rows = "directions with the covariance of the vectors' own data" if "rows" in set(frame["null"]) else "isotropic"
    corrected = "; below the diagonal corrected for noise by split halves" if frame["corrected"].notna().any() else ""
    return Caption(
        shown=f"Cosines between directions of {_names(frame['model'])}{corrected}.",
        n=f"{frame['p_holm'].notna().sum()} pairs",
        interval="none",
        control=f"random directions ({rows}); dots: two-sided p of at least 0.05 after Holm's correction",
        strength_scale=NO_STRENGTH,
    )


def plane_caption(planes: pd.DataFrame) -> Caption:
    """Of `plane_scatter`: a frame of `activation_plane`."""
    frame = drawable(planes, ("kind", "behaviour", "held_out"))
    counts = frame[frame["held_out"]].groupby("kind", sort=False).size()
    return Caption(
        shown=f"Activations of {_names(frame['behaviour'])} on two axes ({_names(frame['kind'])}); filled: positive.",
        n=", ".join(f"{count} activations ({kind})" for kind, count in counts.items()),
        interval="none",
        control="discriminants are fitted on other rows than are shown",
        strength_scale=NO_STRENGTH,
    )


def norm_caption(profile: pd.DataFrame) -> Caption:
    """Of `norm_curves`: a frame of `norm_profile`."""
    frame = drawable(profile, ("model", "vector"))
    return Caption(
        shown=f"Norms of the vectors {_names(frame['vector'])} of {_names(frame['model'])}, and the median norm of "
        "their training tokens' activations.",
        n=f"{frame['vector'].nunique()} vectors",
        interval="none",
        control="none",
        strength_scale="raw: the vectors as they were made",
    )


def energy_caption(profile: pd.DataFrame) -> Caption:
    """Of `energy_curves`: a frame of `energy_profile`."""
    frame = drawable(profile, ("model", "vector", "n_random"))
    return Caption(
        shown=f"Share of the squared norm of the vectors {_names(frame['vector'])} of {_names(frame['model'])} in "
        "their largest dimensions.",
        n=f"{frame['vector'].nunique()} vectors",
        interval="none",
        control=_random(frame, "the band is their 95 %"),
        strength_scale=NO_STRENGTH,
    )


def _names(column: pd.Series) -> str:
    return ", ".join(map(str, column.unique()))


def _random(frame: pd.DataFrame, what: str) -> str:
    count = int(frame["n_random"].max())
    return f"{count} random directions of the same norm, {what}" if count else "none"
