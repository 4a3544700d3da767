"""What a run will cost and what a budget leaves of it; nothing is forwarded here.

    work       amounts by kind, counted from settings and from the lengths of the data
    speed      seconds for one unit of each kind, measured on the model (`experiments.speed`)
    seconds    = sum over kinds of amount x speed

    read       tokens x blocks whose activations are read           gradient   tokens x blocks, forward and backward
    asked RULE tokens x blocks behind the site, for each question and configuration that edits the tokens of RULE
    plain      tokens x blocks of questions asked unsteered
    texts      tokens x blocks behind the site, of documents        predicted  tokens whose whole distribution is read
    generated  tokens                                               overhead   configurations: summaries, intervals

A budget takes the steps of `ladder` one after another until the estimate fits into `SHARE` of it; where none fits, the
last study is left out, and the steps are tried anew. The order is fixed: a larger budget never leaves fewer studies,
and with the same studies never less.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lens_steer.errors import BudgetError
from lens_steer.hooks.sites import Site, parse_sites

SHARE = 0.8
"""The share of a budget that the estimate may take."""
LEAST_ITEMS, LEAST_DOCUMENTS = 20, 8
"""Test items and documents that every plan keeps: a rate of 20 items has a 95 % interval of at most +-.22, and fewer
documents than 8 leave a bootstrap over documents too few different resamples."""
Lengths = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Tokens of each entry, by name and split."""


@dataclass(frozen=True)
class Work:
    """Amounts by kind, and the number of configurations that are measured."""

    amounts: Mapping[str, float | int] = field(default_factory=dict)
    configurations: int = 0

    def __add__(self, other: "Work") -> "Work":
        kinds = {**self.amounts, **other.amounts}
        amounts = {kind: self.amounts.get(kind, 0.0) + other.amounts.get(kind, 0.0) for kind in kinds}
        return Work(amounts, self.configurations + other.configurations)

    def __mul__(self, times: float | int) -> "Work":
        amounts = {kind: times * amount for kind, amount in self.amounts.items()}
        return Work(amounts, round(times * self.configurations))

    @property
    def token_blocks(self) -> float:
        """Tokens times blocks, of every kind that is counted in them."""
        return sum(
            n for kind, n in self.amounts.items() if kind.split()[0] in ("read", "plain", "asked", "texts", "gradient")
        )

    def seconds(self, speed: Mapping[str, float]) -> float:
        """The time that it takes.

        Args:
            speed: seconds for one unit, of every kind in `amounts`.
        """
        return sum(amount * speed[kind] for kind, amount in self.amounts.items()) + self.configurations * OVERHEAD


