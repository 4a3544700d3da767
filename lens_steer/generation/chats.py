"""Conversations of several turns: the model answers, the next question follows, and steering stays on.

    chat      [user: q1] -> a1, [user: q1, assistant: a1, user: q2] -> a2, ...        by the tokenizer's own template
    plain     "q1" -> a1, "q1 a1\\nq2" -> a2, ...                                      for models without a template

Every turn is a generation of its own, so that position rules are those of `generate`: the earlier turns are prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.errors import DataError
from lens_steer.generation.decoding import Decoding
from lens_steer.generation.generate import generate
from lens_steer.hooks import Interventions
from lens_steer.model import SteerableModel


@shown()
@dataclass(frozen=True, kw_only=True)
class ChatTurn:
    """One answer: of which conversation and turn (counted from 1), the question before it, and what ended it."""

    chat: int
    turn: int
    prompt: str
    text: str
    ended: str


def converse(
    model: SteerableModel,
    questions: Sequence[Sequence[str]],
    interventions: Interventions = (),
    decoding: Decoding | None = None,
    chat: bool = True,
    batch_size: int = 16,
    progress: bool = False,
) -> tuple[ChatTurn, ...]:
    """Asks one question after the other, each behind the answers to the earlier ones.

    Args:
        model: a loaded model with a tokenizer.
        questions: of each conversation, in order; as many in each.
        interventions: what steers every turn; none for the model as it stands.
        decoding: of every turn.
        chat: write the turns by the tokenizer's chat template; else as plain text, one line a turn.
        batch_size: conversations in one batch.
        progress: draw a progress bar.

    Returns:
        The answers, turn by turn.

    Raises:
        DataError: no conversations, or different numbers of questions; or as `generate`.
        ModelFolderError: `chat`, and the tokenizer has no chat template.
        SteeringError: as `generate`.

    Example:
        >>> from lens_steer import load_model
        >>> turns = converse(load_model("lab"), [["Once upon", "Then the"]], (), Decoding(max_new_tokens=4), chat=False)
        >>> [(turn.turn, turn.prompt) for turn in turns]
        [(1, 'Once upon'), (2, 'Then the')]
    """
    counts = {len(asked) for asked in questions}
    if len(counts) != 1 or not min(counts):
        raise DataError(
            f"{len(questions)} conversations of {sorted(counts)} questions; give at least one conversation, and as "
            "many questions in each."
        )
    messages: list[list[dict[str, str]]] = [[] for _ in questions]
    found: list[ChatTurn] = []
    for turn in track(range(min(counts)), "conversing", min(counts), progress):
        for history, asked in zip(messages, questions, strict=True):
            history.append({"role": "user", "content": asked[turn]})
        prompts: Any = messages if chat else [_plain(history) for history in messages]
        written = generate(model, prompts, interventions, decoding, batch_size, progress=progress).continuations
        for number, (history, entry) in enumerate(zip(messages, written, strict=True)):
            prompt, text = history[-1]["content"], entry.text.strip()
            found.append(ChatTurn(chat=number, turn=turn + 1, prompt=prompt, text=text, ended=entry.ended))
            history.append({"role": "assistant", "content": text})
    return tuple(found)


def _plain(history: Sequence[dict[str, str]]) -> str:
    """A conversation as lines, one a turn, the last one ending with its question."""
    pairs = zip(history[::2], [entry["content"] for entry in history[1::2]] + [""], strict=True)
    return "\n".join(f"{asked['content']} {answer}".rstrip() for asked, answer in pairs)
