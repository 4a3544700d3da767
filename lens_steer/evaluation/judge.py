"""Generated texts scored by a judge: a local one, or any callable, such as a request to a language model.

    judge(prompt, text, behaviour) -> {"concept": c, "instruct": r, "fluency": f}     each from 0 to 2; concept at least
    score = 3 / (1/c + 1/r + 1/f), of fewer scores alike; 0 where one of them is 0

    ClassifierJudge    c = 2 P(matching | words of the text)       logistic regression on tf-idf, of training texts
    LikelihoodJudge    c = 2 / (1 + exp(L- - L+))                  L+: log-likelihood of the text behind matching texts,
                                                                   L-: behind other ones, of the unsteered model
    QuestionJudge      c = 2 / (1 + exp(-x))                       x = log p(positive | question(text))
                                                                       - log p(negative | question(text))

A judge that raises, or that returns no concept, an unknown name or a score out of range, is asked once more; a text on
which it fails twice is kept, without scores, with what went wrong. Local judges know the concept alone: read them
beside the repetition of the texts. Let another model judge than the one that wrote the texts, and say how well it
judges texts whose label is known (`judge_quality`). Source of the three scores and their harmonic mean: Wu et al. 2025
(AxBench, arXiv 2501.17148).
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer._util.shown import shown
from lens_steer.errors import DataError, ScoreError
from lens_steer.evaluation.prompts import log_likelihoods
from lens_steer.hooks import require_unsteered
from lens_steer.metrics.statistics import Interval, share_interval
from lens_steer.model import SteerableModel, logits_after, single_ids, tokenize
from lens_steer.model.batching import length_buckets, within_memory

SCORES = ("concept", "instruct", "fluency")
MOST = 2.0
ATTEMPTS = 2
TEXT = "{text}"


@runtime_checkable
class Judge(Protocol):
    """What scores a text; see the module for the names and range of its scores."""

    def __call__(self, prompt: str, text: str, behaviour: str) -> Mapping[str, float]:
        """The scores of a text that continues a prompt, for a behaviour named in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The scores of one text by name; none, and the last `failure`, where the judge failed at both attempts."""

    scores: Mapping[str, float] = field(default_factory=dict)
    attempts: int = 1
    failure: str = ""

    @property
    def score(self) -> float:
        """The harmonic mean of the scores, from 0 to 2; NaN where there are none."""
        return harmonic_mean(list(self.scores.values())) if self.scores else math.nan


def harmonic_mean(values: Sequence[float | int]) -> float:
    """The harmonic mean of numbers of at least 0; 0 where one of them is.

    Raises:
        ScoreError: no numbers, or one below 0.

    Example:
        >>> harmonic_mean([2, 1, 1]), harmonic_mean([2, 0, 2])
        (1.2, 0.0)
    """
    if not values or min(values) < 0:
        raise ScoreError(f"{len(values)} numbers for a harmonic mean; give at least one, none below 0.")
    return len(values) / sum(1 / value for value in values) if min(values) > 0 else 0.0


def judge_texts(
    judge: Judge,
    prompts: Sequence[str],
    texts: Sequence[str],
    behaviour: str,
    workers: int = 1,
    progress: bool = False,
) -> tuple[Judgement, ...]:
    """Has every text judged, and those on which the judge fails once more.

    Args:
        judge: what scores.
        prompts: what each text continues.
        texts: what was generated.
        behaviour: in words.
        workers: how many texts are judged at the same time; more than one for a judge that waits for a server.
        progress: draw a progress bar.

    Returns:
        A judgement for every text, in their order.

    Raises:
        ScoreError: not one prompt for each text.
    """
    if len(prompts) != len(texts):
        raise ScoreError(f"{len(prompts)} prompts for {len(texts)} texts; give the prompt of each text.")
    found: dict[int, Judgement] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for attempt in range(1, ATTEMPTS + 1):
            left = [i for i in range(len(texts)) if i not in found or found[i].failure]
            asked = {i: pool.submit(_judged, judge, prompts[i], texts[i], behaviour) for i in left}
            for i, answer in track(asked.items(), "judging", len(asked), progress):
                error = answer.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                failure = "" if error is None else f"{type(error).__name__}: {error}"
                scores = answer.result() if error is None else {}
                found[i] = Judgement(scores=scores, attempts=attempt, failure=failure)
    return tuple(found[i] for i in range(len(texts)))


def _judged(judge: Judge, prompt: str, text: str, behaviour: str) -> dict[str, float]:
    """One judge's scores of one text, checked."""
    given: Any = judge(prompt, text, behaviour)
    if not isinstance(given, Mapping) or "concept" not in given or not set(given) <= set(SCORES):
        raise ScoreError(f"the judge returned {given!r}; expected a mapping with 'concept', of {', '.join(SCORES)}.")
    scores = {name: float(given[name]) for name in SCORES if name in given}
    if not all(0 <= value <= MOST for value in scores.values()):
        raise ScoreError(f"the judge returned {scores}; expected scores from 0 to {MOST:g}.")
    return scores


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierJudge:
    """A logistic regression on the words of texts that show a behaviour and of texts that do not."""

    classifier: Any

    @classmethod
    def fit(cls, matching: Sequence[str], other: Sequence[str]) -> "ClassifierJudge":
        """Fits the classifier, with equal weight of both classes.

        Args:
            matching: training texts that show the behaviour.
            other: training texts that do not.

        Raises:
            DataError: a class without texts.
        """
        _require(matching, other)
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        classifier = make_pipeline(words, LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000))
        classifier.fit([*matching, *other], [1] * len(matching) + [0] * len(other))
        return cls(classifier=classifier)

    def __call__(self, prompt: str, text: str, behaviour: str) -> dict[str, float]:  # noqa: ARG002
        """The concept alone, of the words of the text; a text without a word it knows is scored by the prior, 1."""
        return {"concept": MOST * float(self.classifier.predict_proba([text])[0, 1])}


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class LikelihoodJudge:
    """The unsteered model as judge: are texts that show the behaviour the likelier beginning of this one?

    `matching` and `other` are what stands before the text, one a line. Beginnings of equal content, in another order of
    the prompts, would be equally good; what they share cancels.
    """

    model: SteerableModel
    matching: Sequence[str]
    other: Sequence[str]

    def __post_init__(self) -> None:
        _require(self.matching, self.other)

    def __call__(self, prompt: str, text: str, behaviour: str) -> dict[str, float]:  # noqa: ARG002
        """The concept alone; a text without tokens scores 1.

        Raises:
            SteeringError: the model is steered.
        """
        require_unsteered(self.model, "judging", "judge outside of the steering context")
        begun = [" ".join(side) for side in (self.matching, self.other)]
        alone = tokenize(self.model, begun)
        whole = tokenize(self.model, [f"{side} {text.strip()}" for side in begun])
        lengths = [_common(row, longer) for row, longer in zip(alone, whole, strict=True)]
        if not text.strip() or min(len(row) - length for row, length in zip(whole, lengths, strict=True)) < 1:
            return {"concept": MOST / 2}
        with torch.no_grad():
            matching, other = log_likelihoods(self.model, whole, lengths, [0, 1]).tolist()
        return {"concept": MOST / (1 + math.exp(min(other - matching, 500.0)))}


