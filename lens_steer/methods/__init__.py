"""The methods by name: activations of two sides in, one direction out.

`METHODS` holds the pure functions, `FITTERS` the streaming form that `extract` feeds; a method stands in both under
one name. A new method is one function, one fitter and one line in each table. Nothing registers itself.
"""

import difflib
from collections.abc import Callable

from torch import Tensor

from lens_steer.errors import MethodError
from lens_steer.methods.fitter import Fitter as Fitter
from lens_steer.methods.means import MeanDifference as MeanDifference
from lens_steer.methods.means import mean_difference as mean_difference

METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean_difference": mean_difference}
FITTERS: dict[str, Callable[[], Fitter]] = {"mean_difference": MeanDifference}


def make_fitter(method: str) -> Fitter:
    """A fresh fitter of a method, for one site.

    Args:
        method: a name of `FITTERS`.

    Returns:
        The fitter, empty.

    Raises:
        MethodError: there is no such method.
    """
    if method not in FITTERS:
        near = difflib.get_close_matches(method, FITTERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise MethodError(f"{method!r} is not a method; expected one of {', '.join(sorted(FITTERS))}.{hint}")
    return FITTERS[method]()
