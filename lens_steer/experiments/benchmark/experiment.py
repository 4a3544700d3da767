"""The common benchmark: whatever changes a behaviour, on the same items, at the same side effects, with the same seeds.

    for each seed and behaviour    every contender is made of the same training items
    for each budget                its strength is the one at which neutral text costs that KL, for each end
    on test items                  effect with its interval, against the mean difference, beside random directions

At equal strength the longest vector wins; at equal KL, what moves the behaviour with the least side effects. A
contender that fails, or that cannot reach a budget, stands in the tables with its reason. Where questions are open,
logit differences are near 0 and anything moves the rate to one end: the effect in nats tells contenders apart, the rate
does not.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer._util.files import write_whole
from lens_steer._util.plotting import draw
from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import FormatError, ScoreError
from lens_steer.evaluation.grid import Pool
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.experiments.benchmark.contenders import Material, contenders
from lens_steer.experiments.benchmark.settings import BenchmarkSettings
from lens_steer.experiments.benchmark.tables import effect_table, tables_of
from lens_steer.experiments.benchmark.trial import Cost, Run, Trial
from lens_steer.experiments.plan import evenly_spaced
from lens_steer.hooks import require_unsteered
from lens_steer.hooks.sites import Site, check_site
from lens_steer.model import SteerableModel, fingerprint, require_model, versions
from lens_steer.model.stored import checksummed, computation_key, is_whole, warn_recomputed

Neutral = tuple[PredictedTexts, PredictedTexts]
"""The texts on which strengths are calibrated, and those on which side effects are reported."""
N_SITES = 4
OLD = "methods.csv"
"""What was written before contenders other than vectors were compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Benchmark(Tables):
    """What was found.

    `leaderboard`: one row a method, its mean effect over behaviours at the budget. `fronts`: one row a method and
    budget, and the largest random direction. `effects`: one row a behaviour, method and budget, random directions among
    them. `costs`: one row a behaviour, method and seed, seconds of processor. `sites`: one row a site that was tried
    for the reference, none where it was given.
    """

    kind = "benchmark"
    leaderboard: pd.DataFrame
    fronts: pd.DataFrame
    effects: pd.DataFrame
    costs: pd.DataFrame
    sites: pd.DataFrame

    @classmethod
    def load(cls, folder: str | Path) -> "Benchmark":
        """Reads what `save` wrote.

        Raises:
            FormatError: as `Tables.load`; or the folder holds the comparison of an earlier version.
        """
        if (Path(folder) / OLD).is_file():
            raise FormatError(
                f"{folder}: holds {OLD}, the comparison of extraction methods alone, of version 0.2 or earlier; the "
                "benchmark that took its place has tables of its own. Run lens-steer benchmark again, or read it as "
                "plain CSV."
            )
        return super().load(folder)

    @property
    def table(self) -> pd.DataFrame:
        """Method by behaviour: the effects at the budget, the leader first."""
        return effect_table(self.effects, self.leaderboard, float(self.facts["settings"]["kl"]))

    def plot(self) -> Any:
        """The effects of all methods on all behaviours at the budget."""
        return draw("method_heatmap", self.table)


