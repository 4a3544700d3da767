"""Position rules, on chunks, pads and lengths."""

import pytest
import torch
from torch import Tensor

from lens_steer.errors import PositionError
from lens_steer.positions import RULES, Positions

PROMPT, TOTAL = torch.tensor([2, 3]), torch.tensor([5, 4])
CASES = {
    "all": [[0, 1, 2, 3, 4], [0, 1, 2, 3]],
    "prompt": [[0, 1], [0, 1, 2]],
    "last": [[4], [3]],
    "last_prompt": [[1], [2]],
    "answer": [[2], [3]],
    "after_prompt": [[2, 3, 4], [3]],
    "0,2:4": [[0, 2, 3], [0, 2, 3]],
}


def padded(side: str) -> tuple[Tensor, Tensor]:
    """Absolute positions and validity of rows of 5 and 4 tokens in a width of 6."""
    rows = []
    for n in (5, 4):
        pads = [-1] * (6 - n)
        rows.append([*range(n), *pads] if side == "right" else [*pads, *range(n)])
    absolute = torch.tensor(rows)
    return absolute, absolute >= 0


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("rule", CASES)
def test_a_rule_selects_the_same_tokens_under_either_padding(rule: str, side: str) -> None:
    absolute, valid = padded(side)
    mask = Positions.parse(rule).resolve(absolute, valid, PROMPT, TOTAL)
    assert [absolute[row][mask[row]].tolist() for row in range(2)] == CASES[rule]


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_selects_the_same_tokens_however_the_sequence_is_cut(rule: str) -> None:
    absolute, valid = padded("left")
    whole = Positions.parse(rule).resolve(absolute, valid, PROMPT, TOTAL)
    pieces = [
        Positions.parse(rule).resolve(absolute[:, start:stop], valid[:, start:stop], PROMPT, TOTAL)
        for start, stop in ((0, 3), (3, 4), (4, 6))
    ]
    assert torch.equal(torch.cat(pieces, dim=1), whole)


def test_names_and_explicit_positions_parse_and_print_back() -> None:
    for rule in (*RULES, "3", "2:5", "0,2:5,9"):
        assert str(Positions.parse(rule)) == rule
    assert Positions.parse([0, 4]) == Positions.parse("0,4")
    assert Positions.parse(3) == Positions.parse("3")
    assert Positions.parse(Positions.parse("last")) == Positions("last")


@pytest.mark.parametrize("rule", ["lst", "5:2", "-1", "1,,2", "", "2:"])
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(PositionError, match=r"not a position rule|do not name positions"):
        Positions.parse(rule)


def test_negative_and_empty_positions_are_refused() -> None:
    for rule in ([-1], [], -2):
        with pytest.raises(PositionError, match="counted from 0"):
            Positions.parse(rule)


@pytest.mark.parametrize("rule", ["prompt", "last_prompt", "answer", "after_prompt"])
def test_a_rule_about_the_prompt_without_its_length_is_refused(rule: str) -> None:
    absolute, valid = padded("right")
    with pytest.raises(PositionError, match=f"'{rule}' needs the prompt's length in each row; pass prompt_lengths"):
        Positions.parse(rule).resolve(absolute, valid)
    with pytest.raises(PositionError, match="pass total_lengths"):
        Positions.parse("last").resolve(absolute, valid)
