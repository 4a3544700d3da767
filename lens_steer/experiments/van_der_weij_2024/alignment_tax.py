"""The alignment tax of simultaneous steering: next-token accuracy on all of the Pile under the same injection.

    top1(s)     = sum_d accuracy_d tokens_d / sum_d tokens_d      micro-average over the documents of strength s
    relative(s) = top1(s) / top1(0)

Source: van der Weij et al. 2024 (arXiv 2403.05767), results/coding/v_10.02.json; their figure shows top1(s), not
relative(s). The code that produced the file was not released: which model it was measured on is not known, nor whether
every strength read the same documents, so no interval is given.
"""

from pathlib import Path

import pandas as pd

from lens_steer.errors import DataError, FormatError
from lens_steer.experiments.van_der_weij_2024.checkout import group, number_after, read_results
from lens_steer.experiments.van_der_weij_2024.skills import PREFIX, averages

ALIGNMENT_TAX = "v_10.02.json"
TEXTS = "all"


def published_alignment_tax(folder: str | Path) -> pd.DataFrame:
    """Rebuilds the alignment tax of simultaneous steering from a checkout.

    Args:
        folder: the checkout of the paper's repository.

    Returns:
        One row a strength, growing: strength (the scalar of simultaneous steering), documents, tokens, top1 (a share)
        and relative_top1 (to strength 0).

    Raises:
        FormatError: the folder or the file is missing, or the file is truncated, or has no strength 0.
        DataError: a strength is there twice or has not one share a document, or nothing is right at strength 0.
    """
    content = read_results(folder, ALIGNMENT_TAX)
    rows = [
        {"strength": round(number_after(PREFIX, key, ALIGNMENT_TAX), 4) + 0.0}
        | averages(content, TEXTS, key, ALIGNMENT_TAX, {"top1": "top1_acc"})
        for key in group(content, TEXTS, ALIGNMENT_TAX)
    ]
    frame = pd.DataFrame(rows, columns=["strength", "documents", "tokens", "top1"])
    frame = frame.sort_values("strength", ignore_index=True)
    unsteered = frame.loc[frame["strength"] == 0, "top1"]
    if unsteered.empty:
        raise FormatError(f"{ALIGNMENT_TAX}: no strength 0 among {list(frame['strength'])}; check the file out again.")
    if not frame["strength"].is_unique or unsteered.item() <= 0:
        raise DataError(
            f"{ALIGNMENT_TAX}: the strengths are {list(frame['strength'])}, with a top-1 of {list(unsteered)} at 0; "
            "expected each once, and a top-1 above 0 to which the others are relative."
        )
    return frame.assign(relative_top1=frame["top1"] / unsteered.item())
