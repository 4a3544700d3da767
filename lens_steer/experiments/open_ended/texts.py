"""Conversations under steering, and what judges say of them.

conversation k    test prompts k, k + 1, ... as its turns (from the first again behind the last one)
difference        mean over conversations of (score steered - score unsteered) of the same turn and judge, paired
repeating         a text more than 0.3 of whose words' 4-grams occurred in it before
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from lens_steer.data.choices import ChoiceItem
from lens_steer.evaluation.judge import SCORES, Judge, judge_texts
from lens_steer.experiments.open_ended.settings import OpenEnded
from lens_steer.figures.style import words
from lens_steer.generation import Decoding
from lens_steer.generation.chats import ChatTurn, converse
from lens_steer.hooks import Intervention
from lens_steer.metrics.collapse import continuation_collapsed
from lens_steer.metrics.statistics import mean_interval
from lens_steer.model import SteerableModel

UNSTEERED = "unsteered"
KEYS = ["judge", "vector", "direction", "turn"]
Written = Mapping[tuple[str, str], Intervention]
"""What steers, by vector and direction."""


def written_texts(
    model: SteerableModel,
    behaviour: str,
    items: Sequence[ChoiceItem],
    edits: Written,
    judges: Mapping[str, Judge],
    settings: OpenEnded,
    progress: bool = False,
) -> pd.DataFrame:
    """Conversations unsteered and under each edit, scored by every judge.

    Args:
        model: a loaded model.
        behaviour: its name.
        items: test prompts.
        edits: what steers, by vector and direction.
        judges: by name.
        settings: how many conversations, turns, samples and tokens.
        progress: draw a progress bar.

    Returns:
        One row a text and judge: vector, direction, sample, chat, turn, prompt, text, ended, repeating, judge, the
        scores (NaN where a judge gave none), their harmonic mean `score`, attempts and failure.
    """
    n = min(settings.conversations, len(items))
    questions = [[items[(k + turn) % len(items)].stem for turn in range(settings.turns)] for k in range(n)]
    plans: dict[tuple[str, str], list[Intervention]] = {(UNSTEERED, ""): []}
    plans |= {key: [edit] for key, edit in edits.items()}
    rows: list[dict[str, Any]] = []
    for (vector, direction), plan in plans.items():
        for sample in range(settings.samples):
            decoding = Decoding(
                max_new_tokens=settings.new_tokens,
                temperature=settings.temperature,
                seed=settings.seed + sample,
                stop=() if settings.chat else "\n",
            )
            turns = converse(model, questions, plan, decoding, settings.chat, progress=progress)
            begun = {"vector": vector, "direction": direction, "sample": sample}
            rows += [begun | _text_row(turn) for turn in turns]
    found = pd.DataFrame(rows)
    frames = [_judged(found, name, judge, behaviour, settings.workers, progress) for name, judge in judges.items()]
    return pd.concat(frames, ignore_index=True)


def judged_summary(texts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Mean scores by judge, vector, direction and turn, and their paired differences to the unsteered model.

    Args:
        texts: from `written_texts`.
        seed: of the bootstrap over conversations.

    Returns:
        One row a judge, vector, direction and turn: `score` and `difference` with intervals, `n` conversations,
        `repeating` (share of texts), `failed` (texts without a score), `kappa` (agreement with the first judge).
    """
    rows = []
    first = texts["judge"].iloc[0]
    unsteered = _by_chat(texts[texts["vector"] == UNSTEERED], ["judge", "turn", "chat"])
    for (judge, vector, direction, turn), group in texts.groupby(KEYS, sort=False):  # pyright: ignore
        scores = _by_chat(group, ["chat"])
        differences = (scores - unsteered.loc[judge, turn]).dropna()
        found = {"score": scores.dropna(), "difference": differences}
        intervals: dict[str, object] = {name: math.nan for name in found}
        for name, values in found.items():
            if len(values):
                intervals |= mean_interval(_tensor(values), seed=seed).columns(name)
        rows.append(
            {"judge": judge, "vector": vector, "direction": direction, "turn": turn}
            | intervals
            | {"n": len(scores), "repeating": group["repeating"].mean(), "failed": int(group["score"].isna().sum())}
            | {"kappa": _kappa(texts, str(first), str(judge))}
        )
    return pd.DataFrame(rows)


def _text_row(turn: ChatTurn) -> dict[str, Any]:
    said = turn.text.split()
    numbers: dict[str, int] = {}
    tokens = [numbers.setdefault(word, len(numbers)) for word in said]
    return {
        "chat": turn.chat,
        "turn": turn.turn,
        "prompt": turn.prompt,
        "text": turn.text,
        "ended": turn.ended,
        "repeating": continuation_collapsed(tokens),
    }


def _judged(texts: pd.DataFrame, name: str, judge: Judge, behaviour: str, workers: int, progress: bool) -> pd.DataFrame:
    """Every text with the scores of one judge."""
    found = judge_texts(judge, list(texts["prompt"]), list(texts["text"]), words(behaviour), workers, progress)
    scores = {score: [entry.scores.get(score, float("nan")) for entry in found] for score in SCORES}
    return texts.assign(
        judge=name,
        **scores,
        score=[entry.score for entry in found],
        attempts=[entry.attempts for entry in found],
        failure=[entry.failure for entry in found],
    )


def _by_chat(rows: pd.DataFrame, keys: list[str]) -> Any:
    """The mean score of every conversation over its samples."""
    return rows.groupby(keys)["score"].mean()


def _tensor(values: pd.Series) -> torch.Tensor:
    return torch.tensor(values.to_numpy(dtype=float), device="cpu")


def _kappa(texts: pd.DataFrame, one: str, other: str) -> float:
    """Cohen's kappa of two judges on which texts show the behaviour, those that either failed on left out."""
    from sklearn.metrics import cohen_kappa_score

    concepts = [texts.loc[texts["judge"] == judge, "concept"].to_numpy() for judge in (one, other)]
    both = ~(pd.isna(concepts[0]) | pd.isna(concepts[1]))
    says = [values[both] > 1 for values in concepts]
    if not both.any() or ((says[0] == says[0][0]).all() and (says[1] == says[0][0]).all()):
        return float("nan")
    return float(cohen_kappa_score(*says))
