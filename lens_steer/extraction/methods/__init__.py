"""Extraction methods: from activations of two classes to a direction.

`METHODS` is the table of methods by name. `Method.function` takes all rows at once; `make_fitter` gives the streaming
form that `extract` uses. To add a method, write a function and a fitter and add an entry here. Function vectors are not
in the table, because their input is patched runs instead of two classes (`head_sums`).
"""

import difflib
from collections.abc import Mapping, Sequence

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.components import (
    fit_pca_of_differences,
    fit_pca_of_pool,
    pca_of_differences,
    pca_of_pool,
)
from lens_steer.extraction.methods.erasure import Leace, WhitenedMeanDifference, leace, whitened_mean_difference
from lens_steer.extraction.methods.fitter import Fit as Fit
from lens_steer.extraction.methods.fitter import Fitter as Fitter
from lens_steer.extraction.methods.fitter import Option as Option
from lens_steer.extraction.methods.fitter import collected
from lens_steer.extraction.methods.in_context import fit_in_context_vector, in_context_vector
from lens_steer.extraction.methods.means import (
    BalancedMeanDifference,
    MeanDifference,
    balanced_mean_difference,
    mean_difference,
    median_difference,
    single_pair,
    trimmed_mean_difference,
)
from lens_steer.extraction.methods.method import Method as Method
from lens_steer.extraction.methods.probes import fit_lda, fit_logistic_probe, lda, logistic_probe

MEMORY_LIMIT = 4 * 2**30
"""Default limit of the memory of the fitters of one extraction, bytes (4 GiB)."""

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="mean_difference",
            summary="Difference of the two means (Rimsky et al. 2024).",
            function=mean_difference,
            fitter=MeanDifference,
            memory="moments",
        ),
        Method(
            name="balanced_mean_difference",
            summary="Mean over groups of pairs of each group's mean difference: a letter cancels.",
            function=balanced_mean_difference,
            fitter=BalancedMeanDifference,
            memory="moments",
            paired=True,
            grouped=True,
        ),
        Method(
            name="median_difference",
            summary="Difference of the two medians, by coordinate: resists massive activations.",
            function=median_difference,
            fitter=collected("median_difference", median_difference),
            memory="matrix",
        ),
        Method(
            name="trimmed_mean_difference",
            summary="Difference of two trimmed means, by coordinate (scipy.stats.trim_mean).",
            function=trimmed_mean_difference,
            fitter=collected("trimmed_mean_difference", trimmed_mean_difference),
            memory="matrix",
        ),
        Method(
            name="single_pair",
            summary="Difference of exactly one pair: activation addition (Turner et al. 2023).",
            function=single_pair,
            fitter=collected("single_pair", single_pair, paired=True),
            memory="matrix",
            paired=True,
        ),
        Method(
            name="pca_of_differences",
            summary="First component of the pairs' differences: representation engineering (Zou et al. 2023).",
            function=pca_of_differences,
            fitter=collected("pca_of_differences", fit_pca_of_differences, paired=True),
            memory="matrix",
            minimum=2,
            paired=True,
        ),
        Method(
            name="pca_of_pool",
            summary="First component of all activations of both sides, centred.",
            function=pca_of_pool,
            fitter=collected("pca_of_pool", fit_pca_of_pool),
            memory="matrix",
            minimum=2,
        ),
        Method(
            name="logistic_probe",
            summary="Normal of a logistic regression between the sides (Alain & Bengio 2016).",
            function=logistic_probe,
            fitter=collected("logistic_probe", fit_logistic_probe),
            memory="matrix",
            minimum=2,
        ),
        Method(
            name="lda",
            summary="Normal of a linear discriminant analysis with Ledoit-Wolf shrinkage (Fisher 1936).",
            function=lda,
            fitter=collected("lda", fit_lda),
            memory="matrix",
            minimum=2,
        ),
        Method(
            name="leace",
            summary="What the least-squares concept eraser reads the behaviour from (Belrose et al. 2023).",
            function=leace,
            fitter=Leace,
            memory="covariance",
            minimum=2,
        ),
        Method(
            name="whitened_mean_difference",
            summary="Mean difference whitened by the shrunk covariance within the sides (Bodnar et al. 2014).",
            function=whitened_mean_difference,
            fitter=WhitenedMeanDifference,
            memory="covariance",
            minimum=2,
        ),
        Method(
            name="in_context_vector",
            summary="Mean difference plus first component, all sites at once: in-context vectors (Liu et al. 2023).",
            function=in_context_vector,
            fitter=collected("in_context_vector", fit_in_context_vector, paired=True),
            memory="matrix",
            minimum=2,
            paired=True,
            joint=True,
        ),
    )
}


def find_method(name: str) -> Method:
    """A method of the table.

    Args:
        name: a name of `METHODS`.

    Returns:
        The method.

    Raises:
        MethodError: there is no such method.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MethodError(f"{name!r} is not a method; expected one of {', '.join(sorted(METHODS))}.{hint}")
    return METHODS[name]


def make_fitter(method: str, options: Mapping[str, Option] | None = None) -> Fitter:
    """A new fitter of a method, for one site (for all sites together where the method is joint).

    Args:
        method: a name of `METHODS`.
        options: of that method, by name; those not given keep their defaults.

    Returns:
        The fitter, empty.

    Raises:
        MethodError: there is no such method, it has no such option, or the option has no such value.
    """
    found, given = find_method(method), dict(options or {})
    unknown = [name for name in given if name not in found.options]
    if unknown:
        known = ", ".join(f"{name}={default!r}" for name, default in found.options.items())
        raise MethodError(f"{method} has no option {unknown[0]!r}; expected {known or 'no options at all'}.")
    return found.fitter(**given)


def check_memory(method: str, n_pos: int, n_neg: int, widths: Sequence[int], limit_bytes: int = MEMORY_LIMIT) -> int:
    """The memory that the fitters of one extraction need; raises where it exceeds the limit.

    Args:
        method: a name of `METHODS`.
        n_pos: activations that will be read on the positive side.
        n_neg: activations that will be read on the negative side.
        widths: the width of each site.
        limit_bytes: the most that they may keep.

    Returns:
        Bytes.

    Raises:
        MethodError: there is no such method, or it would keep more.
    """
    found = find_method(method)
    rows = [sum(widths)] if found.joint else widths
    needed = sum(found.memory_bytes(n_pos, n_neg, width) for width in rows)
    if needed > limit_bytes:
        fewer = "fewer pairs, fewer sites" if found.memory == "matrix" else "fewer sites"
        light = " or ".join(repr(m.name) for m in METHODS.values() if m.memory == "moments")
        raise MethodError(
            f"{method} would keep {needed / 2**30:.2f} GiB of activations for {n_pos} + {n_neg} rows at {len(widths)} "
            f"sites; the limit is {limit_bytes / 2**30:.2f} GiB. Give {fewer}, a higher limit, or use {light}, which "
            "keep sums alone."
        )
    return needed
