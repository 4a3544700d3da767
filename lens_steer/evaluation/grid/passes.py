"""The forward passes of one batch: the unsteered one, and the steered ones, by reuse or plainly.

    unsteered   one pass of the whole sequences; it saves keys and values, and the outputs of some blocks
    reused      a shared pass: from its starts and its first edited block on, its configurations side by side in a batch
    plain       every configuration of a shared pass by itself, from the first token and block on

Both ways give the logits of the same configurations, which are made when they are read;
`lens_steer.evaluation.grid.trial` says for which models reuse is exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.evaluation.grid.plan import GridBatch, Scored, SharedPass
from lens_steer.hooks import Intervention, kept_outputs, replayed, steer
from lens_steer.hooks.operators import Operator
from lens_steer.model import (
    Logits,
    SteerableModel,
    forked_caches,
    last_logits,
    may_fast_forward,
    pad,
    pass_logits,
    whole_cache,
)


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class UnsteeredPass:
    """The unsteered pass of a batch: its logits, and what steered passes start from.

    `fast` says whether those that continue its cache run by plain modules where nothing is hooked.
    """

    rows: Sequence[Sequence[int]]
    tokens: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]
    scored: Scored
    logits: Logits
    cache: Any
    outputs: dict[int, Any]
    fast: bool


def forward_unsteered(
    model: SteerableModel, rows: Sequence[Sequence[int]], batch: GridBatch, scored: Scored, reuse: bool
) -> UnsteeredPass:
    """Forwards the sequences of a batch unsteered.

    Args:
        model: a loaded model.
        rows: all sequences.
        batch: which of them.
        scored: where logits are wanted.
        reuse: save what the shared passes can start from.

    Returns:
        The pass; its logits do not depend on `reuse`.
    """
    here = [rows[index] for index in batch.rows]
    tokens, mask = pad(model, here)
    cache = whole_cache() if reuse and any(max(one_pass.starts) for one_pass in batch.passes) else None
    layers = {one_pass.skipped - 1 for one_pass in batch.passes if one_pass.skipped} if reuse else ()
    with kept_outputs(model, layers) as outputs:
        logits = _logits(model, tokens, mask, _Wanted(scored, batch.prompts), batch.rows, cache)
    return UnsteeredPass(
        rows=here,
        tokens=tokens,
        mask=mask,
        scored=scored,
        logits=logits,
        cache=cache,
        outputs=outputs,
        fast=cache is not None and may_fast_forward(model),
    )


def plain_passes(
    model: SteerableModel, unsteered: UnsteeredPass, batch: GridBatch, passes: Sequence[SharedPass]
) -> Iterator[tuple[SharedPass, list[Logits]]]:
    """Runs shared passes without sharing: every configuration by itself, over the whole sequences.

    Args:
        model: a loaded model.
        unsteered: the batch's unsteered pass.
        batch: the batch.
        passes: which of its shared passes.

    Returns:
        An iterator over the passes with the logits of each of their configurations.
    """
    wanted = _Wanted(unsteered.scored, batch.prompts)
    for one_pass in passes:
        found = []
        for number in one_pass.configurations:
            with steer(model, *batch.active[number], prompt_lengths=list(batch.prompts)):
                found.append(_logits(model, unsteered.tokens, unsteered.mask, wanted, batch.rows))
        yield one_pass, found


def reused_passes(
    model: SteerableModel, unsteered: UnsteeredPass, batch: GridBatch, passes: Sequence[SharedPass]
) -> Iterator[tuple[SharedPass, list[Logits]]]:
    """Runs shared passes from where they begin to differ from the unsteered pass; as `plain_passes`.

    Args:
        model: a loaded model, one whose `why_not_reused` is empty.
        unsteered: the batch's unsteered pass, made with `reuse`.
        batch: the batch.
        passes: which of its shared passes.

    Returns:
        An iterator over the passes with the logits of each of their configurations.
    """
    for begin, group in groupby(passes, key=lambda one_pass: one_pass.starts):
        sharing, starts = list(group), torch.tensor(begin, device="cpu")
        tokens, mask = pad(model, [row[start:] for row, start in zip(unsteered.rows, begin, strict=True)])
        copies = max(len(one_pass.configurations) for one_pass in sharing)
        cache, past = forked_caches(unsteered.cache, starts, copies) if max(begin) else (None, mask[:, :0])
        fast, whole_mask = unsteered.fast and cache is not None, torch.cat([past.to(mask.device), mask], dim=1)
        for one_pass in sharing:
            n = len(one_pass.configurations)
            output, length = _from(unsteered, one_pass.skipped - 1, starts, tokens.shape[1])
            edits = [
                edit for place, number in enumerate(one_pass.configurations) for edit in _edits(batch, number, place, n)
            ]
            wanted = _Wanted(unsteered.scored, batch.prompts * n, begin * n)
            with (
                replayed(model, one_pass.skipped - 1, output.repeat(n, 1, 1), length),
                steer(model, *edits, prompt_lengths=list(wanted.prompts)),
            ):
                rows = (tokens.repeat(n, 1), whole_mask.repeat(n, 1))
                logits = _logits(model, *rows, wanted, list(batch.rows) * n, cache, fast)
            yield one_pass, logits.cut(n)


@dataclass(frozen=True, eq=False)
class _Share:
    """Another operator, on one of several equal shares of the batch's rows."""

    operator: Operator
    place: int
    shares: int

    def __call__(
        self, activation: Float[Tensor, "batch pos width"], direction: Float[Tensor, " width"], strength: float
    ) -> Float[Tensor, "batch pos width"]:
        """Applies the operator to its share; the other rows stay as they are, bit for bit."""
        if strength == 0:
            return activation
        passes = list(activation.chunk(self.shares))
        passes[self.place] = self.operator(passes[self.place], direction, strength)
        return torch.cat(passes)


