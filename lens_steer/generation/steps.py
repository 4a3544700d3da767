"""A continuation token by token: how far each was edited, and how far its prediction is from the unsteered one.

    change   sum over interventions of ||after - before|| / ||before||;  0 where a token was not edited
    kl       KL(p_t || q_t) from the steered to the unsteered prediction of the token, nats;  NaN in the prompt

The report draws a table of these rows, over several strengths, as text that a slider steps through.
"""

from collections.abc import Sequence

import pandas as pd

from lens_steer.errors import DataError
from lens_steer.generation.decoding import Decoding
from lens_steer.generation.results import Continuation
from lens_steer.generation.trace import trace
from lens_steer.hooks import Interventions, as_interventions
from lens_steer.model import SteerableModel, pieces

COLUMNS = ("position", "piece", "generated", "change", "kl")


def token_steps(
    model: SteerableModel,
    continuation: Continuation,
    interventions: Interventions = (),
    decoding: Decoding | None = None,
) -> pd.DataFrame:
    """The tokens of a prompt and its continuation, with the edit of each.

    Args:
        model: the model that wrote it.
        continuation: from `generate(..., record=True)`, of one prompt or, where the likeliest token is taken, of any.
        interventions: what steered it; none for an unsteered continuation.
        decoding: as it was written.

    Returns:
        One row a token: `position`, `piece` (its text), `generated`, `change` and `kl`.

    Raises:
        DataError: the continuation has no record, or is not what these interventions and settings write.

    Example:
        >>> from lens_steer import Decoding, Intervention, generate, load_model
        >>> import torch
        >>> model, how = load_model("lab"), Decoding(max_new_tokens=4, stop_at_eos=False)
        >>> push = Intervention.at("resid_post@3", torch.ones(128), 0.5, "generated")
        >>> written = generate(model, "Once upon a time", push, how, record=True).continuations[0]
        >>> steps = token_steps(model, written, push, how)
        >>> steps["generated"].sum(), (steps["change"] > 0).sum()
        (np.int64(4), np.int64(3))
    """
    plan, given = as_interventions(interventions), list(continuation.prompt_tokens)
    tokens = [*given, *continuation.tokens]
    if "kl" not in continuation.record:
        raise DataError("the continuation has no KL; write it with generate(..., record=True).")
    changes = [0.0] * len(tokens)
    if plan:
        found = trace(model, given, plan, decoding)
        if list(found.tokens) != tokens:
            raise DataError(
                f"the continuation of {continuation.prompt!r} is not what these interventions write; give those that "
                "wrote it, with its decoding."
            )
        for position, size in found.to_frame()[["position", "relative"]].itertuples(index=False):
            changes[position] += size
    kl: Sequence[float] = (*[float("nan")] * len(given), *continuation.record["kl"])
    generated = [position >= len(given) for position in range(len(tokens))]
    rows = zip(range(len(tokens)), pieces(model, tokens), generated, changes, kl, strict=True)
    return pd.DataFrame(rows, columns=list(COLUMNS))
