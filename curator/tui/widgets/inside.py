"""What the network sees in an image: one picture at a time, with a line that says what it is.

Shown beneath the history. The pictures come when they are ready; until then, and where
there are none, a sentence stands in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from textual.app import ComposeResult
from textual.containers import Vertical

from curator.prediction.inside import NetworkView
from curator.tui.cells import Depth
from curator.tui.frames import Canvas, frame
from curator.tui.lines import Inks, row, safe, shortened
from curator.tui.terminal import Graphics
from curator.tui.widgets.lines import TextLines
from curator.tui.widgets.panel import Names
from curator.tui.widgets.picture import Picture


@dataclass(frozen=True, slots=True)
class FeatureView:
    """One of the pictures: its caption, and None where there is only the caption."""

    caption: str
    picture: Image.Image | None


def views_of(sight: NetworkView, names: Names) -> tuple[FeatureView, ...]:
    """The activation first, then the feature maps of each convolution."""
    likely = names.positive if sight.probability > 0.5 else names.negative
    claim = f"the network says {likely}, P({names.positive}) = {sight.probability:.3f}"
    if sight.activation is None:
        first = FeatureView(f"{sight.problem} It says {likely}.", None)
    else:
        first = FeatureView(f"what is warm speaks for {likely}; {claim}", sight.activation)
    ran = f"your own code was run: {sight.whose_code}; " if sight.whose_code else ""
    maps = tuple(FeatureView(f"feature maps of {one.name}", one.picture) for one in sight.maps)
    return (FeatureView(f"{ran}{first.caption}", first.picture), *maps)


class Inside(Vertical):
    """Hidden until the screen makes room for it."""

    DEFAULT_CSS = """
    Inside { height: 1fr; display: none; }
    Inside > Lines { height: 1; }
    Inside > Picture { height: 1fr; }
    """

    def __init__(self, graphics: Graphics) -> None:
        super().__init__(id="inside")
        self._graphics = graphics
        self._views: tuple[FeatureView, ...] = ()
        self._place = 0

    def compose(self) -> ComposeResult:
        """The caption, and the picture beneath."""
        yield TextLines(id="caption")
        yield Picture(self._graphics, id="seen")

    @property
    def is_filled(self) -> bool:
        """Whether there are pictures."""
        return bool(self._views)

    def fill(self, views: tuple[FeatureView, ...]) -> None:
        """Take in the pictures; the first is shown by the next `draw`."""
        self._views, self._place = views, 0

    def turn(self, step: int) -> None:
        """The next picture or the one before, around the end."""
        if self._views:
            self._place = (self._place + step) % len(self._views)

    def say(self, sentence: str, inks: Inks) -> None:
        """A sentence instead of pictures."""
        self._tell(sentence, inks)

    def draw(self, inks: Inks, depth: Depth, ground: int) -> None:
        """Draw the picture whose turn it is at the present size."""
        if not self._views:
            return
        view, count = self._views[self._place], len(self._views)
        turn = f"  ({self._place + 1} of {count}, ← →)" if count > 1 else ""
        self._tell(f"{view.caption}{turn}", inks)
        picture = self.query_one("#seen", Picture)
        if view.picture is None:
            picture.say([], inks.muted)
            return
        canvas = Canvas(picture.size.width, picture.size.height, depth, ground, self._graphics)
        if canvas.columns and canvas.rows:
            picture.show(frame(view.picture, canvas))

    def _tell(self, sentence: str, inks: Inks) -> None:
        told = shortened(safe(sentence), max(1, self.size.width - 2))
        line = row([(" ", inks.ground), (told, inks.muted)], self.size.width, inks.ground)
        self.query_one("#caption", TextLines).show([line])
