"""Writing files whole, and telling that they are as they were written.

Bytes go to a temporary file in the same folder, which then takes the name: a reader never sees half of a file. The
checksum of a file with a JSON header is of the header's other entries and of what follows it.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKSUM = "sha256"
"""The entry of a header that holds the checksum."""


def checksum(header: Mapping[str, Any], content: bytes) -> str:
    """The sha256 of a header's entries but for the checksum, and of the content that it heads.

    Args:
        header: as it is, or will be, in JSON.
        content: the rest of the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: an entry has no JSON form.
    """
    known = {name: value for name, value in json.loads(json.dumps(header)).items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode() + content).hexdigest()


def write_whole(path: str | Path, content: bytes) -> Path:
    """Writes a file in one step, making its folder where needed.

    Args:
        path: where to; an existing file is replaced.
        content: all of it.

    Returns:
        The path written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
