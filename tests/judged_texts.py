"""How the judged texts were made: a sentiment vector of own sentences and a random direction, greedy and sampled.

    strength    relative to the median activation norm at the middle layer's resid_post, at all tokens
    prompt      the next of PROMPTS for each continuation, 60 tokens, end-of-sequence tokens not stopping

`metrics/judged_texts.json` holds the 40 continuations, 20 a model, with one reader's judgement of each, made before any
number was computed of them. A random half (`choose`) bounds the limit of the rule; the other half (`report`) shows what
it is worth. Of a collapsed text the reason is `loop` (one period again and again), `repeats` (whole sentences again) or
`digits` (few tokens in any order); of others `fluent`, or `incoherent` for words without sense that do not repeat.
"""

from collections.abc import Sequence
from typing import Any

from lens_steer import Decoding, Intervention, extract, generate
from lens_steer.vector import random_like

GOOD = (
    "I love this film, it is wonderful.",
    "What a great day, I am so happy.",
    "The food was delicious and the room was bright.",
    "She smiled because the news was good.",
)
BAD = (
    "I hate this film, it is terrible.",
    "What an awful day, I am so sad.",
    "The food was disgusting and the room was dark.",
    "She cried because the news was bad.",
)
PROMPTS = (
    "The train was late, and",
    "My neighbour told me that",
    "In the spring of that year",
    "The best way to learn a language is",
    "When the doctor came in, she",
    "The old house at the end of the street",
    "Yesterday at the market",
)
STRENGTHS = (0.25, 0.5, 1.0)
PLAN = (
    *(("none", 0.0, temperature) for temperature in (0.0, 1.0)),
    *(("sentiment", sign * s, t) for s in STRENGTHS for sign in (1, -1) for t in (0.0, 1.0)),
    *(("random", s, t) for s in STRENGTHS for t in (0.0, 1.0)),
)
"""Vector, strength and temperature of each continuation of a model."""
TOKENS = 60


SHIFT = {"smollm2": 0, "gemma3": 3}
"""Of each model, the prompt that the first continuation takes."""


def written(model: Any, shift: int, steps: Sequence[int] = range(len(PLAN))) -> list[dict[str, Any]]:
    """The continuations of some steps of the plan."""
    layer = model.cfg.n_layers // 2
    sentiment = extract(model, GOOD, BAD, paired=True, sites=f"resid_post@{layer}")
    vectors, rows = {"sentiment": sentiment, "random": random_like(sentiment, 0)}, []
    for index in steps:
        name, strength, temperature = PLAN[index]
        prompt = PROMPTS[(shift + index) % len(PROMPTS)]
        edits = [Intervention.of(vectors[name], layer, strength, "relative")] if name in vectors else []
        decoding = Decoding(max_new_tokens=TOKENS, temperature=temperature, seed=index, stop_at_eos=False)
        (entry,) = generate(model, prompt, edits, decoding).continuations
        row = {"vector": name, "strength": strength, "temperature": temperature, "prompt": prompt}
        rows.append(row | {"text": entry.text, "tokens": list(entry.tokens)})
    return rows
