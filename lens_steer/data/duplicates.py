"""Near duplicates: questions or texts that differ only in case, spaces, punctuation, option order or a few words.

    same     equal stems and equal sets of options, ignoring case, spaces and punctuation
    near     |a & b| / |a | b| >= threshold     a, b: word sets of two items, without words that most items have

Candidates are found by their rarest words (the prefix filter of Bayardo et al. 2007, "Scaling Up All Pairs Similarity
Search", with k shared words instead of one), so that few pairs are compared. Groups are the connected components.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain
from math import ceil

from lens_steer.data.choices import ChoiceItem, MultipleChoiceItem
from lens_steer.errors import DataError

COMMON, SHARED = 0.5, 8
"""Words in more than this share of the items are ignored; the number of rare words that candidates must share."""
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def near_duplicates(
    items: Sequence[ChoiceItem | MultipleChoiceItem | str], threshold: float | int = 0.8
) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more (nearly) identical items.

    Args:
        items: questions or texts.
        threshold: the least Jaccard similarity of the word sets, above 0; 1 finds only "same" items.

    Returns:
        Sorted indices of each group; groups in the order of their first members.

    Raises:
        DataError: the threshold is not in (0, 1].

    Example:
        >>> near_duplicates(["I like tea.", "i like  tea", "The road is closed."])
        ((0, 1),)
    """
    if not 0 < threshold <= 1:
        raise DataError(f"threshold {threshold}; give a share of common words above 0 and at most 1.")
    said = [_said(item) for item in items]
    leader = list(range(len(items)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    first: dict[Hashable, int] = {}
    for index, (key, _) in enumerate(said):
        leader[find(index)] = find(first.setdefault(key, index))
    if threshold < 1:
        counts = Counter(word for _, words in said for word in set(words))
        most = max(2, COMMON * len(items))
        for one, other in _near(
            [{word for word in words if counts[word] <= most} for _, words in said], counts, threshold, find
        ):
            leader[find(other)] = find(one)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(items)):
        groups[find(index)].append(index)
    return tuple(sorted(tuple(group) for group in groups.values() if len(group) > 1))


def _near(
    sets: Sequence[set[str]], counts: Counter[str], threshold: float, find: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Pairs of sets above the threshold; pairs that are already in one group are skipped."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(sets)), key=lambda i: len(sets[i])):
        words, size = sets[index], len(sets[index])
        least = ceil(threshold * size - 1e-9)
        shared = min(SHARED, least)
        rare_first = sorted(words, key=lambda word: (counts[word], word))
        met = Counter(chain.from_iterable(holders[word] for word in rare_first[: size - least + shared]))
        for other, n in met.items():
            smaller = len(sets[other])
            if n >= shared and smaller >= threshold * size and find(index) != find(other):
                common = len(words & sets[other])
                if common >= threshold * (size + smaller - common):
                    yield other, index
        for word in rare_first[: size - least + SHARED]:
            holders[word].append(index)


def _said(item: ChoiceItem | MultipleChoiceItem | str) -> tuple[Hashable, list[str]]:
    """A key of the item that ignores the order of options, and its words."""
    if isinstance(item, str):
        words = _words(item)
        return " ".join(words), words
    options = (item.matching, item.other) if isinstance(item, ChoiceItem) else item.options
    stem, texts = _words(item.stem), [_words(option) for option in options]
    return (" ".join(stem), *sorted(" ".join(text) for text in texts)), [
        *stem,
        *(word for text in texts for word in text),
    ]


def _words(text: str) -> list[str]:
    """Words without case and punctuation; the characters of a text without words."""
    return _WORDS.findall(text.casefold()) or list(text.strip())
