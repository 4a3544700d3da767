"""What holds for every operator, whatever its formula."""

from collections.abc import Callable
from dataclasses import is_dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lens_steer import Intervention
from lens_steer.errors import DirectionError
from lens_steer.hooks import operators
from lens_steer.hooks.operators import (
    Ablate,
    AblateThenAdd,
    Add,
    Clamp,
    ClassifierGradient,
    Erase,
    EraseThenSteer,
    GatedSlerp,
    InContextAdd,
    LinearTransport,
    MeanMatch,
    Mimic,
    NormPreserving,
    Operator,
    Replace,
    Rotate,
    Slerp,
    is_token_wise,
)

WIDTH = 6


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


H, V = random(3, 4, WIDTH, seed=0), random(WIDTH, seed=1)
ROWS, OTHERS = random(40, WIDTH, seed=2), 2 * random(40, WIDTH, seed=3) + 1
BOTH, LABELS = torch.cat([ROWS, OTHERS]), torch.arange(80) // 40
W = random(WIDTH, seed=4)

OPERATORS: list[Operator] = [
    Add(),
    Replace(),
    Ablate(),
    Ablate(mean=W),
    AblateThenAdd(2.0),
    AblateThenAdd(-1.0, mean=W),
    Clamp(1.5),
    MeanMatch.fit(ROWS, OTHERS),
    Mimic.fit(ROWS, OTHERS),
    Erase.fit(BOTH, LABELS),
    EraseThenSteer.fit(BOTH, LABELS, target=1),
    LinearTransport.fit(ROWS, OTHERS),
    Rotate(W),
    Rotate(W, angle=1.0),
    Slerp(),
    GatedSlerp(-V, kappa=2.0, beta=-0.5),
    InContextAdd(),
    ClassifierGradient.fit(BOTH, LABELS, target=1),
    NormPreserving(Add()),
    NormPreserving(Mimic.fit(ROWS, OTHERS)),
]
every = pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: type(operator).__name__)


@every
def test_it_is_an_operator_that_an_intervention_takes(operator: Operator) -> None:
    assert isinstance(operator, Operator)
    assert Intervention.at("resid_post@0", V, operator=operator).operator is operator


def test_every_operator_of_the_package_is_tested_here() -> None:
    public = {entry for entry in vars(operators).values() if is_dataclass(entry) and "__call__" in vars(entry)}
    assert public == {type(operator) for operator in OPERATORS}


def test_an_operator_that_declares_nothing_is_not_taken_for_token_wise() -> None:
    def centred(activation: Tensor, direction: Tensor, strength: float) -> Tensor:  # noqa: ARG001
        return activation - strength * activation.mean(dim=1, keepdim=True)

    assert not is_token_wise(centred) and not is_token_wise(NormPreserving(centred))
    alone = centred(H.reshape(-1, 1, WIDTH), V, 0.7).reshape(H.shape)
    assert float((centred(H, V, 0.7) - alone).abs().max()) > 0.1


@every
def test_an_operator_that_declares_to_be_token_wise_gives_each_token_the_same_alone_as_among_others(
    operator: Operator,
) -> None:
    assert is_token_wise(operator)
    alone = operator(H.reshape(-1, 1, WIDTH), V, 0.7).reshape(H.shape)
    torch.testing.assert_close(operator(H, V, 0.7), alone, rtol=1e-4, atol=1e-5)


@every
def test_strength_zero_gives_back_the_very_tensor_and_strength_one_does_not(operator: Operator) -> None:
    assert operator(H, V, 0.0) is H
    assert not torch.allclose(operator(H, V, 1.0), H, atol=1e-3)


@pytest.mark.parametrize("operator", OPERATORS[2:], ids=lambda operator: type(operator).__name__)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_as_the_rounded_result_of_full_precision(
    operator: Operator, dtype: torch.dtype
) -> None:
    written = operator(H.to(dtype), V, 0.7)
    assert written.dtype == dtype
    torch.testing.assert_close(written, operator(H.to(dtype).float(), V, 0.7).to(dtype), rtol=0, atol=0)


@every
def test_nothing_is_written_in_place(operator: Operator) -> None:
    before = H.clone(), V.clone(), W.clone()
    operator(H, V, 0.7)
    assert torch.equal(H, before[0]) and torch.equal(V, before[1]) and torch.equal(W, before[2])


@every
@given(row=st.integers(0, 2), strength=st.floats(0.1, 2.0))
def test_a_row_is_written_the_same_whatever_the_other_rows_of_its_batch(
    operator: Operator, row: int, strength: float
) -> None:
    alone = operator(H[row : row + 1], V, strength)
    others = 100 * random(2, 4, WIDTH, seed=9)
    together = operator(torch.cat([H[row : row + 1], others]), V, strength)
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-5)


@every
def test_gradients_reach_activation_and_direction_as_finite_differences_say(operator: Operator) -> None:
    h, v = H[:1, :2].double().requires_grad_(), V.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda h, v: operator(h, v, 0.7), (h, v))


@every
def test_the_gradient_stays_finite_at_an_activation_of_zero(operator: Operator) -> None:
    h = torch.zeros(1, 1, WIDTH, requires_grad=True)
    operator(h, V, 0.7).sum().backward()
    assert h.grad is not None and h.grad.isfinite().all()


READS_THE_LENGTH = {"Add": True, "AblateThenAdd": True, "Ablate": False, "Clamp": False, "Rotate": False}
READS_THE_LENGTH |= {"Slerp": False, "GatedSlerp": False, "InContextAdd": False}
PLAIN = [operator for operator in OPERATORS if type(operator).__name__ in READS_THE_LENGTH]


@pytest.mark.parametrize("operator", PLAIN, ids=lambda operator: type(operator).__name__)
@given(scale=st.floats(0.05, 20.0).filter(lambda scale: abs(scale - 1) > 0.1))
def test_the_length_of_the_direction_matters_exactly_where_the_documentation_says(
    operator: Operator, scale: float
) -> None:
    same = torch.allclose(operator(H, scale * V, 0.7), operator(H, V, 0.7), rtol=1e-4, atol=1e-4)
    assert same != READS_THE_LENGTH[type(operator).__name__]


MAPS: list[Operator] = [entry for entry in OPERATORS if type(entry) in (MeanMatch, Mimic, Erase, LinearTransport)]


@pytest.mark.parametrize("operator", MAPS, ids=lambda operator: type(operator).__name__)
def test_a_fitted_map_does_not_read_the_direction(operator: Operator) -> None:
    assert torch.equal(operator(H, V, 0.7), operator(H, W, 0.7))
    assert not torch.equal(Add()(H, V, 0.7), Add()(H, W, 0.7))


WIDE = [operator for operator in OPERATORS if operator not in (Add(), Replace(), NormPreserving(Add()))]


@pytest.mark.parametrize("operator", WIDE, ids=lambda operator: type(operator).__name__)
def test_an_activation_of_another_width_is_refused(operator: Operator, unchecked: Callable[[], None]) -> None:
    unchecked()
    with pytest.raises(DirectionError, match="has 6 entries; the activation is 7 wide"):
        operator(random(1, 2, WIDTH + 1, seed=0), V, 1.0)
