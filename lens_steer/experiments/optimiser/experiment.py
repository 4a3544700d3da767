"""An optimiser over sites and strengths for several behaviours at once, beside the published schemes.

    effect      mean_b t_b change_b, or min_b t_b change_b, over behaviours b with target t_b = +1 or -1;  nats
    objective   effect - interference x mean_b |change_b| over behaviours with target 0
    chosen      the assignment of largest objective with side effects <= budget among the valid ones; where no valid one
                is better than no steering, the best of all is shown, as collapsed
    side effects    KL(unsteered || steered) on neutral text, nats a token; or 1 - relative top-1
    valid       no answers of a targeted behaviour have collapsed, and no others that had not collapsed unsteered

change_b is the mean over items of the logit difference (both option orders) minus that of the unsteered model. The
search (`search`) starts from the first-order sweep and takes slopes again where it has come to. The schemes
are those of van der Weij et al. 2024 (arXiv 2403.05767): `simultaneous`, the vectors on consecutive sites, and
`combined`, all at one site, both with one global strength of either sign; and the same two with each behaviour's sign
given by its target (`signed`). All have the same number of configurations. Points are chosen on validation items and
texts, and reported on test. The search finds a local optimum at its budget. With few configurations, and at smaller
shares of the budget, a fine grid of one global strength can be as good or better; `gains` shows where.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import pandas as pd

from lens_steer.data.choices import ChoiceTemplate
from lens_steer.data.corpora import Corpus
from lens_steer.data.splits import Splits
from lens_steer.data.tables import Tables
from lens_steer.errors import ScoreError
from lens_steer.evaluation.prompts import Scoring
from lens_steer.experiments.evaluator import Evaluator, scoring_options
from lens_steer.experiments.optimiser.problem import SearchProblem, SideEffectKind
from lens_steer.experiments.optimiser.rows import Key, configuration_rows, gain_rows, strength_rows, tested_rows
from lens_steer.experiments.optimiser.schemes import SCHEMES, random_configurations, refined_points, scheme_points
from lens_steer.experiments.optimiser.search import Tried, best, front, search
from lens_steer.experiments.optimiser.surrogate import Goal, Objective
from lens_steer.hooks import Scale
from lens_steer.hooks.sites import parse_sites
from lens_steer.model import SteerableModel, fingerprint, versions
from lens_steer.vector import SteeringVector
from lens_steer.vector.compose import Assignment, assign, require_behaviours

OPTIMISED, RANDOM = "optimised", "random"
SHARES = (1.0, 0.5, 0.25)
"""Shares of the budget at which the optimiser and the schemes are compared."""


@dataclass(frozen=True, kw_only=True)
class Optimise:
    """How an assignment is looked for; `budget` is what the first scheme spends at its best point where absent.

    `configurations` is what the search, and each scheme, may spend. `positions`, one rule for all, are the tokens that
    are edited. `most` is the largest global strength of a scheme. `checkpoint` is a folder in which measured
    configurations are kept, so that a run that was ended goes on.
    """

    sites: str | tuple[str, ...] = "resid_post@*"
    positions: str = "all"
    scale: Scale = "raw"
    side_effect: SideEffectKind = "kl"
    budget: float | None = None
    goal: Goal = "mean"
    interference: float = 0.5
    configurations: int = 80
    schemes: tuple[str, ...] = SCHEMES
    most: float = 2.0
    n_random: int = 20
    max_tokens: int | None = None
    template: ChoiceTemplate = field(default_factory=ChoiceTemplate)
    scoring: Scoring = "letter"
    chat: bool = False
    batch_size: int = 64
    checkpoint: str | None = None
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class OptimiseResult(Tables):
    """Everything that was tried, as tidy frames; `facts` hold settings, targets, budget, model and data.

    `configurations`: one row a scheme (`optimised` is one) and configuration on validation, collapsed ones included;
    `front` marks the scheme's Pareto front, `chosen` its best configuration within the budget. `placements`: one row a
    configuration and behaviour. `tested`: fronts, chosen configurations, and random directions in the place of the
    optimised ones, on test, with intervals. `gains`: at shares of the budget, the objective of `optimised` minus that
    of each scheme on test, paired by item.
    """

    kind = "optimiser"
    configurations: pd.DataFrame
    placements: pd.DataFrame
    tested: pd.DataFrame
    gains: pd.DataFrame

    def chosen(self, scheme: str = OPTIMISED) -> pd.DataFrame:
        """The strengths of a scheme's chosen configuration, one row a behaviour."""
        configuration = self.configurations.loc[
            self.configurations["scheme"].eq(scheme) & self.configurations["chosen"], "configuration"
        ].item()
        here = self.placements["scheme"].eq(scheme) & self.placements["configuration"].eq(configuration)
        return pd.DataFrame(self.placements[here]).reset_index(drop=True)

    def assignment(self, vectors: Mapping[str, SteeringVector]) -> Assignment:
        """The chosen assignment, ready to steer with.

        Args:
            vectors: those that were optimised over, by behaviour.

        Returns:
            Strengths of the vectors that are used.
        """
        rows = self.chosen()
        used = rows[rows["site"] != ""]
        names = used["behaviour"].tolist()
        sites = dict(zip(names, used["site"].tolist(), strict=True))
        strengths = dict(zip(names, used["strength"].tolist(), strict=True))
        return assign({name: vectors[name] for name in names}, sites, strengths)


