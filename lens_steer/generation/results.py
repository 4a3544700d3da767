"""Results of a generation: prompts, tokens, texts, and optionally a record of every step.

steps     prompt  step  token  text  [log_prob  entropy  kl  projection_0  projection_1 ...]     one row per token
texts     prompt  prompt_text  text  tokens  ended                                           one row per prompt

entropy      H(p_t), nats: of the next-token distribution before temperature and top_p
kl           KL(p_t || q_t), nats: from the steered to the unsteered distribution after the same tokens
log_prob     log p_t(token)
projection_i <h, v / ||v||> of the activation from which step t's token is predicted, after the edits, at the site
             of intervention i
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer._util.plotting import draw
from lens_steer._util.shown import shown
from lens_steer.data.tables import load_table, save_table
from lens_steer.errors import DataError
from lens_steer.generation.decoding import Decoding

KIND = "generations"


@shown()
@dataclass(frozen=True, kw_only=True)
class Continuation:
    """One prompt's continuation; `ended` is `eos`, `stop` or `length`.

    `tokens` are all generated tokens, including the end-of-sequence token; `text` is their text after the prompt,
    without special tokens, up to the stop text; `pieces` is the text of each token, with a character of several tokens
    at the last of them. `record` has one number per token under each name, where requested.
    """

    prompt: str
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    text: str
    ended: str
    record: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@shown("summary")
@dataclass(frozen=True, kw_only=True)
class Generations:
    """Continuations of prompts, in the order of the prompts, with their interventions."""

    model: str
    interventions: tuple[str, ...]
    decoding: Decoding
    continuations: tuple[Continuation, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The continuations' texts."""
        return tuple(entry.text for entry in self.continuations)

    def __str__(self) -> str:
        return "\n".join(f"{entry.prompt}{entry.text}" for entry in self.continuations)

    @property
    def steered(self) -> bool:
        """Whether there were interventions."""
        return bool(self.interventions)

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each generated token, with the record where there is one."""
        rows = [
            {
                "prompt": index,
                "steered": self.steered,
                "step": step,
                "token": token,
                "text": entry.pieces[step],
                **{name: values[step] for name, values in entry.record.items()},
            }
            for index, entry in enumerate(self.continuations)
            for step, token in enumerate(entry.tokens)
        ]
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """One row for each prompt: its text, its continuation, how many tokens that has and what ended it."""
        rows = [
            {
                "prompt": index,
                "steered": self.steered,
                "prompt_text": entry.prompt,
                "text": entry.text,
                "tokens": len(entry.tokens),
                "ended": entry.ended,
            }
            for index, entry in enumerate(self.continuations)
        ]
        return pd.DataFrame(rows)

    def save(self, path: str | Path) -> Path:
        """Writes everything as one line of JSON and CSV; `Generations.load` reads it back."""
        facts: dict[str, Any] = {"model": self.model, "interventions": list(self.interventions)}
        facts["decoding"] = asdict(self.decoding)
        names = ("prompt", "prompt_tokens", "pieces", "text", "ended")
        facts["continuations"] = [{name: getattr(entry, name) for name in names} for entry in self.continuations]
        return save_table(path, KIND, self.to_frame().drop(columns="text"), facts)

    @classmethod
    def load(cls, path: str | Path) -> "Generations":
        """Reads what `save` wrote.

        Raises:
            FormatError: the file is missing, truncated, edited, foreign or of a newer schema.
        """
        frame, facts = load_table(path, KIND)
        names = [name for name in frame.columns if name not in ("prompt", "steered", "step", "token")]
        found = []
        for index, entry in enumerate(facts["continuations"]):
            rows = frame[frame["prompt"] == index]
            found.append(
                Continuation(
                    prompt=entry["prompt"],
                    prompt_tokens=tuple(entry["prompt_tokens"]),
                    tokens=tuple(rows["token"].tolist()),
                    pieces=tuple(entry["pieces"]),
                    text=entry["text"],
                    ended=entry["ended"],
                    record={name: tuple(rows[name].tolist()) for name in names},
                )
            )
        decoding = Decoding(**{**facts["decoding"], "stop": tuple(facts["decoding"]["stop"])})
        return cls(
            model=facts["model"],
            interventions=tuple(facts["interventions"]),
            decoding=decoding,
            continuations=tuple(found),
        )


@shown("summary")
@dataclass(frozen=True, kw_only=True)
class GenerationPair:
    """The same prompts continued with and without steering, under the same random numbers."""

    steered: Generations
    unsteered: Generations

    def to_frame(self) -> pd.DataFrame:
        """One tidy row for each generated token of either side; the column `steered` tells them apart."""
        return pd.concat([self.unsteered.to_frame(), self.steered.to_frame()], ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """One row for each prompt and side."""
        return pd.concat([self.unsteered.summary(), self.steered.summary()], ignore_index=True)

    def plot(self) -> Any:
        """Draws entropy and KL of each generated step.

        Raises:
            DataError: they were not recorded.
        """
        if not all(entry.record for entry in self.steered.continuations):
            raise DataError("entropy and KL were not recorded; call generate_pair(..., record=True) to draw them.")
        return draw("step_curves", self)

    def __str__(self) -> str:
        pairs = zip(self.unsteered.continuations, self.steered.texts, strict=True)
        return "\n".join(f"{one.prompt}\n  unsteered: {one.text}\n  steered:   {text}" for one, text in pairs)

    def shared_tokens(self) -> tuple[int, ...]:
        """The number of tokens before the two continuations of each prompt diverge."""
        sides = zip(self.steered.continuations, self.unsteered.continuations, strict=True)
        return tuple(_common(one.tokens, other.tokens) for one, other in sides)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The length of the longest common beginning."""
    length = min(len(one), len(other))
    return next((i for i in range(length) if one[i] != other[i]), length)
