"""Trace of one generation: every edited token, with site and size of the edit.

    change   = ||after - before||        relative = ||after - before|| / ||before||

Edits are recorded inside the hooks during generation. There is one entry per token and intervention that edited it;
where a gate was closed there is none. The last token of a generation is never forwarded and so never edited.
"""

from dataclasses import dataclass

import pandas as pd
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import DataError
from lens_steer.generation import Decoding, continue_rows, prepare_rows
from lens_steer.hooks import Chunk, Interventions, as_interventions, steer
from lens_steer.hooks.sites import Site
from lens_steer.model import Prompt, SteerableModel, pieces, require_model


@shown()
@dataclass(frozen=True, kw_only=True)
class Edit:
    """An edit of one token by one intervention; norms are in the units of the site's activation."""

    position: int
    intervention: int
    site: Site
    change: float
    norm: float


@shown("to_frame")
@dataclass(frozen=True, kw_only=True)
class Trace:
    """One generation, and every edit of it; `tokens` are the prompt's, the prefill's and the generated ones."""

    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    prompt_length: int
    given_length: int
    interventions: tuple[str, ...]
    edits: tuple[Edit, ...]

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each edit, in the order of tokens: where, what, by which intervention and how far."""
        columns = ["position", "token", "text", "part", "site", "kind", "layer", "intervention", "change", "relative"]
        rows = [
            {
                "position": edit.position,
                "token": self.tokens[edit.position],
                "text": self.pieces[edit.position],
                "part": self.part(edit.position),
                "site": str(edit.site),
                "kind": edit.site.kind,
                "layer": edit.site.layer,
                "intervention": edit.intervention,
                "change": edit.change,
                "relative": edit.change / edit.norm if edit.norm else float("inf"),
            }
            for edit in self.edits
        ]
        return pd.DataFrame(rows, columns=columns)

    def part(self, position: int) -> str:
        """The part of the sequence that a token belongs to: `prompt`, `prefill` or `generated`."""
        if position < self.prompt_length:
            return "prompt"
        return "prefill" if position < self.given_length else "generated"


def trace(
    model: SteerableModel,
    prompt: Prompt,
    interventions: Interventions,
    decoding: Decoding | None = None,
) -> Trace:
    """Continues a prompt under steering and records every edit.

    Args:
        model: a loaded model with a tokenizer.
        prompt: a text, a chat, or a token row with BOS in it.
        interventions: what steers, one or several.
        decoding: how the continuation is written; 16 likeliest tokens where absent.

    Returns:
        The generation's tokens and its edits. `lens_steer.figures.views.audit_view` shows it in a notebook.

    Raises:
        DataError: an empty prompt, several, or one that with its continuation is longer than the model's context.
        SteeringError: an intervention selected no token in the whole generation.

    Example:
        >>> import torch
        >>> from lens_steer import Intervention, load_model
        >>> push = Intervention.at("resid_post@3", torch.ones(128), 0.5, "generated")
        >>> found = trace(load_model("lab"), "Once upon a time", [push], Decoding(max_new_tokens=4, stop_at_eos=False))
        >>> found.to_frame()["position"].tolist() == list(range(found.prompt_length, found.prompt_length + 3))
        True
    """
    decoding = decoding or Decoding(max_new_tokens=16)
    require_model(model, "trace(model, prompt, interventions)", prompt, interventions)
    plan, rows = as_interventions(interventions), prepare_rows(model, prompt, decoding)
    if len(rows) > 1:
        raise DataError(f"{len(rows)} prompts; a trace is of one.")
    row = rows[0]
    edits: dict[tuple[int, int], Edit] = {}

    def note(index: int, chunk: Chunk, mask: Tensor, before: Tensor, after: Tensor) -> None:
        chosen = mask[0].cpu()
        old, new = before[0].detach().float().cpu()[chosen], after[0].detach().float().cpu()[chosen]
        sizes = zip(chunk.absolute[0][chosen].tolist(), (new - old).norm(dim=1), old.norm(dim=1), strict=True)
        for position, change, norm in sizes:
            edits[position, index] = Edit(
                position=position,
                intervention=index,
                site=plan[index].site,
                change=float(change),
                norm=float(norm),
            )

    with steer(model, *plan, prompt_lengths=len(row.prompt), given_lengths=len(row.given)) as steering:
        steering.watcher = note
        continue_rows(model, [row], decoding, steering)
    tokens = [*row.given, *row.tokens]
    return Trace(
        tokens=tuple(tokens),
        pieces=pieces(model, tokens),
        prompt_length=len(row.prompt),
        given_length=len(row.given),
        interventions=tuple(str(entry) for entry in plan),
        edits=tuple(edits[key] for key in sorted(edits)),
    )