def benchmark(
    model: SteerableModel,
    behaviours: Mapping[str, Splits[ChoiceItem]],
    neutral: Corpus,
    settings: BenchmarkSettings | None = None,
    progress: bool = False,
    *,
    checkpoint: str | Path | None = None,
    pool: Pool | None = None,
) -> Benchmark:
    """Runs all contenders on all behaviours.

    Args:
        model: a loaded model.
        behaviours: the items of each; contenders are made of training items, effects measured on test items, as many
            of each behaviour as the smallest has.
        neutral: texts on whose validation split strengths are calibrated, and on whose test split side effects are
            reported.
        settings: contenders, place, budgets, seeds; the defaults where absent.
        progress: draw a progress bar.
        checkpoint: a folder in which each behaviour and seed is saved when it is done, so that an interrupted run goes
            on.
        pool: workers that run behaviours and seeds; this process does where absent.

    Returns:
        The tables.

    Raises:
        ScoreError: no behaviours, or a behaviour without training or test items.
        MethodError: there is no such contender.
        SiteError: the model has no such site.
        OptionTokenError, DataError: items that cannot be asked, or texts of one token.
    """
    settings = settings or BenchmarkSettings()
    require_model(model, "benchmark(model, behaviours, neutral)", behaviours, neutral)
    require_unsteered(model, "the benchmark", "call it without steering")
    lacking = [name for name, splits in behaviours.items() if not splits.train or not splits.test]
    if not behaviours or lacking:
        raise ScoreError(
            f"{len(behaviours)} behaviours, of which {lacking} have no training or test items; give at least one "
            "behaviour, each with items of both."
        )
    contenders(settings.methods)
    sites = pd.DataFrame(columns=["site", "effect"])
    if not settings.site:
        sites = _tried(model, behaviours, neutral, settings)
        settings = replace(settings, site=str(sites.set_index("site")["effect"].idxmax()))
    check_site(model, Site.parse(settings.site))
    least = min(len(splits.test) for splits in behaviours.values())
    jobs = [
        Job.of(name, splits, splits.test[:least], neutral, settings, seed)
        for seed in settings.seeds
        for name, splits in behaviours.items()
    ]
    answers = _answered(model, jobs, checkpoint, pool, progress)
    runs = [Run.from_dict(run) for answer in answers for run in answer["runs"]]
    costs = [Cost(**cost) for answer in answers for cost in answer["costs"]]
    return result_of(model, behaviours, neutral, settings, runs, costs, sites)


def result_of(
    model: SteerableModel,
    behaviours: Mapping[str, Splits[ChoiceItem]],
    neutral: Corpus,
    settings: BenchmarkSettings,
    runs: Sequence[Run],
    costs: Sequence[Cost],
    sites: pd.DataFrame,
) -> Benchmark:
    """The tables of finished runs; arguments as for `benchmark`, with the runs, their costs and the sites tried."""
    facts = {"settings": asdict(settings), "model": fingerprint(model).to_dict(), "versions": versions()}
    facts |= {"items": {name: splits.hash for name, splits in behaviours.items()}, "neutral": neutral.hash}
    return Benchmark(
        **tables_of(runs, settings.kl, settings.budgets),
        costs=pd.DataFrame([asdict(cost) for cost in costs]),
        sites=sites,
        facts=facts,
    )


@dataclass(frozen=True, kw_only=True)
class Job:
    """One behaviour with the training items that a seed draws: what a worker is sent.

    `asked` are its test items, `documents` the neutral texts of which a gate is made; `calibration` and `reported` are
    those on which strengths are calibrated and side effects reported.
    """

    name: str
    train: tuple[ChoiceItem, ...]
    asked: tuple[ChoiceItem, ...]
    documents: tuple[str, ...]
    calibration: tuple[str, ...]
    reported: tuple[str, ...]
    settings: BenchmarkSettings
    seed: int

    @classmethod
    def of(
        cls,
        name: str,
        splits: Splits[ChoiceItem],
        asked: Sequence[ChoiceItem],
        neutral: Corpus,
        settings: BenchmarkSettings,
        seed: int,
    ) -> "Job":
        """The job of a behaviour and a seed."""
        train = splits.train
        if 0 < settings.n_train < len(train):
            train = tuple(random.Random(f"train:{name}:{seed}").sample(train, settings.n_train))
        return cls(
            name=name,
            train=train,
            asked=tuple(asked),
            documents=neutral.train,
            calibration=neutral.validation[: settings.n_texts],
            reported=neutral.test[: settings.n_texts],
            settings=settings,
            seed=seed,
        )

    def texts(self, model: SteerableModel) -> Neutral:
        """The neutral texts, as the unsteered model predicts them; the same for all jobs of a benchmark."""
        calibration, reported = (
            PredictedTexts.of(model, texts, self.settings.max_tokens) for texts in (self.calibration, self.reported)
        )
        return calibration, reported

    def trial(self, model: SteerableModel, texts: Neutral) -> Trial:
        """The job on a model, beside neutral texts that it has predicted."""
        calibration, reported = texts
        material = Material(
            model=model,
            name=self.name,
            items=self.train,
            documents=self.documents,
            site=Site.parse(self.settings.site),
            settings=self.settings,
            seed=self.seed,
        )
        return Trial(material=material, test=self.asked, calibration=calibration, reported=reported)


