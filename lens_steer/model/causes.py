"""Why another library failed, in one line for an error of ours."""

import re


def first_line(error: BaseException) -> str:
    """The first line of an error's message without the list of what TransformerLens knows; or the error's type."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return re.sub(r"Available architectures: \[.*?\], ", "", line)[:200].rstrip(".")
