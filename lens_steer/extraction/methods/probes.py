"""Linear probes: the normal of the decision boundary between the two classes.

    logistic_probe   min_w  sum_r log(1 + exp(-y_r (w . x_r + b))) + penalty/2 ||w||^2      y = +1 pos, -1 neg
                     x: standardised coordinates (mean and standard deviation over both classes)
                     raw = w / standard deviation, the normal in the activations' own units
    lda              raw = S^-1 (mean of pos - mean of neg)     S: within-class covariance, Ledoit-Wolf, by class share
    v = u (delta . u)    scaled and signed by the class means, see `scale`

Both use scikit-learn. Sources: Alain & Bengio 2016 (arXiv 1610.01644) for probes; Fisher 1936. A probe's direction
detects the behaviour but often does not steer it (Marks & Tegmark 2023, arXiv 2310.06824). All rows are needed at once;
the fitting time of LDA grows with the cube of the width.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.extraction.methods.checks import NOTHING, both_sides, check_variation
from lens_steer.extraction.methods.fitter import Fit
from lens_steer.extraction.methods.scale import scaled_to_means

ITERATIONS = 2000


def logistic_probe(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    penalty: float = 1.0,
    standardise: bool = True,
) -> Float[Tensor, " d_model"]:
    """The normal of a logistic regression between the two classes.

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.
        penalty: weight of the squared norm, above 0 (scikit-learn's C is 1 / penalty).
        standardise: divide each coordinate by its standard deviation before fitting, so that the penalty treats
            coordinates alike; a coordinate that never varies is left as it is.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: a penalty that is not above 0, a class with fewer than two rows, rows that do not vary, or a fit
            that does not converge.
    """
    return fit_logistic_probe(pos, neg, penalty, standardise).direction


def fit_logistic_probe(
    pos: Float[Tensor, "n_pos d_model"],
    neg: Float[Tensor, "n_neg d_model"],
    penalty: float = 1.0,
    standardise: bool = True,
) -> Fit:
    """`logistic_probe` with its notes: `training_accuracy`, `sign_flipped`, `cosine_with_mean_difference`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not 0 < penalty < float("inf"):
        raise MethodError(f"logistic_probe was given penalty {penalty}; expected a finite number above 0.")
    up, down = both_sides("logistic_probe", pos, neg, minimum=2)
    pool = torch.cat([up, down])
    centred = pool - pool.mean(dim=0)
    check_variation("logistic_probe", centred, pool)
    spread = pool.std(dim=0, correction=0)
    still = spread <= NOTHING * pool.abs().amax(dim=0)
    scale = torch.where(still, 1.0, spread) if standardise else torch.ones_like(spread)
    rows, labels = (centred / scale).numpy(), _labels(up, down)
    probe = LogisticRegression(C=1 / penalty, max_iter=ITERATIONS, tol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(rows, labels)
    if int(probe.n_iter_[0]) >= ITERATIONS:
        raise MethodError(
            f"logistic_probe did not converge in {ITERATIONS} iterations at penalty {penalty}; raise the penalty."
        )
    raw = torch.from_numpy(probe.coef_[0]) / scale
    notes = {"training_accuracy": float(probe.score(rows, labels))}
    return scaled_to_means("logistic_probe", raw, up.mean(dim=0), down.mean(dim=0), notes)


def lda(pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> Float[Tensor, " d_model"]:
    """The normal of a linear discriminant analysis, with shrunk covariance (solver "lsqr", shrinkage "auto").

    Args:
        pos: positive activations.
        neg: negative activations; the number of rows may differ.

    Returns:
        The direction, float32 on the CPU; its norm is the distance of the class means along it.

    Raises:
        MethodError: a class with fewer than two rows, or classes that do not vary within.
    """
    return fit_lda(pos, neg).direction


def fit_lda(pos: Float[Tensor, "n_pos d_model"], neg: Float[Tensor, "n_neg d_model"]) -> Fit:
    """`lda` with its notes: `training_accuracy`, `sign_flipped`, `cosine_with_mean_difference`."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    up, down = both_sides("lda", pos, neg, minimum=2)
    pool = torch.cat([up, down])
    check_variation("lda", torch.cat([up - up.mean(dim=0), down - down.mean(dim=0)]), pool)
    rows, labels = (pool - pool.mean(dim=0)).numpy(), _labels(up, down)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, labels)
    notes = {"training_accuracy": float(model.score(rows, labels))}
    return scaled_to_means("lda", torch.from_numpy(model.coef_[0]), up.mean(dim=0), down.mean(dim=0), notes)


def _labels(up: Tensor, down: Tensor) -> np.ndarray:
    """1 for each positive row, 0 for each negative one."""
    return np.repeat([1, 0], [len(up), len(down)])
