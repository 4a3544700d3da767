"""What is done to the bytes of a file: damage of media and transfers, edits by hand, and what an attacker would write.

Every mutation is a function of the content, the places of JSON in it, and a random stream; it gives other bytes.
"""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from typing import Any

MARKER = "LENS_STEER_CAMPAIGN_RAN"
"""The variable of the environment that the hostile pickles would set."""
HUGE = (2**31 - 1, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**64 - 1, 10**30, 10**400, -1, -(2**63))
DEEP = (60, 250, 330, 900, 970, 990, 3_000, 100_000)
MARKUP = (
    "<script>document.title='taken'</script>",
    "[/red][bold]",
    "{{ 7 * 7 }}{% for x in () %}",
    "\x1b[2J\x1b]0;taken\x07",
    "'; DROP TABLE runs; --",
    "=cmd|' /C calc'!A0",
    f"__import__('os').putenv('{MARKER}', 'yes')",
    "../../../../etc/passwd",
    "\u202egnp.exe",
    "\ud800",
    "%s%n%x",
    "a\0b",
    "x" * 5_000,
)
Spans = list[tuple[int, int]]
Mutation = Callable[[bytes, Spans, random.Random], bytes]


class Evil:
    """Unpickling this would set the marker."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        import os

        return os.putenv, (MARKER, "yes")


def _cut(content: bytes, rng: random.Random, longest: int = 200) -> tuple[int, int]:
    """A random range of bytes, not empty."""
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.randint(1, rng.choice((1, 8, longest))))


def flipped_bit(content: bytes, _: Spans, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def other_byte(content: bytes, _: Spans, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([rng.choice((0, 255, 32, 34, 48, 57, rng.randrange(256)))]) + content[place + 1 :]


def truncated(content: bytes, _: Spans, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] if rng.random() < 0.8 else content[place:]


def duplicated_bytes(content: bytes, _: Spans, rng: random.Random) -> bytes:
    start, stop = _cut(content, rng, len(content))
    return content[:stop] + content[start:stop] + content[stop:]


def removed_bytes(content: bytes, _: Spans, rng: random.Random) -> bytes:
    start, stop = _cut(content, rng)
    return content[:start] + content[stop:]


def inserted_bytes(content: bytes, _: Spans, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    new = rng.choice((rng.randbytes(rng.randint(1, 40)), b"\n", b" ", b"\0" * rng.randint(1, 9), b'"', b"}", b"]\n{"))
    return content[:place] + new + content[place:]


def swapped_blocks(content: bytes, _: Spans, rng: random.Random) -> bytes:
    size = rng.choice((1, 4, 16, 64, 512))
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    one, other = rng.randrange(len(blocks)), rng.randrange(len(blocks))
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return b"".join(blocks)


def zeroed_range(content: bytes, _: Spans, rng: random.Random) -> bytes:
    start, stop = _cut(content, rng)
    return content[:start] + rng.choice((b"\0", b"\0", b"\xff", b" ")) * (stop - start) + content[stop:]


def huge_number(content: bytes, _: Spans, rng: random.Random) -> bytes:
    """A number far too large: written out where digits are, or in binary anywhere."""
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if digits and rng.random() < 0.5:
        start = stop = rng.choice(digits)
        while stop < len(content) and 48 <= content[stop] <= 57:
            stop += 1
        return content[:start] + rng.choice((*map(str, HUGE), "9" * 5_000)).encode() + content[stop:]
    size = rng.choice((4, 8))
    place = rng.choice((0, 8, rng.randrange(len(content))))
    number = rng.choice((2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)) & (256**size - 1)
    return content[:place] + number.to_bytes(size, "little") + content[place + size :]


def deep_nesting(content: bytes, spans: Spans, rng: random.Random) -> bytes:
    """Brackets in brackets: in place of a value of the JSON, or anywhere."""
    depth = rng.choice(DEEP) + rng.randint(-3, 3)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b""), (b"(", b")")))
    nest = opening * depth + b"1" + closing * depth
    if spans:
        start, stop = rng.choice(spans)
        colons = [start + i for i, byte in enumerate(content[start:stop]) if byte == 58]
        if colons:
            place = rng.choice(colons) + 1
            end = next((i for i in range(place, stop) if content[i : i + 1] in (b",", b"}", b"\n")), stop)
            return _grown(content, spans, start, content[:place] + nest + content[end:])
    place = rng.randrange(len(content) + 1)
    return content[:place] + nest + content[place:]


def changed_json(content: bytes, spans: Spans, rng: random.Random) -> bytes:
    """A value of the JSON replaced by one of another type, size or meaning; or removed, renamed, written twice."""
    if not spans:
        return flipped_bit(content, spans, rng)
    start, stop = rng.choice(spans)
    try:
        value = json.loads(content[start:stop])
    except (ValueError, RecursionError):
        return flipped_bit(content, spans, rng)
    text = json.dumps(edited(value, rng)).encode()
    if rng.random() < 0.1:  # a key that stands twice, of which readers may take either
        text = text.replace(b"{", b'{"schema": 1, "rows": 1, "batch": 7, "name": "twice", ', 1)
    return _grown(content, spans, start, content[:start] + text + content[stop:])


def hostile_markup(content: bytes, spans: Spans, rng: random.Random) -> bytes:
    """Markup, control characters and code inside a text."""
    words = rng.choice(MARKUP)
    if spans and rng.random() < 0.7:
        start, stop = rng.choice(spans)
        try:
            value = json.loads(content[start:stop])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict | list) and value:
            text = json.dumps(edited(value, rng, lambda *_: words)).encode()
            return _grown(content, spans, start, content[:start] + text + content[stop:])
    place = rng.randrange(len(content) + 1)
    return content[:place] + words.encode("utf-8", "surrogatepass") + content[place:]


def pickled_code(content: bytes, _: Spans, rng: random.Random) -> bytes:
    """A pickle that would run a function: in place of the file, before it, behind it, or inside an archive."""
    evil = pickle.dumps(Evil(), protocol=rng.choice((0, 2, 4)))
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
        archive.writestr("archive/version", "3\n")
    return rng.choice((evil, kept.getvalue(), evil + content, content + evil, content[:64] + evil))


MUTATIONS: dict[str, Mutation] = {
    "bit flipped": flipped_bit,
    "byte replaced": other_byte,
    "truncated": truncated,
    "bytes duplicated": duplicated_bytes,
    "bytes removed": removed_bytes,
    "bytes inserted": inserted_bytes,
    "blocks swapped": swapped_blocks,
    "range overwritten": zeroed_range,
    "huge number": huge_number,
    "deep nesting": deep_nesting,
    "JSON value changed": changed_json,
    "hostile markup": hostile_markup,
    "pickled code": pickled_code,
}
WEIGHTS = (3, 2, 1, 1, 1, 1, 1, 1, 2, 1, 3, 1, 0.5)


def mutated(content: bytes, spans_of: Callable[[bytes], Spans], rng: random.Random) -> tuple[str, bytes]:
    """A file damaged once, or up to three times.

    Args:
        content: of the file.
        spans_of: where a content of this kind holds JSON.
        rng: what decides.

    Returns:
        The name of the first mutation, and bytes that differ from the content.
    """
    while True:
        names = rng.choices(list(MUTATIONS), WEIGHTS, k=rng.choices((1, 2, 3), (16, 3, 1))[0])
        found = content
        for name in names:
            found = MUTATIONS[name](found, spans_of(found), rng) if found else found
        if found != content:
            return names[0], found


def edited(value: Any, rng: random.Random, change: Callable[[Any, random.Random], Any] | None = None) -> Any:
    """A JSON value in which one entry, however deep, is replaced, removed or renamed; JSON inside texts is edited too.

    Args:
        value: as it was read.
        rng: what decides.
        change: gives the new entry; another type or size where absent.
    """
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        if change is None and rng.random() < 0.15:
            rest = {name: entry for name, entry in value.items() if name != key}
            return rng.choice((rest, rest | {key + "_": value[key]}, rest | {key.upper(): value[key]}))
        return value | {key: edited(value[key], rng, change)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        if change is None and rng.random() < 0.2:
            return value[:place] + value[place + 1 :]
        return [*value[:place], edited(value[place], rng, change), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.dumps(edited(json.loads(value), rng, change))
        except (ValueError, RecursionError):
            return value
    return change(value, rng) if change else _other(value, rng)


def _other(value: Any, rng: random.Random) -> Any:
    """Another value: near the old one, or of another type."""
    near: list[Any] = [value + rng.choice((-1, 1, 0.5))] if isinstance(value, int | float) else []
    near += [value[:-1], value + " ", value.swapcase()] if isinstance(value, str) else []
    far = [None, True, False, 0, -5, 1.5, float("nan"), float("inf"), "", "text", [], {}, [[]], {"a": {}}, [1, "a"]]
    return rng.choice(near if near and rng.random() < 0.4 else [*far, rng.choice(HUGE), rng.choice(MARKUP)])


def _grown(content: bytes, spans: Spans, start: int, changed: bytes) -> bytes:
    """A changed content; where a length stands before the JSON (safetensors), it is set right."""
    if start == 8 and len(spans) == 1 and int.from_bytes(content[:8], "little") == spans[0][1] - 8:
        size = spans[0][1] - 8 + len(changed) - len(content)
        return max(size, 0).to_bytes(8, "little") + changed[8:]
    return changed
