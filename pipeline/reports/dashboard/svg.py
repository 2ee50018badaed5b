"""matplotlib's figures as SVG that lies in a page: its colours, its font, words for those who
don't see it.
"""

import re
from io import StringIO
from itertools import count
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins that matplotlib writes, and the variables of style.css that take their place: so that
# a chart follows the page from light to dark, and to paper.
INK, SOFT, GRID = "#010101", "#020202", "#030303"
MODEL, OTHER, GOOD, BAD, FAINT = "#040404", "#050505", "#060606", "#070707", "#080808"
_VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--line",
    MODEL: "--accent",
    OTHER: "--second",
    GOOD: "--good",
    BAD: "--bad",
    FAINT: "--faint",
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, sharp, in the page's own font
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
_numbers = count()


def new_figure(
    width: float, height: float, left: float = 0.5, right: float = 0.1, top: float = 0.08
) -> tuple[Figure, Any]:
    """A figure of one pair of axes in the pages' style, and the axes.

    Sizes and margins are in inches of 72 points; matplotlib's own layout would cost half the time.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height))
        bottom = 0.44
        frame = (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - bottom - top) / height,
        )
        return figure, figure.add_axes(frame)


def inline(figure: Figure, words: str) -> Markup:
    """The figure as an <svg> element whose accessible name is `words`."""
    text = StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    # A salt of its own keeps the names of clip paths apart in a page of many charts.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{next(_numbers)}"}):
        canvas.print_svg(text, metadata={"Date": None})
    found = text.getvalue()
    found = found[found.index("<svg") :]
    view = re.search(r'viewBox="([^"]+)"', found)
    assert view, "matplotlib writes a viewBox"
    body = found[found.index(">") + 1 : found.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", body))
    body = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r"font: (\d+(?:\.\d+)?)px [^;\"]+", r"font-size: \1px", body)
    body = re.sub(r" ?font-family: [^;\"]+;?", "", body)
    body = re.sub(r" xmlns:xlink=\"[^\"]+\"|\n\s*", lambda m: "\n" if "\n" in m[0] else "", body)
    body = re.sub(r"(\d+\.\d{2})\d+", r"\1", body)  # a hundredth of a point is not seen
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, f"var({variable})")
    width = float(view[1].split()[2])
    return Markup(
        f'<svg viewBox="{view[1]}" style="max-width:{width * 1.3:.0f}px" role="img" '
        f'aria-label="{escape(words)}">{body}</svg>'
    )