@shown()
@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionJudge:
    """A model that answers a question about each text; without examples in the question small models answer by habit.

    `question` holds `{text}` once, for prompt and text; `positive` and `negative` are the answers, one token each, with
    the space in front.

    Raises:
        ScoreError: the question does not hold `{text}` once.

    Example:
        >>> from lens_steer import load_model
        >>> judge = QuestionJudge(model=load_model("lab"), question="{text} I", positive=" want", negative=" can")
        >>> judge.log_odds(["Give me everything today.", "Later is fine."]).shape
        torch.Size([2])
    """

    model: SteerableModel
    question: str
    positive: str = " positive"
    negative: str = " negative"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.question.count(TEXT) != 1:
            raise ScoreError(f"the judge's question {self.question!r} must hold {TEXT} once, where the text stands.")

    def __call__(self, prompt: str, text: str, behaviour: str) -> dict[str, float]:  # noqa: ARG002
        """The concept alone."""
        return {"concept": MOST * float(torch.sigmoid(self.log_odds([prompt + text])[0]))}

    def log_odds(self, texts: Sequence[str]) -> Float[Tensor, " n"]:
        """log p(positive) - log p(negative) of each text, nats; above 0 the positive answer is likelier.

        Args:
            texts: what is judged.

        Raises:
            ScoreError: there are no texts, or an answer is not one token.
            SteeringError: the judge's model is being steered.
        """
        require_unsteered(self.model, "judging", "judge outside of the steering context")
        if not texts:
            raise ScoreError("no texts to judge; give at least one.")
        rows = tokenize(self.model, [self.question.replace(TEXT, text) for text in texts])
        answers = [self._token(answer) for answer in (self.positive, self.negative)]
        found = torch.empty(len(rows), dtype=torch.float32, device="cpu")

        def judge(batch: Sequence[int]) -> None:
            both = logits_after(self.model, [rows[index] for index in batch], of=batch).read(
                lambda chunk, _part: chunk[:, answers]
            )
            found[list(batch)] = (both[:, 0] - both[:, 1]).float().cpu()

        for batch in length_buckets([len(row) for row in rows], self.batch_size):
            within_memory(judge, batch)
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
        AUROC, threshold and accuracy; the accuracy's interval is Agresti-Coull's. The threshold is of the same
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


def _common(row: Sequence[int], longer: Sequence[int]) -> int:
    """The number of tokens that two rows begin with."""
    return next((i for i, (one, two) in enumerate(zip(row, longer, strict=False)) if one != two), len(row))


def _require(matching: Sequence[str], other: Sequence[str]) -> None:
    if not matching or not other:
        raise DataError(f"a judge of {len(matching)} matching and {len(other)} other texts; give at least one of each.")
