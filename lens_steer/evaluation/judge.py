"""Texts judged by a model: the likelihood of one answer against another to a question about each text.

    score(text) = log p(positive | question(text)) - log p(negative | question(text))        nats; one token each

Let another model judge than the one that wrote the texts, so that what steers the writing cannot bias the judgement,
and say how well it judges texts whose label is known (`judge_quality`). The question may hold examples; without them
small models answer by habit.

Example:
    >>> from lens_steer import load_model
    >>> judge = Judge(model=load_model("lab"), question="{text} I", positive=" want", negative=" can")
    >>> judge(["Give me everything today.", "Later is fine."]).shape
    torch.Size([2])
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lens_steer._util.shown import shown
from lens_steer.errors import ScoreError
from lens_steer.hooks import require_unsteered
from lens_steer.metrics.statistics import Interval, share_interval
from lens_steer.model import SteerableModel, logits_after, single_ids, tokenize
from lens_steer.model.batching import length_buckets

TEXT = "{text}"


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """A model and what it is asked of each text; call it with texts.

    `question` holds `{text}` once; `positive` and `negative` are the answers, one token each, with the space in
    front.

    Raises:
        ScoreError: the question does not hold `{text}` once.
    """

    model: SteerableModel
    question: str
    positive: str = " positive"
    negative: str = " negative"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.question.count(TEXT) != 1:
            raise ScoreError(f"the judge's question {self.question!r} must hold {TEXT} once, where the text stands.")

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """The score of each text, nats; above 0 the positive answer is likelier.

        Args:
            texts: what is judged.

        Raises:
            ScoreError: there are no texts, or an answer is not one token.
            SteeringError: the judge's model is being steered.
        """
        require_unsteered(self.model, "judging", "judge the texts after the context")
        if not texts:
            raise ScoreError("no texts to judge; give at least one.")
        rows = tokenize(self.model, [self.question.replace(TEXT, text) for text in texts])
        answers = [self._token(answer) for answer in (self.positive, self.negative)]
        found = torch.empty(len(rows), dtype=torch.float32, device="cpu")
        for batch in length_buckets([len(row) for row in rows], self.batch_size):
            both = logits_after(self.model, [rows[index] for index in batch], of=batch).read(
                lambda chunk, _part: chunk[:, answers]
            )
            found[batch] = (both[:, 0] - both[:, 1]).float().cpu()
        return found

    def _token(self, answer: str) -> int:
        """The one token of an answer."""
        tokens = single_ids(self.model, answer)
        if len(tokens) != 1:
            raise ScoreError(f"the judge's answer {answer!r} is {len(tokens)} tokens; give one that is a single token.")
        return tokens[0]


@dataclass(frozen=True, kw_only=True)
class JudgeQuality:
    """How a judge does on texts whose label is known: the area under the ROC curve, and accuracy at a threshold.

    `threshold` is the mean of the two labels' median scores, so that a preference of the judge for one answer cancels.
    """

    auroc: float
    threshold: float
    accuracy: Interval


def judge_quality(
    scores_of_positive: Float[Tensor, " n_pos"], scores_of_negative: Float[Tensor, " n_neg"]
) -> JudgeQuality:
    """Compares a judge's scores with the labels.

    Args:
        scores_of_positive: of texts that are positive.
        scores_of_negative: of texts that are negative.

    Returns:
        AUROC, threshold and accuracy; the accuracy's interval is exact (Clopper-Pearson). The threshold is of the same
        texts, which flatters the accuracy a little.

    Raises:
        ScoreError: no texts of one label.
    """
    if not len(scores_of_positive) or not len(scores_of_negative):
        raise ScoreError(
            f"{len(scores_of_positive)} positive and {len(scores_of_negative)} negative texts; a judge is tested on "
            "texts of both labels."
        )
    threshold = float(scores_of_positive.median() + scores_of_negative.median()) / 2
    right = int((scores_of_positive > threshold).sum() + (scores_of_negative <= threshold).sum())
    scores = torch.cat([scores_of_positive, scores_of_negative])
    labels = torch.arange(len(scores), device="cpu") < len(scores_of_positive)
    return JudgeQuality(
        auroc=float(roc_auc_score(labels.numpy(), scores.numpy())),
        threshold=threshold,
        accuracy=share_interval(right, len(scores)),
    )
