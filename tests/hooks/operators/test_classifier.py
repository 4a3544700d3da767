"""K-steering: the written step is the gradient of the classifier's scores, and the classifier is trained to tell."""

import pytest
import torch
from torch import Tensor, nn

from lens_steer.errors import DirectionError, MethodError
from lens_steer.hooks.operators import ClassifierGradient

WIDTH = 6


def rows(seed: int, shift: float) -> Tensor:
    return torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(seed)) + shift


BOTH, LABELS = torch.cat([rows(0, -1.0), rows(1, 1.0)]), torch.arange(120) // 60
DIRECTION = torch.ones(WIDTH)


def network(operator: ClassifierGradient) -> nn.Sequential:
    """The published classifier, with the operator's weights."""
    layers = [nn.Linear(weight.shape[1], weight.shape[0]) for weight in operator.weights]
    for layer, weight, bias in zip(layers, operator.weights, operator.biases, strict=True):
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


@pytest.mark.parametrize("target", [0, 1])
def test_a_step_is_the_gradient_that_autograd_finds_of_avoided_minus_target_scores(target: int) -> None:
    operator = ClassifierGradient.fit(BOTH, LABELS, target)
    h = BOTH[::7].clone().requires_grad_()
    scores = network(operator)(h)
    loss = scores[:, 1 - target] - scores[:, target]
    (gradient,) = torch.autograd.grad(loss.sum(), h)
    written = operator(h.detach()[None], DIRECTION, 0.5)[0]
    torch.testing.assert_close(written, h.detach() - 0.5 * gradient, rtol=1e-4, atol=1e-5)
    assert float(gradient.abs().max()) > 0.01


def test_the_classifier_tells_the_classes_by_its_scores_and_labels_that_say_nothing_teach_it_little() -> None:
    held = torch.cat([rows(2, -1.0), rows(3, 1.0)])

    def gap(labels: Tensor) -> float:
        scores = network(ClassifierGradient.fit(BOTH, labels, 1))(held)
        difference = (scores[:, 1] - scores[:, 0]).detach()
        return float(difference[60:].mean() - difference[:60].mean())

    assert gap(LABELS) > 1.0 and abs(gap(torch.arange(120) % 2)) < gap(LABELS) / 4


def test_steps_towards_a_class_turn_scores_to_it_and_the_same_seed_gives_the_same_classifier() -> None:
    operator = ClassifierGradient.fit(BOTH, LABELS, 1)
    gap = network(operator)(operator(BOTH[None, :60], DIRECTION, 2.0)[0]) - network(operator)(BOTH[:60])
    assert bool((gap[:, 1] > gap[:, 0]).all())
    again, other = (ClassifierGradient.fit(BOTH, LABELS, 1, seed) for seed in (0, 1))
    assert torch.equal(operator.weights[1], again.weights[1])
    assert not torch.equal(operator.weights[1], other.weights[1])


def test_what_no_classifier_can_be_trained_on_is_refused_with_what_to_give() -> None:
    with pytest.raises(MethodError, match="one of them as the target"):
        ClassifierGradient.fit(BOTH, LABELS, 2)
    with pytest.raises(MethodError, match="at least two classes"):
        ClassifierGradient.fit(BOTH, torch.zeros(120, dtype=torch.long), 0)
    with pytest.raises(MethodError, match="nothing to tell classes by"):
        ClassifierGradient.fit(torch.ones(4, WIDTH), torch.tensor([0, 1, 0, 1]), 1)
    fitted = ClassifierGradient.fit(BOTH, LABELS, 1)
    with pytest.raises(DirectionError, match="the classifier has 6 entries; the activation is 5 wide"):
        fitted(torch.zeros(1, 1, 5), torch.ones(5), 1.0)
    with pytest.raises(DirectionError, match="three finite layers"):
        ClassifierGradient(fitted.weights, fitted.biases, torch.ones(3))
