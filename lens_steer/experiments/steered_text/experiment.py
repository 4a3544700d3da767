"""Generated text of one vector and its controls over strengths: judged, looked through for collapse, and its price.

    score         of each continuation, by a judge that takes no part in the steering                     nats
    effect_i(s)   [ score_i(+s) - score_i(-s) ] / 2 of prompt i
    rate          share of continuations above the judge's threshold
    collapse      the rule of `metrics.collapse.generation`
    side effects  KL and top-1 of neutral texts under the same edit, at all of their tokens

Every vector's strength is chosen on the validation prompts beside all the other vectors (`evaluation.select`), a
strength being valid where neither sign collapses, and is reported on the test prompts. Controls are random directions
of the same norm and any further vectors, such as those of shuffled labels. The judge is tested first, on texts whose
label is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer._util.progress import track
from lens_steer.data.corpora import TextContrast
from lens_steer.data.tables import Tables
from lens_steer.errors import ScoreError
from lens_steer.evaluation.grid import GridOptions
from lens_steer.evaluation.judge import JudgeQuality, judge_quality
from lens_steer.evaluation.select import Measured, Place, choose_measured
from lens_steer.evaluation.side_effects import SideEffects, side_effect_grid
from lens_steer.experiments.individual_steering.experiment import STEERING
from lens_steer.generation import Decoding, generate
from lens_steer.hooks import Intervention, Scale
from lens_steer.hooks.sites import Site
from lens_steer.metrics.collapse import generation_collapse
from lens_steer.metrics.statistics import RESAMPLES, mean_interval, rate_interval
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector, random_like

Judging = Callable[[Sequence[str]], Float[Tensor, " n"]]
"""A score of each text, such as `QuestionJudge.log_odds` gives."""

VALIDATION, TEST = "validation", "test"


@dataclass(frozen=True, kw_only=True)
class SteeredText:
    """Where and how strongly is steered, and how much is generated.

    `strengths` has both signs of each size; 0 joins them. At `mapped` sites the vector is tried alone, on the
    validation prompts. `max_tokens` cuts the neutral texts.
    """

    site: str = ""
    strengths: tuple[float | int, ...] = (-2, -1, -0.5, 0.5, 1, 2)
    positions: str = "all"
    scale: Scale = "raw"
    mapped: tuple[str, ...] = ()
    new_tokens: int = 20
    temperature: float = 0.0
    n_random: int = 20
    max_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeredTextResult(Tables):
    """The column `vector` is `steering`, `random k` or another control's name in all tables.

    `texts`: a row a continuation, with its score. `strengths`: a row for each vector, site, strength and split; side
    effects are those of the same edit on neutral texts (NaN at the mapped sites). `chosen`: a row a vector, its
    strength chosen on validation and its effect on test prompts. `judged`: the texts of known label with their scores.
    """

    kind = "steered_text"
    texts: pd.DataFrame
    strengths: pd.DataFrame
    chosen: pd.DataFrame
    judged: pd.DataFrame


def steer_text(
    model: SteerableModel,
    vector: SteeringVector,
    prompts: tuple[Sequence[str], Sequence[str]],
    judge: Judging,
    labelled: TextContrast,
    neutral: Sequence[str],
    settings: SteeredText,
    controls: Sequence[SteeringVector] = (),
    progress: bool = False,
) -> SteeredTextResult:
    """Continues prompts under a vector and its controls at every strength, and judges what is written.

    Args:
        model: the vector's model.
        vector: what is added.
        prompts: those on which strengths are chosen, and those on which they are reported; at least two each.
        judge: scores texts; prompt and continuation are judged together.
        labelled: texts whose label is known, on which the judge is tested.
        neutral: texts on which side effects are measured.
        settings: site, strengths, positions, lengths, number of random directions.
        controls: further vectors beside the random directions; their names end in a number.
        progress: draw a progress bar.

    Returns:
        Tidy frames.

    Raises:
        ScoreError: fewer than two prompts in a split, a prompt in both, or a strength without its negative.
        SiteError, MismatchError, DataError: as `Intervention.of` and `measure_side_effects`.
    """
    grid, places = _grid(settings), (VALIDATION,) * len(prompts[0]) + (TEST,) * len(prompts[1])
    _require(prompts)
    pool = {STEERING: vector}
    pool |= {f"random {k}": random_like(vector, settings.seed + k) for k in range(settings.n_random)}
    pool |= {control.name: control for control in controls}
    quality, judged = _tested(judge, labelled)
    writer = _Writer(model=model, judge=judge, threshold=quality.threshold, settings=settings)
    everyone, validating = [*prompts[0], *prompts[1]], list(prompts[0])
    plain = writer.write(everyone, ())
    site, points = Site.parse(settings.site), [(name, s) for name in pool for s in grid if s]
    edits = {point: (writer.edit(pool[point[0]], site, point[1]),) for point in points}
    found = dict.fromkeys(((name, 0.0) for name in pool), plain)
    found |= {point: writer.write(everyone, edits[point]) for point in track(points, "writing", len(points), progress)}
    options = GridOptions(progress=progress)
    spoilt = side_effect_grid(model, neutral, [(), *edits.values()], options, settings.max_tokens)
    price = dict.fromkeys(((name, 0.0) for name in pool), spoilt[0]) | dict(zip(points, spoilt[1:], strict=True))
    texts = [frame.assign(vector=name, site=str(site), strength=s, split=places) for (name, s), frame in found.items()]
    alone = [(Site.parse(entry), s) for entry in settings.mapped for s in grid if Site.parse(entry) != site]
    for other, s in track(alone, "mapping", len(alone), progress):
        edit = () if s == 0 else (writer.edit(vector, other, s),)
        place = {"vector": STEERING, "site": str(other), "strength": s, "split": VALIDATION}
        texts.append(writer.write(validating, edit).assign(**place))
    written = pd.concat(texts, ignore_index=True)
    strengths = _strengths(written, price, str(site), settings)
    facts: dict[str, Any] = {"settings": asdict(settings), "vector": vector.name, "neutral": len(neutral)}
    facts |= {"judge": _facts(quality), "model": fingerprint(model).to_dict(), "versions": versions()}
    return SteeredTextResult(
        texts=written.drop(columns="tokens"),
        strengths=strengths,
        chosen=_chosen(written, strengths, site, settings),
        judged=judged,
        facts=facts,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Writer:
    """What is the same for every continuation."""

    model: SteerableModel
    judge: Judging
    threshold: float
    settings: SteeredText

    def edit(self, vector: SteeringVector, site: Site, strength: float) -> Intervention:
        """The edit of one vector at one strength."""
        return Intervention.of(vector, site, strength, self.settings.scale, self.settings.positions)

    def write(self, prompts: Sequence[str], edits: Sequence[Intervention]) -> pd.DataFrame:
        """One row a prompt: the continuation, its tokens without end-of-sequence, and the judge's score."""
        how = Decoding(
            max_new_tokens=self.settings.new_tokens,
            temperature=self.settings.temperature,
            seed=self.settings.seed,
        )
        entries = generate(self.model, list(prompts), edits, how).continuations
        tokens = [entry.tokens[: len(entry.tokens) - (entry.ended == "eos")] for entry in entries]
        texts = [entry.text for entry in entries]
        scores = self.judge([prompt + text for prompt, text in zip(prompts, texts, strict=True)])
        columns = {"prompt": list(prompts), "text": texts, "tokens": tokens, "score": scores.tolist()}
        return pd.DataFrame(columns).assign(positive=(scores > self.threshold).tolist())


