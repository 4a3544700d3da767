"""A task of Inspect: beginnings of sentences, scored by the words of feeling in their continuations.

lens-steer evaluate --task examples/inspect/sentiment.py --vector VECTOR --site SITE --strength STRENGTH --out OUT
"""

import re
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Target, mean, scorer
from inspect_ai.solver import TaskState

PROMPTS = Path(__file__).parents[1] / "sentiment" / "data" / "prompts.txt"
HAPPY = set(
    "amazing beautiful best better bright calm charming cheerful comfortable delicious delight delighted "
    "delightful easy enjoy enjoyed excellent excited exciting fantastic favorite friendly fun glad good great "
    "happy helpful joy kind laugh laughed like liked love loved lovely lucky nice peaceful perfect pleasant "
    "pleased pleasure proud refreshing relaxed safe smile smiled stunning success sunny sweet thrilled warm "
    "well wonderful".split()
)
UNHAPPY = set(
    "afraid alone angry annoying anxious awful bad blood boring broken cold confused cried crying dark dead "
    "death difficult dirty disappointed disappointing disaster dull empty exhausted fear frustrated "
    "frustrating hard hate hated horrible hurt lonely lost mess miserable nervous nightmare noise noisy pain "
    "painful poor problem problems sad scared sick slow stuck stupid terrible tired trouble ugly unhappy "
    "upset worried worse worst wrong".split()
)


@scorer(metrics=[mean()])
def feeling() -> Any:
    """Happy minus unhappy words of a continuation."""

    async def score(state: TaskState, _target: Target) -> Score:
        words = re.findall(r"[a-z]+", state.output.completion.lower())
        return Score(value=float(sum(word in HAPPY for word in words) - sum(word in UNHAPPY for word in words)))

    return score


@task
def sentiment(max_tokens: int = 32) -> Task:
    """The beginnings of the sentiment example, continued by the likeliest tokens."""
    lines = [line for line in PROMPTS.read_text(encoding="utf-8").splitlines() if line.strip()]
    data = MemoryDataset([Sample(input=line) for line in lines])
    return Task(dataset=data, scorer=feeling(), config=GenerateConfig(max_tokens=max_tokens))
