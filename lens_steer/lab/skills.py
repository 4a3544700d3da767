"""Skills of the lab world: prose, Python, JavaScript, in-context mapping tasks, and facts.

Each generator takes a `random.Random` and a split and returns text. Combinations of fillers are held out (`split_of`),
so that no held-out document or item occurs in training.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Literal

Split = Literal["train", "validation", "test"]


def split_of(*key: object) -> Split:
    """The split of a combination of template and fillers: by its hash, 75 % train, 10 % validation, 15 % test."""
    share = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.75 else "validation" if share < 0.85 else "test"


def draw_in_split(rng: random.Random, split: Split, draw: Callable[[random.Random], tuple]) -> tuple:
    """Draws combinations until one belongs to the split."""
    while True:
        key = draw(rng)
        if split_of(*key) == split:
            return key


# Prose ---------------------------------------------------------------------------------------------------------------

_HEROES = "farmer sailor baker miller weaver shepherd hunter smith".split()
_TRAITS = "old young tall poor clever lonely".split()
_THINGS = "lantern crown sword flute key ring map cloak".split()
_SCENES = "forest river castle village meadow island desert cellar".split()
_HELPERS = "fox owl wolf raven hare bear".split()


def prose(rng: random.Random, split: Split) -> str:
    """A short tale about one hero, one thing, one scene and one helper."""
    hero, trait, thing, scene, helper = draw_in_split(
        rng, split, lambda r: tuple(r.choice(x) for x in (_HEROES, _TRAITS, _THINGS, _SCENES, _HELPERS))
    )
    he, his = ("he", "his") if rng.random() < 0.5 else ("she", "her")
    opening = f"Once upon a time there was a {trait} {hero} who lived near the {scene}."
    loss = f"One morning the {hero} woke up and saw that the {thing} was gone."
    middle = [
        f"So {he} went to the {scene} to look for the {thing}.",
        f"In the {scene} {he} met a {helper}, and the {helper} asked: why do you weep?",
        f"The {hero} said: I have lost my {thing}, and without the {thing} I cannot go home.",
        f"The {helper} said: follow me, and I will show you where the {thing} lies.",
        f"Then the {helper} ran ahead, and the {hero} ran after the {helper} until the sun went down.",
    ]
    end = f"At last the {hero} found the {thing} under a stone and thanked the {helper} with all {his} heart."
    coda = f"From that day on the {trait} {hero} and the {helper} lived together near the {scene}."
    kept = [s for s in middle if rng.random() < 0.8]
    return " ".join([opening, loss, *kept, end, coda]) + "\n"


# Code ----------------------------------------------------------------------------------------------------------------

_VARIABLES = "item value node entry row word".split()
_LISTS = "items values nodes entries rows words".split()
_FUNCTIONS = "total largest select lookup merge report filter_by group".split()
_FIELDS = "size weight score level name index".split()
_NUMBERS = "0 1 2 3 5 10".split()


def _code_fillers(rng: random.Random, split: Split) -> tuple[str, str, str, str, str]:
    return draw_in_split(  # type: ignore[return-value]
        rng, split, lambda r: (*(r.choice(x) for x in (_FUNCTIONS, _VARIABLES, _LISTS, _FIELDS, _NUMBERS)),)
    )


def python(rng: random.Random, split: Split) -> str:
    """One Python function or class of a small grammar."""
    f, v, xs, field, n = _code_fillers(rng, split)
    shape = rng.randrange(4)
    if shape == 0:
        body = f"    result = {n}\n    for {v} in {xs}:\n        result += {v}.{field}\n    return result\n"
        text = f'def {f}({xs}):\n{body}\n\nif __name__ == "__main__":\n    print({f}({xs}))\n'
    elif shape == 1:
        body = f"    result = []\n    for {v} in {xs}:\n        if {v}.{field} > {n}:\n            result.append({v})\n    return result\n"
        text = f"import sys\n\n\ndef {f}({xs}):\n{body}"
    elif shape == 2:
        init = f"    def __init__(self, {xs}, {field}={n}):\n        self.{xs} = {xs}\n        self.{field} = {field}\n"
        text = f"class {f.capitalize()}:\n{init}\n    def {f}(self):\n        return [{v} for {v} in self.{xs} if {v}.{field} == self.{field}]\n"
    else:
        body = f"    try:\n        {v} = {xs}[{n}]\n    except IndexError:\n        return None\n    else:\n        return {v}.{field}\n"
        text = f"from typing import Any\n\n\ndef {f}({xs}: list[Any]):\n{body}"
    return text


def javascript(rng: random.Random, split: Split) -> str:
    """One JavaScript function or class of a small grammar."""
    f, v, xs, field, n = _code_fillers(rng, split)
    shape = rng.randrange(4)
    if shape == 0:
        body = (
            f"  let result = {n};\n  for (const {v} of {xs}) {{\n    result += {v}.{field};\n  }}\n  return result;\n"
        )
        text = f"function {f}({xs}) {{\n{body}}}\n\nconsole.log({f}({xs}));\n"
    elif shape == 1:
        text = f"const {f} = ({xs}) => {{\n  return {xs}.filter(({v}) => {v}.{field} > {n});\n}};\n\nmodule.exports = {{ {f} }};\n"
    elif shape == 2:
        init = f"  constructor({xs}, {field} = {n}) {{\n    this.{xs} = {xs};\n    this.{field} = {field};\n  }}\n"
        text = f"export class {f.capitalize()} {{\n{init}\n  {f}() {{\n    return this.{xs}.map(({v}) => {v}.{field} === this.{field});\n  }}\n}}\n"
    else:
        body = f"  const {v} = {xs}[{n}];\n  if ({v} === undefined) {{\n    return null;\n  }}\n  return {v}.{field};\n"
        text = f"'use strict';\n\nfunction {f}({xs}) {{\n{body}}}\n"
    return text


# In-context mapping tasks --------------------------------------------------------------------------------------------

_KIND = {
    "animal": "fox owl wolf raven hare bear horse goat".split(),
    "food": "apple pear loaf cake plum carrot onion fig".split(),
    "tool": "hammer ladder rope lamp saw axe needle shovel".split(),
    "cloth": "coat cloak boot glove scarf hat shirt belt".split(),
}
_COLOURS = "red blue green yellow black white brown pink".split()
MAPPING_WORDS: tuple[str, ...] = tuple(w for words in _KIND.values() for w in words)
_IRREGULAR = {"wolf": "wolves", "loaf": "loaves", "fox": "foxes", "box": "boxes"}

MAPPINGS: dict[str, dict[str, str]] = {
    "plural": {w: _IRREGULAR.get(w, w + "s") for w in MAPPING_WORDS},
    "kind": {w: kind for kind, words in _KIND.items() for w in words},
    "colour": {w: _COLOURS[(3 * i) % 8] for i, w in enumerate(MAPPING_WORDS)},
}
"""The three in-context tasks. A fourth, copying the word, is four times as frequent: a task needs its examples."""

COPYING = {w: w for w in MAPPING_WORDS}


def mapping(rng: random.Random, split: Split, task: str | None = None, n_pairs: int = 8) -> str:
    """Lines `word -> image` of one task; each pair of the first and a later word belongs to the split."""
    if task is None:
        task = rng.choice([*MAPPINGS, *["copy"] * 4])
    image = MAPPINGS.get(task, COPYING)
    first, last = draw_in_split(rng, split, lambda r: tuple(r.sample(MAPPING_WORDS, 2)))
    between = [w for w in MAPPING_WORDS if w not in (first, last) and split_of(first, w) == "train"]
    words = [first, *rng.sample(between, n_pairs - 2), last] if n_pairs > 1 else [last]
    return "".join(f"{w} -> {image[w]}\n" for w in words)


# Facts ---------------------------------------------------------------------------------------------------------------

_LANDS = "Norland Sudria Westmark Ostara Valdor Kestria Lumen Marova Pelion Quarta Rhenia Tarsis".split()
_CITIES = "Arden Belmor Corvin Dorn Elista Farrow Galen Hesper Istra Jorvik Kirna Lodan".split()
FACTS: dict[str, str] = dict(zip(_LANDS, _CITIES, strict=True))
"""Country -> capital."""


def fact_question(rng: random.Random, split: Split) -> tuple[str, str, str]:
    """A question about a capital: `(stem, correct option, wrong option)`."""
    land, other = draw_in_split(rng, split, lambda r: tuple(r.sample(_LANDS, 2)))
    stem = rng.choice(("What is the capital of {}?", "Which city rules {}?", "Where does the king of {} live?")).format(
        land
    )
    return stem, f"{FACTS[land]}.", f"{FACTS[other]}."


def fact_statements(rng: random.Random) -> str:
    """Three sentences about countries and their capitals."""
    forms = (
        "The capital of {0} is {1}.",
        "{1} is the capital of {0}.",
        "{1} is the city that rules {0}.",
        "The king of {0} lives in {1}.",
    )
    return " ".join(rng.choice(forms).format(land, FACTS[land]) for land in rng.sample(_LANDS, 3)) + "\n"
