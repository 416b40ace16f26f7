"""What is written in a figure, and whether it can be read: shared by the tests of all figures."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """Everything written in a figure that is drawn: no labels of ticks out of range, nor of axes switched off."""
    FigureCanvasAgg(figure).draw()
    unseen = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t for t in axis.get_major_ticks() if not ax.axison or not low <= t.get_loc() <= high]
            unseen |= {label for tick in ticks for label in (tick.label1, tick.label2)}
            unseen |= set() if ax.axison else {axis.label}
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in unseen]


def legible(figure: Figure) -> list[Text]:
    """Fails where a text is too small, leaves the figure or overlaps another; returns all `texts`."""
    boxes = {}
    for text in texts(figure):
        assert text.get_fontsize() >= 6, text.get_text()
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()
        boxes[text] = box
    assert not [(a.get_text(), b.get_text()) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]
    return list(boxes)