def _grid(settings: SteeredText) -> list[float]:
    """The strengths in rising order, with 0; refused where one lacks its negative."""
    grid = sorted({0.0, *map(float, settings.strengths)})
    if len(grid) < 3 or any(-strength not in grid for strength in grid):
        raise ScoreError(f"strengths {list(settings.strengths)}; give both signs of each size, such as (-1, 1).")
    return grid


def _require(prompts: tuple[Sequence[str], Sequence[str]]) -> None:
    shared = set(prompts[0]) & set(prompts[1])
    if min(map(len, prompts)) < 2 or shared:
        raise ScoreError(
            f"{len(prompts[0])} validation and {len(prompts[1])} test prompts, {len(shared)} of them in both; give at "
            "least two each, and none twice."
        )


def _tested(judge: Judging, labelled: TextContrast) -> tuple[JudgeQuality, pd.DataFrame]:
    """The judge on texts of known label."""
    scores = judge([*labelled.positive, *labelled.negative])
    n = len(labelled.positive)
    labels = ["positive"] * n + ["negative"] * len(labelled.negative)
    columns = {"label": labels, "text": [*labelled.positive, *labelled.negative], "score": scores.tolist()}
    return judge_quality(scores[:n], scores[n:]), pd.DataFrame(columns)


def _facts(quality: JudgeQuality) -> dict[str, Any]:
    """The judge's quality as facts of the tables."""
    return {"auroc": quality.auroc, "threshold": quality.threshold, "accuracy": asdict(quality.accuracy)}


