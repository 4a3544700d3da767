"""Text corpora."""

from typing import Any

import pytest

from lens_steer.data.corpora import TextContrast
from lens_steer.errors import DataError


def texts(**changes: Any) -> TextContrast:
    return TextContrast(**({"name": "code", "positive": ("x = 1", "y = 2"), "negative": ("The cat sat.",)} | changes))


def test_the_sides_may_be_of_unequal_sizes() -> None:
    assert texts().n == 3


def test_the_hash_follows_the_texts_their_order_and_where_they_are_cut_and_not_the_name() -> None:
    assert texts().hash == texts(name="other").hash
    others = [texts(max_tokens=5), texts(positive=("y = 2", "x = 1")), texts(positive=("x = 1",), negative=("y = 2",))]
    assert len({texts().hash, *(other.hash for other in others)}) == 4


def test_empty_sides_and_documents_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="'code': the negative side has no documents"):
        texts(negative=())
    with pytest.raises(DataError, match="'code': positive document 1 is empty"):
        texts(positive=("x", " \n"))
    with pytest.raises(DataError, match="max_tokens is 1; give 2 or more"):
        texts(max_tokens=1)