OVERHEAD = 0.02
"""Seconds for the summary of one configuration with its intervals."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The size of a model and the lengths of the data that a study is given.

    `prompts`: tokens of each question in both option orders together; `documents`: tokens of each document. `rule`: the
    position rule that studies after individual steering take from it, its first one until it is chosen.
    """

    n_layers: int
    n_heads: int
    d_model: int = 0
    prompts: Lengths = field(default_factory=dict)
    documents: Lengths = field(default_factory=dict)
    neutral: str = "neutral"
    rule: str = ""

    def cut(self, items: Mapping[str, int], documents: Mapping[str, int]) -> "Extent":
        """The same with the first entries of each split."""
        return replace(self, prompts=_cut(self.prompts, items), documents=_cut(self.documents, documents))

    def blocks(self, sites: str | Sequence[str]) -> list[int]:
        """Of each site, the blocks that are run again when it is edited."""
        parsed = parse_sites(sites, self.n_layers, self.n_heads)
        return [self.n_layers - site.layer - (site.kind == "resid_post") for site in parsed]

    @property
    def middle(self) -> float:
        """The blocks behind a site of which nothing is known yet: half of all."""
        return self.n_layers / 2

    def behind(self, sites: str | Sequence[str]) -> float:
        """The blocks behind one of some sites, of which it is not known yet which: their mean; `middle` of none."""
        return sum(self.blocks(sites)) / len(self.blocks(sites)) if sites else self.middle

    def tokens(self, split: str, behaviours: Iterable[str] | None = None) -> float:
        """Tokens of all questions of a split."""
        names = self.prompts if behaviours is None else behaviours
        return float(sum(sum(self.prompts[name][split]) for name in names))

    def read(self, tokens: float | int) -> Work:
        """Activations that are read at all blocks."""
        return Work({"read": tokens * self.n_layers})

    def asked(self, tokens: float | int, rule: str, blocks: Sequence[float | int], times: int = 1) -> Work:
        """Questions of so many tokens under `times` configurations for each site, and once unsteered."""
        amounts = {"plain": tokens * self.n_layers, f"asked {rule}": tokens * times * sum(blocks)}
        return Work(amounts, times * len(blocks))

    def texts(
        self, split: str, corpora: Iterable[str], blocks: Sequence[float | int], times: int = 1, most: int | None = None
    ) -> Work:
        """Documents predicted under `times` configurations for each site, and once unsteered, cut to `most` tokens."""
        lengths = [length for name in corpora for length in self.documents[name][split]]
        tokens = float(sum(min(length, most or length) for length in lengths))
        points = times * len(blocks)
        return Work(
            {"texts": tokens * (self.n_layers + times * sum(blocks)), "predicted": tokens * (1 + points)}, points
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a budget leaves of the settings; each study translates it (`Study.reduced`).

    `ranked`: sites are screened by their first-order slopes. `mapped`: the vector is swept at all sites too. `coarse`:
    every second strength. `rule`: the one position rule; all where empty. `items`, `documents`: the most of the test
    split. `studies`: how many, the first ones of the registry.
    """

    ranked: bool = False
    mapped: bool = True
    coarse: bool = False
    rule: str = ""
    items: int | None = None
    documents: int | None = None
    studies: int | None = None

    def of_items(self, given: Mapping[str, int]) -> dict[str, int]:
        """The most items of each split: half as many for choosing as for testing, twice as many for the vectors."""
        return _limits(given, self.items, LEAST_ITEMS)

    def of_documents(self, given: Mapping[str, int]) -> dict[str, int]:
        """The most documents of each split, in the same proportions."""
        return _limits(given, self.documents, LEAST_DOCUMENTS)


Step = tuple[str, Mapping[str, Any]]
"""What is said of a reduction, and the sizes that it changes."""


def ladder(rule: str) -> list[Step]:
    """The reductions in the order in which a budget takes them.

    Args:
        rule: the position rule that is cheapest to ask.
    """
    steps: list[Step] = [
        ("sites are screened by their slopes at strength 0, from one forward and backward pass", {"ranked": True}),
        ("no map of all sites and strengths: only the screened sites are swept", {"mapped": False}),
        ("every second strength is measured; in individual steering, then those next to the best", {"coarse": True}),
        (f"of the position rules only {rule!r}, the fastest here", {"rule": rule}),
    ]
    for items, documents in ((100, 40), (60, 24), (40, 16), (30, 12), (LEAST_ITEMS, LEAST_DOCUMENTS)):
        steps.append(
            (f"at most {items} test items a behaviour and {documents} test documents a corpus, half as many to choose "
             "on", {"items": items, "documents": documents})
        )  # fmt: skip
    return steps


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """One study of a plan, with what it will take."""

    name: str
    work: Work
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes, what was left out for them in words, and each study with its estimate."""

    sizes: Sizes
    left_out: tuple[str, ...]
    studies: tuple[PlannedStudy, ...]

    @property
    def seconds(self) -> float:
        """The estimate for all studies."""
        return sum(study.seconds for study in self.studies)


Count = Callable[[Sizes], Work]
"""The work of one study at given sizes."""


def make_plan(
    works: Mapping[str, Count], speed: Mapping[str, float], budget: float | None = None, spent: float = 0.0
) -> Plan:
    """The largest plan of the ladder that fits a budget.

    Args:
        works: by study, in the order in which they run.
        speed: seconds for one unit of each kind; `asked RULE` for every position rule.
        budget: seconds; everything is run where absent.
        spent: seconds that are already gone, such as for loading and measuring.

    Returns:
        The plan.

    Raises:
        BudgetError: the least plan takes longer; the message says how long.
    """
    rules = {kind.removeprefix("asked "): each for kind, each in speed.items() if kind.startswith("asked ")}
    rule = min(rules, key=lambda name: rules[name]) if rules else "last"
    plan = plan_at(works, speed, Sizes())
    if budget is None:
        return plan
    for n in range(len(works), 0, -1):
        sizes = Sizes(studies=None if n == len(works) else n)
        said = {} if n == len(works) else {"studies": f"only the first {n} of {len(works)} studies"}
        for words, change in (("", {}), *ladder(rule)):
            sizes = replace(sizes, **change)
            said |= {next(iter(change)): words} if change else {}
            plan = plan_at(works, speed, sizes, [*said.values()])
            if plan.seconds + spent <= SHARE * budget:
                return plan
    least = (plan.seconds + spent) / SHARE
    raise BudgetError(
        f"a budget of {clock(budget)}; the least plan ({plan.studies[0].name} only, {LEAST_ITEMS} test items) needs "
        f"{clock(least)} on this machine. Give --budget {int(least) + 1}s or more, fewer behaviours, or --limit."
    )


def plan_at(works: Mapping[str, Count], speed: Mapping[str, float], sizes: Sizes, left_out: Sequence[str] = ()) -> Plan:
    """The plan at given sizes, such as those with which a run was begun.

    Args:
        works: by study, in the order in which they run.
        speed: seconds for one unit of each kind.
        sizes: what is left of the settings.
        left_out: what was left out for them, in words.
    """
    planned = []
    for name, work in list(works.items())[: sizes.studies]:
        found = work(sizes)
        planned.append(PlannedStudy(name=name, work=found, seconds=found.seconds(speed)))
    return Plan(sizes=sizes, left_out=tuple(left_out), studies=tuple(planned))


def clock(seconds: float) -> str:
    """Time in words: `45 s`, `12 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def every_second(strengths: Sequence[float | int]) -> tuple[float | int, ...]:
    """Every second strength of each sign, the largest of each kept, and 0 where it is there."""
    chosen = {s for s in strengths if s == 0}
    for sign in (-1, 1):
        outer = sorted((s for s in strengths if sign * s > 0), key=abs, reverse=True)
        chosen |= set(outer[::2])
    return tuple(s for s in strengths if s in chosen)


def evenly_spaced(n_layers: int, n: int) -> tuple[str, ...]:
    """At most n `resid_post` sites, evenly over the layers, the last layer left out where there are others."""
    last = max(n_layers - 2, 0)
    layers = {round((k + 1) * last / (n + 1)) for k in range(n)} or {0}
    return tuple(str(Site.parse(f"resid_post@{layer}")) for layer in sorted(layers))


def _cut(lengths: Lengths, most: Mapping[str, int]) -> Lengths:
    return {
        name: {split: rows[: most.get(split)] for split, rows in splits.items()} for name, splits in lengths.items()
    }


def _limits(given: Mapping[str, int], most: int | None, least: int) -> dict[str, int]:
    """The limits of a study, and those of the sizes where they are less."""
    if most is None:
        return dict(given)
    wanted = {"train": 2 * most, "validation": max(most // 2, least // 2), "test": max(most, least)}
    return {split: min(n, given.get(split, n)) for split, n in wanted.items()}
