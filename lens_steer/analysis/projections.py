"""Projection maps: the projection of each token of a text on a direction, unsteered and steered.

    projection = < h, u >,  u = v / ||v||       cosine = < h, u > / ||h||       z = (< h, u > - m) / s

m and s are mean and standard deviation of the projection over the tokens of neutral texts, unsteered, without the
first token (BOS or an attention sink, whose norm is much larger); the table does include first tokens. A projection
shows that a direction is present, not that the model uses it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.analysis.steered import collect
from lens_steer.errors import ScoreError
from lens_steer.extraction.record import ReadSpec, Recording, TokenRows, token_rows
from lens_steer.hooks import Interventions, as_interventions
from lens_steer.hooks.positions import Positions
from lens_steer.hooks.sites import Site, SiteLike, check_site
from lens_steer.model import Prompts, SteerableModel, fingerprint, pieces, require_model, require_same_model
from lens_steer.vector import SteeringVector


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class ProjectionMap:
    """The projections of every token; `neutral` holds mean and standard deviation over neutral tokens, where given."""

    vector: str
    site: Site
    interventions: tuple[str, ...]
    neutral: tuple[float, float] | None
    frame: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each token and run: vector, site, text, position, token, piece, steered, projection,
        cosine, and z (NaN without neutral texts)."""
        return self.frame.copy()


def projection_map(
    model: SteerableModel,
    texts: Prompts,
    vector: SteeringVector,
    site: SiteLike,
    interventions: Interventions = (),
    neutral: Sequence[str] | Sequence[Sequence[int]] = (),
    prompt_lengths: Sequence[int] | None = None,
    batch_size: int = 32,
) -> ProjectionMap:
    """Projects every token of some texts on a direction.

    Args:
        model: the vector's model.
        texts: texts (BOS is added once), or token rows.
        vector: where the direction comes from.
        site: one of its sites, read after every edit there.
        interventions: what steers in a second run over the same tokens; none, and there is no second run.
        neutral: texts that say what is usual, for z.
        prompt_lengths: tokens of each text's prompt, for interventions that speak of it; the whole text where absent.
        batch_size: texts in one forward pass.

    Returns:
        The projections, in the units of the site's activations.

    Raises:
        MismatchError: a vector of another model.
        SiteError: the vector or the model has no such site.
        ScoreError: the neutral texts have fewer than two tokens, or always the same projection.
        SteeringError: an intervention selected no token of any text.

    Example:
        >>> from lens_steer import contrast_from_choices, extract, load_model
        >>> from lens_steer.lab.items import open_items
        >>> model = load_model("lab")
        >>> pairs = contrast_from_choices("myopic", open_items("myopic", 10, split="train"), answer="text")
        >>> found = projection_map(model, "Once upon a time", extract(model, pairs, sites=3), site=3)
        >>> found.to_frame()["steered"].tolist() == [False] * len(found.to_frame())
        True
    """
    require_model(model, "projection_map(model, texts, vector, site)", texts, vector)
    require_same_model(vector.fingerprint, fingerprint(model), f"vector {vector.name!r} and the model of the map")
    where, interventions = Site.parse(site), as_interventions(interventions)
    unit = vector.at(where) / vector.norm(where)
    check_site(model, where)
    rows = token_rows(model, texts)
    usual = _neutral(model, where, unit, neutral, batch_size) if neutral else None
    reading = ReadSpec(sites=(where,), rule=Positions("all"), prompt_lengths=prompt_lengths)
    frames = []
    for plan in ((), interventions)[: 1 + bool(interventions)]:
        parts = collect(model, rows, reading, plan, batch_size, lambda found: _projected(found, where, unit))
        whole = pd.concat(parts, ignore_index=True).sort_values(["text", "position"], kind="stable")
        frames.append(whole.assign(steered=bool(plan)))
    frame = _labelled(model, rows, pd.concat(frames, ignore_index=True), vector.name, where, usual)
    plans = tuple(str(entry) for entry in interventions)
    return ProjectionMap(vector=vector.name, site=where, interventions=plans, neutral=usual, frame=frame)


def _projected(found: Recording, site: Site, unit: Float[Tensor, " width"]) -> pd.DataFrame:
    """Projection and cosine of each token of a batch."""
    activations = found.activations[site].double()
    projection = activations @ unit.double()
    cosine = projection / activations.norm(dim=1).clamp_min(1e-12)
    columns = {"text": found.sequences, "position": found.positions, "projection": projection, "cosine": cosine}
    return pd.DataFrame({name: values.tolist() for name, values in columns.items()})


def _neutral(
    model: SteerableModel,
    site: Site,
    unit: Float[Tensor, " width"],
    texts: Sequence[str] | Sequence[Sequence[int]],
    batch_size: int,
) -> tuple[float, float]:
    """Mean and standard deviation of the projection over neutral tokens."""
    reading = ReadSpec(sites=(site,), rule=Positions("content"))
    rows = token_rows(model, texts)
    parts = collect(
        model, rows, reading, (), batch_size, lambda found: found.activations[site].double() @ unit.double()
    )
    values = torch.cat(parts)
    spread = float(values.std()) if len(values) > 1 else 0.0
    if not spread > 0:
        raise ScoreError(
            f"{len(values)} neutral tokens, or all with the same projection: z is undefined; give more neutral text."
        )
    return float(values.mean()), spread


def _labelled(
    model: SteerableModel,
    rows: TokenRows,
    frame: pd.DataFrame,
    vector: str,
    site: Site,
    usual: tuple[float, float] | None,
) -> pd.DataFrame:
    """The table with tokens, names and z."""
    said = {text: (rows[text], pieces(model, rows[text])) for text in dict.fromkeys(frame["text"])}
    places = list(zip(frame["text"], frame["position"], strict=True))
    mean, spread = usual or (float("nan"), float("nan"))
    return pd.DataFrame(
        {
            "vector": vector,
            "site": str(site),
            "text": frame["text"],
            "position": frame["position"],
            "token": [said[text][0][position] for text, position in places],
            "piece": [said[text][1][position] for text, position in places],
            "steered": frame["steered"],
            "projection": frame["projection"],
            "cosine": frame["cosine"],
            "z": (frame["projection"] - mean) / spread,
        }
    )
