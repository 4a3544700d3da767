"""K-steering: the activation goes up the gradient of a small classifier, so that the push depends on where a token is.

    g     = W3 relu(W2 relu(W1 (h - mu) / s + b1) + b2) + b3              one score a class, 128 hidden units each
    L(h)  = mean over classes that are avoided of g_c(h)  -  mean over target classes of g_c(h)
    h    <- h - strength * dL/dh

Source: K-Steering (arXiv 2505.24535): the classifier is trained by binary cross-entropy of each class, by Adam at 1e-3,
for 10 epochs, and one step is taken. The step is not normalised: where the classifier is flat, nothing is written. Here
activations are centred and divided by one number before they enter, since the published settings presume a scale, and
each token's gradient is its own (the published code averages scores over tokens, which divides it by their number).

scikit-learn trains the classifier. The map does not read the direction of its intervention: a random direction is no
control of it. Fit one on shuffled labels for that.
"""

import warnings
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from lens_steer._util.shown import shown
from lens_steer.errors import DirectionError, MethodError
from lens_steer.hooks.operators.arithmetic import placed, require_rows, rewritten

HIDDEN, EPOCHS, LEARNING_RATE = 128, 10, 1e-3


@shown()
@dataclass(frozen=True, eq=False)
class ClassifierGradient:
    """A step against the gradient of L; made by `ClassifierGradient.fit`.

    `weights` and `biases` are those of the three layers, the centring and scaling of activations folded into the first;
    `signs` are the coefficients of the classes in L.

    Raises:
        DirectionError: their shapes do not fit together, or an entry is not finite.
    """

    token_wise: ClassVar[bool] = True

    weights: tuple[Tensor, ...] = field(repr=False)
    biases: tuple[Tensor, ...] = field(repr=False)
    signs: Tensor

    def __post_init__(self) -> None:
        widths = [tuple(weight.shape) for weight in self.weights]
        ends = [*(into for _, into in widths[1:]), len(self.signs)]
        fits = [out == end == len(bias) for (out, _), end, bias in zip(widths, ends, self.biases, strict=True)]
        entries = (*self.weights, *self.biases, self.signs)
        if len(widths) != 3 or not all(fits) or not all(bool(entry.isfinite().all()) for entry in entries):
            raise DirectionError(
                f"ClassifierGradient: weights {widths} of {len(self.signs)} classes; give three finite layers whose "
                "widths follow one another, such as ClassifierGradient.fit makes."
            )

    @classmethod
    def fit(
        cls, rows: Float[Tensor, "n d_model"], labels: Int[Tensor, " n"], target: int, seed: int = 0
    ) -> "ClassifierGradient":
        """Trains the classifier; all classes but the target are avoided.

        Args:
            rows: activations of all classes.
            labels: the class of each row, counted from 0.
            target: the class to go to.
            seed: of the first weights and the order of rows; the same seed gives the same classifier.

        Returns:
            The operator, on the device of the rows.

        Raises:
            MethodError: fewer than two rows or classes, labels that are not one a row, no row of the target's label, or
                rows that are all the same.
            DirectionError: an entry is not finite.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        require_rows(rows, "activations", least=2)
        present = labels.unique().tolist()
        if labels.shape != rows.shape[:1] or len(present) < 2 or min(present) < 0 or target not in present:
            raise MethodError(
                f"labels of shape {tuple(labels.shape)} with values {present[:5]} and target {target} for {len(rows)} "
                "rows; give each row a class, counted from 0, at least two classes, and one of them as the target."
            )
        data = rows.detach().cpu().double()
        mean, scale = data.mean(dim=0), float(data.std(dim=0).square().mean().sqrt())
        if not scale > 0:
            raise MethodError("the activations are all the same; there is nothing to tell classes by.")
        answers = one_hot(labels.cpu().long()).numpy()
        trained = MLPClassifier(
            (HIDDEN, HIDDEN), alpha=0.0, learning_rate_init=LEARNING_RATE, max_iter=EPOCHS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is that of the method
            trained.fit(((data - mean) / scale).numpy(), answers)
        weights = [torch.as_tensor(weight, device="cpu").double().T for weight in trained.coefs_]
        biases = [torch.as_tensor(bias, device="cpu").double() for bias in trained.intercepts_]
        weights[0] = weights[0] / scale
        biases[0] = biases[0] - weights[0] @ mean
        avoided = [label for label in present if label != target]
        signs = torch.zeros(answers.shape[1], dtype=torch.float64, device="cpu")
        signs[avoided], signs[target] = 1 / len(avoided), -1.0
        made = [tuple(entry.float().to(rows.device) for entry in entries) for entries in (weights, biases)]
        return cls(made[0], made[1], signs.float().to(rows.device))

    def __call__(
        self, activation: Float[Tensor, "batch pos d_model"], direction: Float[Tensor, " d_model"], strength: float
    ) -> Float[Tensor, "batch pos d_model"]:
        """Takes one step at every token.

        Args:
            activation: the activation at one site.
            direction: not read.
            strength: how many gradients; 0 gives back the very tensor that came in.

        Returns:
            The activation, moved; same device and dtype.

        Raises:
            DirectionError: the classifier does not read activations of this width.

        Source:
            K-Steering, arXiv 2505.24535.
        """
        return rewritten(activation, direction, strength, lambda h, _: h - strength * self.gradient(h))

    def gradient(self, h: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """dL/dh of activations in working dtype, worked out layer by layer."""
        first, second, last = (placed(self.weights[0], h, "the classifier"), *(w.to(h) for w in self.weights[1:]))
        one, two = (bias.to(h) for bias in self.biases[:2])
        inner = h @ first.mT + one
        outer = inner.relu() @ second.mT + two
        back = ((self.signs.to(h) @ last) * (outer > 0)) @ second
        return (back * (inner > 0)) @ first
