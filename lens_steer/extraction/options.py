"""Less common settings of `extract`: the method's options, and the treatment of long texts and massive tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lens_steer.extraction.methods import MEMORY_LIMIT, Option


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Settings of an extraction.

    `name`: of the vector; that of the contrast where empty. `method`: the method's options by name. `drop_massive`:
    leave out tokens whose norm at a site exceeds ten times the median token norm of their sequence there. `too_long`:
    `refuse` sequences longer than the context, or `cut` them: pairs after BOS, by the same number of tokens in both
    classes, documents at the end. `share_prefix`: forward the common prefix of a pair once. `memory_limit`: the largest
    memory for activations kept by a method, bytes. `progress`: show a progress bar.
    """

    name: str = ""
    method: Mapping[str, Option] = field(default_factory=dict)
    drop_massive: bool = False
    too_long: Literal["refuse", "cut"] = "refuse"
    share_prefix: bool = True
    memory_limit: int = MEMORY_LIMIT
    progress: bool = False