def _strengths(
    written: pd.DataFrame, price: dict[tuple[str, float], SideEffects], home: str, settings: SteeredText
) -> pd.DataFrame:
    """One row for each vector, site, strength and split."""
    rows = []
    for key, group in pd.DataFrame(written).groupby(["vector", "site", "strength", "split"], sort=False):
        name, site, strength, split = map(str, key)
        scores = torch.tensor(group["score"].to_numpy(dtype=float), device="cpu")
        positive = torch.tensor(group["positive"].to_numpy(dtype=float), device="cpu")
        found = generation_collapse(list(group["tokens"]), list(group["text"]))
        score, rate = mean_interval(scores, resamples=RESAMPLES if name == STEERING else 0), rate_interval(positive)
        row = {"vector": name, "site": site, "positions": settings.positions, "layer": Site.parse(site).layer}
        row |= {"strength": float(strength), "scale": settings.scale, "split": split}
        row |= {"score": score.value, "low": score.low, "high": score.high, "why": score.why}
        row |= {"matching_rate": rate.value, "rate_low": rate.low, "rate_high": rate.high, "rate_why": rate.why}
        row |= {"collapsed_share": found.collapsed_share}
        row |= {"cross_prompt_similarity": found.cross_prompt_similarity, "distinct_n": found.distinct_n}
        row |= {"collapsed": found.collapsed and float(strength) != 0, "reason": found.reason, "n": len(group)}
        rows.append(row | (_price(price[name, float(strength)], name == STEERING) if site == home else {}))
    return pd.DataFrame(rows)


def _price(spoilt: SideEffects, bounded: bool) -> dict[str, float]:
    """KL and retained top-1 accuracy on neutral texts, for the vector with intervals over texts."""
    row = {"kl": spoilt.kl, "relative_top1": spoilt.relative_top1, "relative_perplexity": spoilt.relative_perplexity}
    if bounded:
        for name, found in spoilt.intervals(resamples=1999).items():
            row |= {f"{name}_low": found.low, f"{name}_high": found.high} if name in row else {}
    return row


def _chosen(written: pd.DataFrame, strengths: pd.DataFrame, site: Site, settings: SteeredText) -> pd.DataFrame:
    """Every vector at the strength chosen on validation, with its effect on test prompts."""
    here = written[written["site"] == str(site)]
    scores: Any = here.pivot_table(index=["vector", "split", "strength"], columns="prompt", values="score", sort=False)
    fallen = strengths[strengths["collapsed"] & (strengths["site"] == str(site)) & (strengths["split"] == VALIDATION)]
    collapsed = {(name, abs(strength)) for name, strength in zip(fallen["vector"], fallen["strength"], strict=True)}
    sizes = sorted(strength for strength in strengths["strength"].unique() if strength > 0)

    def effects(name: str, split: str, size: float) -> Float[Tensor, " n"]:
        half = (scores.loc[(name, split, size)] - scores.loc[(name, split, -size)]) / 2
        return torch.tensor(half.dropna().to_numpy(dtype=float), device="cpu")

    names = list(dict.fromkeys(here["vector"]))
    measured: list[dict[Place, Measured]] = []
    for name in names:
        places = {
            (site, settings.positions, size): Measured(
                effects=effects(name, VALIDATION, size), scale=settings.scale, valid=(name, size) not in collapsed
            )
            for size in sizes
        }
        measured.append(places)
    rows = []
    for name, point in zip(names, choose_measured(measured), strict=True):
        found = mean_interval(effects(name, TEST, point.strength))
        row = {"vector": name, "site": str(site), "positions": settings.positions, "strength": point.strength}
        row |= {"scale": settings.scale, "valid": point.valid, "validation_effect": point.effect, "band": point.band}
        row |= {"effect": found.value, "effect_low": found.low, "effect_high": found.high, "n": found.n}
        row |= {"effect_why": found.why}
        rows.append(row | {"excess": found.value - point.band})
    return pd.DataFrame(rows)
