"""Token labels for figures: visible spaces, escaped control characters, and only characters that the font has.

The font is matplotlib's DejaVu Sans; characters that it lacks (Chinese, emoji, ...) are written as `\\u4e2d`.
"""

from functools import cache

from matplotlib import font_manager

from lens_steer._util.printable import printable


def visible(token: str) -> str:
    """A token as an unambiguous label.

    Args:
        token: any text.

    Returns:
        The token with spaces as dots, unprintable characters and those missing in the font escaped, and `$` escaped for
        matplotlib.
    """
    return printable(token, {" ": "·", "$": r"\$"}, _drawn())


@cache
def _drawn() -> frozenset[int]:
    """The code points that the font has."""
    path = font_manager.findfont("DejaVu Sans", fallback_to_default=True)
    return frozenset(font_manager.get_font(path).get_charmap())