def _edits(batch: GridBatch, number: int, place: int, n: int) -> list[Intervention]:
    """One configuration's interventions, on its share of the rows."""
    return [
        replace(entry, operator=_Share(entry.operator, place, n)) if n > 1 else entry for entry in batch.active[number]
    ]


def _from(unsteered: UnsteeredPass, layer: int, starts: Int[Tensor, " batch"], width: int) -> tuple[Tensor, int]:
    """What left a block at the tokens from each row's start on, and the length of the tuple in which it left it."""
    if layer < 0:
        return torch.empty(1, 1, 1, dtype=torch.float32, device="cpu"), 0
    left = unsteered.outputs[layer]
    stream, length = (left[0], len(left)) if isinstance(left, tuple) else (left, 0)
    place = (starts[:, None] + torch.arange(width, device="cpu")).clamp_max(stream.shape[1] - 1)
    return stream[torch.arange(len(starts), device="cpu")[:, None], place], length


@dataclass(frozen=True)
class _Wanted:
    """Which tokens' logits are wanted, of rows with these prompts that begin at these tokens of their sequences."""

    scored: Scored
    prompts: tuple[int, ...]
    begin: tuple[int, ...] = ()

    def tokens(self, mask: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        """Those that another token follows; of continuations, from the last token of the prompt on."""
        begin = torch.tensor(self.begin or (0,) * len(self.prompts), device="cpu")
        first = torch.tensor(self.prompts, device="cpu") - 1 if self.scored == "continuation" else begin
        return followed_tokens(mask, first - begin)


def followed_tokens(mask: Int[Tensor, "batch pos"], first: Int[Tensor, " batch"]) -> Bool[Tensor, "batch pos"]:
    """The tokens of a right-padded batch that another token follows, in each row from its `first` on."""
    followed = torch.nn.functional.pad(mask[:, 1:], (0, 1)).bool()
    return followed & (torch.arange(mask.shape[1], device="cpu") >= first[:, None]).to(mask.device)


def _logits(
    model: SteerableModel,
    tokens: Tensor,
    mask: Tensor,
    wanted: _Wanted,
    sequences: Sequence[int],
    cache: Any = None,
    fast: bool = False,
) -> Logits:
    """Of each row's last token, or of all that are wanted; the mask covers the cached tokens too."""
    if wanted.scored == "last":
        return last_logits(model, tokens, mask, cache, of=sequences, fast=fast)
    return pass_logits(model, tokens, mask, wanted.tokens(mask[:, -tokens.shape[1] :]), cache, of=sequences, fast=fast)
