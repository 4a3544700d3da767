"""One cell of the paper's answer tables: its stored counts against its responses, and both collapse rules.

    matching score     responses that are the matching answer / all responses      a faulty one does not match
    faulty             responses that are neither option, to the letter
    paper's collapse   one response in more than 0.95 of all;     faulty: more than 10 responses, 5 in its last figure
    ours               `collapse_of_responses`, the one rule of this package
    d'                 `lens_steer.metrics.detection`, over the answers that are not faulty

Source: van der Weij et al. 2024 (arXiv 2403.05767), whose own rules stopped a search and marked one figure, and were
not applied to the others. Where the items are there, matches are counted again; a stored count that differs from the
responses is refused.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lens_steer.errors import DataError, FormatError, ScoreError
from lens_steer.experiments.van_der_weij_2024.checkout import entry, options
from lens_steer.metrics.collapse import collapse_of_responses
from lens_steer.metrics.detection import detection, detection_of_counts

PAPER_MODAL_LIMIT = 0.95


def judged(cell: Any, behaviour: str, gold: Sequence[str] | None, where: str, faulty_limit: int = 10) -> dict[str, Any]:
    """The numbers of a cell, once its counts are proved.

    Args:
        cell: the stored counts, with `responses`, or with `response_dist` alone.
        behaviour: whose options were offered.
        gold: the matching answer of each item, in order; None where the items are not there.
        where: the cell's place, for the message.
        faulty_limit: more faulty responses than this the paper called faulty.

    Returns:
        Counts, with that of the first option (`chose_first`), matching score, d' (NaN without items, and where it
        cannot be known), modal answer and share, entropies in bits (that of the gold answers NaN without items), the
        verdicts of both rules, and whether matches were `recounted` from responses.

    Raises:
        FormatError: the cell lacks a count, or has neither responses nor their distribution.
        DataError: a stored count is not what the responses give; the cell and the count are named.
    """
    stored = {key: entry(cell, key, where) for key in ("total", "matches", "faulty")}
    responses = _responses(cell, where)
    listed = "responses" in cell
    counts = Counter(responses)
    if gold is not None:
        _same(where, "total", stored["total"], len(gold), "the test or validation items")
    _same(where, "total", stored["total"], len(responses))
    _same(where, "faulty", stored["faulty"], sum(n for text, n in counts.items() if text not in options(behaviour)))
    if listed and gold is not None:
        found = sum(response == answer for response, answer in zip(responses, gold, strict=True))
        _same(where, "matches", stored["matches"], found, "the responses to the shuffled items")
    total, matches, faulty = (stored[key] for key in ("total", "matches", "faulty"))
    if not isinstance(matches, int) or not 0 <= matches <= total - faulty:
        raise DataError(f"{where}: matches is {matches!r} of {total} with {faulty} faulty; the file was changed.")
    _derived(cell, counts, where)
    labels = gold or [options(behaviour)[i % 2] for i in range(total)]
    found, (answer, most) = collapse_of_responses(responses, labels), counts.most_common(1)[0]
    return {
        **stored,
        "chose_first": counts[options(behaviour)[0]],
        "matching_score": matches / total,
        "d_prime": _d_prime(stored, responses if listed else counts, options(behaviour), gold, where),
        "modal_answer": answer,
        "modal_share": most / total,
        "answer_entropy": found.answer_entropy,
        "gold_entropy": found.gold_entropy if gold else float("nan"),
        "paper_collapsed": most > PAPER_MODAL_LIMIT * total,
        "paper_faulty": faulty > faulty_limit,
        "collapsed": found.collapsed,
        "reason": found.reason,
        "recounted": listed and gold is not None,
    }


def _responses(cell: Mapping[str, Any], where: str) -> list[str]:
    """The responses; in no order where only their distribution was stored."""
    if "responses" in cell:
        responses = cell["responses"]
        if isinstance(responses, list) and responses and all(isinstance(text, str) for text in responses):
            return responses
        raise FormatError(f"{where}: responses must be a list of texts, at least one; check the file out again.")
    counts = entry(cell, "response_dist", where)
    if not isinstance(counts, dict) or not all(isinstance(n, int) and n > 0 for n in counts.values()) or not counts:
        raise FormatError(f"{where}: response_dist must count each response, at least one; check the file out again.")
    return list(Counter(counts).elements())


def _d_prime(
    stored: Mapping[str, int],
    responses: Sequence[str] | Counter[str],
    both: tuple[str, str],
    gold: Sequence[str] | None,
    where: str,
) -> float:
    """d' from single responses, or from their counts where none is faulty; NaN where hits are unknown."""
    if gold is None:
        return math.nan
    n_first = sum(answer == both[0] for answer in gold)
    if isinstance(responses, Counter):
        if stored["faulty"]:
            return math.nan
        first = responses[both[0]]
        try:
            return detection_of_counts(stored["matches"], first, n_first, len(gold) - n_first, faulty=0).d_prime
        except ScoreError as error:
            raise DataError(f"{where}: {error} The file was changed, check it out again.") from error
    given = Counter((answer, said) for answer, said in zip(gold, responses, strict=True) if said in both)
    hits, misses = given[both[0], both[0]], given[both[0], both[1]]
    alarms, rejections = given[both[1], both[0]], given[both[1], both[1]]
    if not hits + misses or not alarms + rejections:
        return math.nan
    return detection(hits, hits + misses, alarms, alarms + rejections).d_prime


def _derived(cell: Mapping[str, Any], counts: Counter[str], where: str) -> None:
    """Refuses what some files store beside the counts and does not follow from them."""
    total, matches, faulty = (cell[key] for key in ("total", "matches", "faulty"))
    derived = {
        "non_matches": total - matches - faulty,
        "response_dist": dict(counts),
        "acc": round(matches / total, 3),
    }
    for key, value in derived.items():
        if key in cell:
            _same(where, key, cell[key], value, "the other counts")


def _same(where: str, key: str, stored: object, found: object, source: str = "the responses") -> None:
    if stored != found:
        raise DataError(
            f"{where}: {key} is stored as {stored!r}, and {source} give {found!r}; the file was changed, check it out "
            "again."
        )
