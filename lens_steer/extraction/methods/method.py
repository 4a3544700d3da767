"""`Method`: an entry of the table of methods, with function, streaming form, requirements and memory.

    memory of one site    moments: a few sums        16 width
    (bytes)               matrix: every row, float32  4 (n_pos + n_neg) width
                          covariance: one matrix      8 width^2

This is the memory of a fitter during streaming. Fitting one site temporarily needs a few times as much (rows in
float64, matrix factors).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lens_steer.extraction.methods.fitter import Fitter, Option

Memory = Literal["moments", "matrix", "covariance"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the table.

    `function` takes all rows at once; `fitter` makes the streaming form, with the same options. `paired`: row i of both
    classes is a pair. `grouped`: every pair needs a group. `joint`: a row concatenates all sites, and the direction is
    split afterwards. `minimum` is the least number of rows of each class.
    """

    name: str
    summary: str
    function: Callable[..., Tensor]
    fitter: Callable[..., Fitter]
    memory: Memory
    minimum: int = 1
    paired: bool = False
    grouped: bool = False
    joint: bool = False

    @property
    def options(self) -> Mapping[str, Option]:
        """The options of the method and their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    def memory_bytes(self, n_pos: int, n_neg: int, width: int) -> int:
        """What a fitter of one site keeps.

        Args:
            n_pos: rows of the positive side.
            n_neg: rows of the negative side.
            width: of a row (of all sites together, for a joint method).

        Returns:
            Bytes, by the module's formula.
        """
        match self.memory:
            case "moments":
                return 16 * width
            case "matrix":
                return 4 * (n_pos + n_neg) * width
            case "covariance":
                return 8 * width * width
