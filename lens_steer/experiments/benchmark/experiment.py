"""The common benchmark: whatever changes a behaviour, on the same items, at the same side effects, with the same seeds.

    for each seed and behaviour    every contender is made of the same training items
    for each budget                its strength is the one at which neutral text costs that KL, for each end
    on test items                  effect with its interval, against the mean difference, beside random directions

At equal strength the longest vector wins; at equal KL, what moves the behaviour with the least side effects. A
contender that fails, or that cannot reach a budget, stands in the tables with its reason. Where questions are open,
logit differences are near 0 and anything moves the rate to one end: the effect in nats tells contenders apart, the rate
does not.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lens_steer._util.plotting import draw
from lens_steer._util.progress import track
from lens_steer.data.choices import ChoiceItem
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import FormatError, ScoreError
from lens_steer.evaluation.predicted_texts import PredictedTexts
from lens_steer.experiments.benchmark.contenders import Material, contenders
from lens_steer.experiments.benchmark.settings import BenchmarkSettings
from lens_steer.experiments.benchmark.tables import effect_table, tables_of
from lens_steer.experiments.benchmark.trial import Cost, Run, Trial
from lens_steer.experiments.plan import evenly_spaced
from lens_steer.hooks import require_unsteered
from lens_steer.hooks.sites import Site, check_site
from lens_steer.model import SteerableModel, fingerprint, require_model, versions

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
    ring = contenders(settings.methods, settings.n_random)
    texts = {
        split: PredictedTexts.of(model, getattr(neutral, split)[: settings.n_texts], settings.max_tokens)
        for split in ("validation", "test")
    }
    sites = pd.DataFrame(columns=["site", "effect"])
    if not settings.site:
        sites = _tried(model, behaviours, neutral, texts, settings)
        settings = replace(settings, site=str(sites.set_index("site")["effect"].idxmax()))
    check_site(model, Site.parse(settings.site))
    least = min(len(splits.test) for splits in behaviours.values())
    trials = [
        _trial(model, name, splits, splits.test[:least], neutral, texts, settings, seed)
        for seed in settings.seeds
        for name, splits in behaviours.items()
    ]
    runs, costs, steps = list[Run](), list[Cost](), [(trial, one) for trial in trials for one in ring]
    for trial, contender in track(steps, "benchmark", len(steps), progress):
        found, cost = trial.run(contender)
        runs += found
        costs.append(cost)
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


def _trial(
    model: SteerableModel,
    name: str,
    splits: Splits[ChoiceItem],
    asked: Sequence[ChoiceItem],
    neutral: Corpus,
    texts: Mapping[str, PredictedTexts],
    settings: BenchmarkSettings,
    seed: int,
) -> Trial:
    """One behaviour with the training items that a seed draws."""
    train = splits.train
    if 0 < settings.n_train < len(train):
        train = tuple(random.Random(f"train:{name}:{seed}").sample(train, settings.n_train))
    material = Material(
        model=model,
        name=name,
        items=train,
        documents=neutral.train,
        site=Site.parse(settings.site),
        settings=settings,
        seed=seed,
    )
    return Trial(material=material, test=tuple(asked), calibration=texts["validation"], reported=texts["test"])


def _tried(
    model: SteerableModel,
    behaviours: Mapping[str, Splits[ChoiceItem]],
    neutral: Corpus,
    texts: Mapping[str, PredictedTexts],
    settings: BenchmarkSettings,
) -> pd.DataFrame:
    """The reference's mean effect on validation items at a few sites; a site where it fails has none."""
    rows, reference = list[dict[str, Any]](), contenders()[0]
    for site in evenly_spaced(int(model.cfg.n_layers), N_SITES):
        own, effects = replace(settings, site=site, multiples=(1.0,)), []
        for name, splits in behaviours.items():
            asked = splits.validation or splits.train
            (run,), _ = _trial(model, name, splits, asked, neutral, texts, own, own.seeds[0]).run(reference)
            effects += [float(end.change.mean()) for end in run.ends.values()]
        rows.append({"site": site, "effect": sum(effects) / len(effects) if effects else float("nan")})
    found = pd.DataFrame(rows)
    if found["effect"].isna().all():
        raise ScoreError(f"the reference reaches a KL of {settings.kl:g} nats at no site of {list(found['site'])}.")
    return found