def run_job(
    model: SteerableModel, numbered: tuple[int, Job], texts: Neutral | None = None, progress: bool = False
) -> tuple[int, dict[str, Any]]:
    """All contenders of one job, as JSON values: what a worker sends back.

    Args:
        model: a loaded model.
        numbered: the job, and its number, which comes back with it.
        texts: the job's neutral texts, where the model has predicted them already.
        progress: draw a progress bar.
    """
    number, job = numbered
    trial, ring = job.trial(model, texts or job.texts(model)), contenders(job.settings.methods, job.settings.n_random)
    done = [trial.run(one) for one in track(ring, f"{job.name}, seed {job.seed}", len(ring), progress)]
    runs = [run.to_dict() for found, _ in done for run in found]
    return number, {"runs": runs, "costs": [asdict(cost) for _, cost in done]}


def _answered(
    model: SteerableModel, jobs: Sequence[Job], folder: str | Path | None, pool: Pool | None, progress: bool
) -> list[dict[str, Any]]:
    """What each job gives, from the folder where it is there."""
    paths = [_path(model, job, folder) for job in jobs]
    found = {number: answer for number, path in enumerate(paths) if (answer := _stored(path)) is not None}
    missing = [(number, job) for number, job in enumerate(jobs) if number not in found]
    if pool is not None:
        steps = pool.run(model, run_job, missing)
    else:
        texts = missing[0][1].texts(model) if missing else None
        steps = (run_job(model, one, texts, progress) for one in missing)
    for number, answer in track(steps, "benchmark", len(missing), progress):
        found[number], path = answer, paths[number]
        if path is not None:
            write_whole(path, json.dumps(checksummed(answer)).encode())
    return [found[number] for number in range(len(jobs))]


def _path(model: SteerableModel, job: Job, folder: str | Path | None) -> Path | None:
    """The file of a job; none where nothing is stored."""
    key = None if folder is None else computation_key(model, ["benchmark", job], "results")
    return None if folder is None or key is None else Path(folder).expanduser() / f"{key[:16]}.json"


def _stored(path: Path | None) -> dict[str, Any] | None:
    """What a file holds; none, with a warning where there is a file, if it cannot be used."""
    if path is None or not path.is_file():
        return None
    try:
        answer = json.loads(path.read_bytes())
        if isinstance(answer, dict) and is_whole(answer):
            return answer
        reason = "it is truncated or edited"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    warn_recomputed(path, reason)
    return None


def _tried(
    model: SteerableModel,
    behaviours: Mapping[str, Splits[ChoiceItem]],
    neutral: Corpus,
    settings: BenchmarkSettings,
) -> pd.DataFrame:
    """The reference's mean effect on validation items at a few sites; a site where it fails has none."""
    rows, reference, texts = list[dict[str, Any]](), contenders()[0], None
    for site in evenly_spaced(int(model.cfg.n_layers), N_SITES):
        own, effects = replace(settings, site=site, multiples=(1.0,)), []
        for name, splits in behaviours.items():
            asked = splits.validation or splits.train
            job = Job.of(name, splits, asked, neutral, own, own.seeds[0])
            texts = texts or job.texts(model)
            (run,), _ = job.trial(model, texts).run(reference)
            effects += [float(end.change.mean()) for end in run.ends.values()]
        rows.append({"site": site, "effect": sum(effects) / len(effects) if effects else float("nan")})
    found = pd.DataFrame(rows)
    if found["effect"].isna().all():
        raise ScoreError(f"the reference reaches a KL of {settings.kl:g} nats at no site of {list(found['site'])}.")
    return found