def optimise_assignment(
    model: SteerableModel,
    vectors: Mapping[str, SteeringVector],
    behaviours: Mapping[str, Splits],
    texts: Corpus,
    targets: Mapping[str, int],
    settings: Optimise | None = None,
    progress: bool = False,
) -> OptimiseResult:
    """Looks for the sites and strengths that move several behaviours towards their targets within a budget.

    Args:
        model: a loaded model.
        vectors: one a behaviour, made of training items.
        behaviours: the items of the same behaviours.
        texts: neutral documents on which side effects are measured.
        targets: of each behaviour: +1 add, -1 subtract, 0 leave alone.
        settings: sites, budget, goal, configurations, schemes, controls; the defaults where absent.
        progress: draw a bar for each batch of configurations.

    Returns:
        Tidy frames of everything, on validation and on test.

    Raises:
        ScoreError: vectors or targets of other behaviours than the items'; a target that is not +1, -1 or 0; nothing
            targeted; an unknown scheme; no budget, and no scheme to take it from; too few configurations.
        DataError: behaviours of unequal size, or texts that are too short.
        SiteError: a vector lacks a site.
    """
    settings = settings or Optimise()
    _check(vectors, behaviours, targets, settings)
    ordered = {name: targets[name] for name in behaviours}
    problem = SearchProblem(
        evaluator=_evaluator(model, behaviours, texts, "validation", settings, progress),
        vectors={name: vectors[name] for name in behaviours},
        sites=tuple(parse_sites(settings.sites, int(model.cfg.n_layers), int(model.cfg.n_heads))),
        targets=tuple(ordered.values()),
        positions=settings.positions,
        scale=settings.scale,
        side_effect=settings.side_effect,
    )
    tried, objective = _all_tried(problem, settings)
    test = _evaluator(model, behaviours, texts, "test", settings, progress)
    configurations, tested, gains = _judged(problem, test, tried, objective, settings)
    facts = {
        "settings": asdict(settings) | {"checkpoint": None},
        "targets": ordered,
        "budget": objective.budget,
        "model": fingerprint(model).to_dict(),
        "behaviours": {name: splits.hash for name, splits in behaviours.items()},
        "texts": texts.hash,
        "versions": versions(),
    }
    placements = strength_rows(tried, ordered, problem.sites)
    return OptimiseResult(configurations=configurations, placements=placements, tested=tested, gains=gains, facts=facts)


def _evaluator(
    model: SteerableModel,
    behaviours: Mapping[str, Splits],
    texts: Corpus,
    split: str,
    settings: Optimise,
    progress: bool,
) -> Evaluator:
    """The items and texts of one split."""
    return Evaluator(
        model=model,
        items={name: getattr(splits, split) for name, splits in behaviours.items()},
        corpora={"text": getattr(texts, split)},
        options=replace(scoring_options(settings), progress=progress),
        max_tokens=settings.max_tokens,
    )


def _all_tried(problem: SearchProblem, settings: Optimise) -> tuple[dict[str, tuple[Tried, ...]], Objective]:
    """The optimiser's configurations, then each scheme's, all on validation; and the objective, with its budget."""
    free = Objective(
        targets=problem.targets,
        budget=settings.budget or float("inf"),
        goal=settings.goal,
        interference=settings.interference,
    )
    objective, tried = free, {}
    for scheme in settings.schemes:
        tried[scheme] = _scheme(problem, scheme, objective, settings)
        if objective is free and settings.budget is None:
            objective = replace(free, budget=best(tried[scheme], free).outcome.side_effect)
    found = search(objective, problem.gram(), problem.outcomes, problem.slopes, settings.configurations)
    return {OPTIMISED: found, **tried}, objective


def _scheme(problem: SearchProblem, scheme: str, objective: Objective, settings: Optimise) -> tuple[Tried, ...]:
    """All configurations of one scheme: every place, then the best place more closely."""
    first = scheme_points(scheme, problem.targets, len(problem.sites), settings.configurations, settings.most)
    found = [
        Tried(point=point, outcome=outcome, move="place", round=0)
        for point, outcome in zip(first, problem.outcomes(first), strict=True)
    ]
    second = refined_points(best(found, objective).point, settings.configurations - len(first))
    found += [
        Tried(point=point, outcome=outcome, move="strength", round=1)
        for point, outcome in zip(second, problem.outcomes(second), strict=True)
    ]
    return tuple(found)


def _judged(
    problem: SearchProblem,
    evaluator: Evaluator,
    tried: Mapping[str, Sequence[Tried]],
    objective: Objective,
    settings: Optimise,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Chooses on validation, and measures what was chosen on test: configurations, tested and gains."""
    fronts = {scheme: front(entries, objective) for scheme, entries in tried.items()}
    within = {
        (scheme, share): entries.index(best(entries, objective, share * objective.budget))
        for scheme, entries in tried.items()
        for share in SHARES
    }
    keys: list[Key] = [
        (scheme, index)
        for scheme in tried
        for index in sorted({*fronts[scheme], *(within[scheme, share] for share in SHARES)})
    ]
    chosen = tried[OPTIMISED][within[OPTIMISED, 1.0]].point
    control = random_configurations(
        problem.assignment(chosen), settings.scale, settings.positions, settings.n_random, settings.seed
    )
    measured = evaluator.measure(
        [*(problem.configuration(tried[scheme][index].point) for scheme, index in keys), *control]
    )
    keys += [(RANDOM, k) for k in range(settings.n_random)]
    pairs = [
        (share * objective.budget, (OPTIMISED, within[OPTIMISED, share]), (scheme, within[scheme, share]))
        for share in SHARES
        for scheme in settings.schemes
    ]
    return (
        configuration_rows(tried, objective, fronts, {scheme: within[scheme, 1.0] for scheme in tried}),
        tested_rows(measured, keys, objective, settings.side_effect, settings.resamples, settings.seed),
        gain_rows(measured, keys, pairs, objective, settings.resamples, settings.seed),
    )


def _check(
    vectors: Mapping[str, SteeringVector],
    behaviours: Mapping[str, Splits],
    targets: Mapping[str, int],
    settings: Optimise,
) -> None:
    """Refuses what has no meaning."""
    require_behaviours(vectors, behaviours, "vectors")
    require_behaviours(targets, behaviours, "targets")
    odd = {name: target for name, target in targets.items() if target not in (-1, 0, 1)}
    if odd or not any(targets.values()):
        raise ScoreError(f"targets {odd or dict(targets)}; give +1, -1 or 0 for each behaviour, and not 0 for all.")
    if settings.budget is None and not settings.schemes:
        raise ScoreError(
            "no budget and no scheme to take it from; give a budget of side effects, such as 0.3 nats a token."
        )
    if settings.budget is not None and not settings.budget > 0:
        raise ScoreError(f"a budget of {settings.budget}; give a number above 0, such as 0.3 nats a token.")
