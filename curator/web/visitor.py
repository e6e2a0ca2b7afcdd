"""One visitor of the review page: a review session, and what the page may ask of it.

The page decides nothing. It names an action of the registry (`settings/keys.py`), and the image
that was in front of its reviewer; the session does the rest, as in the terminal. Each request has
a key, and a request that comes again gets the answer of the first time, so that a page whose
connection broke may simply ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curator.base.text import count, printable
from curator.base.vocabulary import CurrentLabel, Label, Origin
from curator.catalogue.sources import list_sources
from curator.errors import CuratorError, UsageError
from curator.report.status import status
from curator.review.cards import ImageCard, load_context, load_image_cards
from curator.review.filter import EXAMPLE, MEANINGS, WHOLE, QueueView, read_view
from curator.review.image_source import REVIEWED
from curator.review.labelled_neighbours import LabelledNeighbours
from curator.review.outcome import NOTHING_TO_UNDO, meanwhile, summary_lines, taken_back
from curator.review.pictures import Pictures
from curator.review.selection import NO_EXAMPLES, SimilarTo
from curator.review.session import ReviewSession
from curator.settings.keys import ACTIONS, find_action, key_sign, resolve_keys
from curator.settings.sections import ClassesSettings
from curator.web.batches import Batches
from curator.web.progress import PageProgress
from curator.workspace import Workspace

Answer = dict[str, Any]
"""What is sent to the page as JSON."""

ANSWERS_KEPT = 500
"""Requests of one page whose answers are kept, in case one comes again."""
AHEAD = 4
"""Images whose pictures the page may fetch before they are asked for."""
NEIGHBOURS = 4
LARGEST_SHEET = 600

_ELSEWHERE = ("palette",)
"""Actions that a page in a browser has other means for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstQueue:
    """The queue that a new visitor begins with, as the command line named it."""

    queue: str
    examples: SimilarTo = NO_EXAMPLES
    view: QueueView = WHOLE
    goal: int | None = None


class Visitor:
    """The session of one page. Hold `turn` while something is asked of it.

    With `batches` it labels what a loop asks for, and cannot choose a queue.
    """

    def __init__(
        self, workspace: Workspace, pictures: Pictures, batches: Batches | None = None
    ) -> None:
        self.turn = asyncio.Lock()
        self.last_request = time.monotonic()
        self.answers: OrderedDict[str, Answer] = OrderedDict()
        self.present = True
        """Whether the page counts as open."""
        self.progress = PageProgress()
        self._workspace = workspace
        self._pictures = pictures
        self._classes = workspace.settings.classes
        self._session: ReviewSession | None = None
        self._released = False
        self._sheet: dict[int, ImageCard] = {}
        self._batches = batches
        self._batch = self._counted = 0

    @property
    def session(self) -> ReviewSession:
        """Its review session. Raises UsageError before `begin`."""
        if self._session is None:
            raise UsageError("The review has not started.", "Load the page again.")
        return self._session

    def begin(self, first: FirstQueue, reviewer: str) -> Answer:
        """Start the session unless there is one; everything that the page needs to know."""
        if self._session is None:
            queue: str | None = first.queue
            if self._batches is not None:
                self._batch, queue = self._batches.wait()
            if queue is None:
                raise UsageError("The command has ended.", "Run the command again to go on.")
            session = ReviewSession(
                self._workspace, queue, actor=reviewer,
                examples=first.examples, view=first.view, goal=first.goal,
                progress=self.progress,
            )  # fmt: skip
            session.refill()  # what is wrong with the queue is raised before anything is shown
            self._session = session
        self._resume()
        return {"setup": self._setup(), **self._state()}

    def leave(self) -> None:
        """Let others have what was not decided; the session can go on later."""
        self.present = False
        if self._session is not None:
            self._released = True
            self._session.close()
        if self._batches is not None:
            self._batches.leave(id(self))

    def _resume(self) -> None:
        if self._released:
            self.session.resume()
            self._released = False

    def answer(self, key: str, action: str, details: Mapping[str, Any]) -> Answer:
        """Do what the page asks, once for each key. Errors of the catalogue are in the answer."""
        if key not in self.answers:
            try:
                self._resume()
                answer = self._act(action, details)
            except CuratorError as error:
                answer = {"problem": error.problem, "advice": error.advice}
            self.answers[key] = {**answer, **self._state()}
            while len(self.answers) > ANSWERS_KEPT:
                self.answers.popitem(last=False)
        return self.answers[key]

    def about(self, image_id: int, neighbours: LabelledNeighbours) -> Answer:
        """History, group mates and labelled neighbours of an image; nothing of it when blind."""
        self._refuse_hidden("history")
        catalogue, name_of = self._workspace.catalogue, self._classes.name_of
        cards = load_image_cards(catalogue, [image_id], why={})
        if image_id not in cards:
            raise UsageError("There is no such image.", "Load the page again.")
        context = load_context(catalogue, image_id)
        nearest = neighbours.nearest(image_id, NEIGHBOURS)
        near_ids = [near_id for side in nearest.values() for near_id in side]
        near_cards = load_image_cards(catalogue, [*near_ids, *context.mates], why={})
        return {
            "sha256": cards[image_id].sha256.hex(),
            "locations": [
                f"{printable(location.source)}: {printable(location.path)}"
                + ("" if location.state == "present" else f" ({location.state})")
                for location in cards[image_id].locations
            ],
            "split": cards[image_id].split,
            "group": printable(context.user_group),
            "mates": [_tile(near_cards[i], self._classes) for i in context.mates],
            "moreMates": context.more_mates,
            "neighbours": {
                name_of(side): [_tile(near_cards[i], self._classes) for i in ids if i in near_cards]
                for side, ids in nearest.items()
            },
            "events": [
                [
                    event.made_at.astimezone().strftime("%Y-%m-%d %H:%M"),
                    str(event.kind),
                    name_of(event.label),
                    str(event.origin),
                    f"round {event.round}" if event.round is not None else event.actor or "?",
                    "" if event.probability is None else f"P {event.probability:.3f}",
                    "; ".join(
                        [
                            *event.reasons,
                            *([event.note] if event.note else []),
                            *(["taken back"] if event.retracted else []),
                            *(["rolled back"] if event.undone else []),
                        ]
                    ),
                ]
                for event in reversed(context.events)
            ],
        }

    def _refuse_hidden(self, action: str) -> None:
        """Raises UsageError for what tells more than somebody who labels blind may see."""
        try:
            hidden = not find_action(action).blind and self.session.blind
        except KeyError:
            raise UsageError(f"There is no action `{action}`.", "Load the page again.") from None
        if hidden:
            raise UsageError(
                f"`{action}` is not available in a blind sample.", "Choose another queue."
            )

    def _act(self, action: str, details: Mapping[str, Any]) -> Answer:
        if action not in ("queue", "wait"):
            self._refuse_hidden(action)
        session, name_of = self.session, self._classes.name_of
        match action:
            case "positive" | "negative" | "unsure":
                self._check_in_front(details)
                reasons = [self._classes.reasons[int(n)] for n in details.get("reasons", ())]
                decision = session.decide(Label(action), reasons=reasons)
                news = session.news_about(decision)
                return {} if news is None else {"message": meanwhile(news, decision, name_of)}
            case "skip":
                self._check_in_front(details)
                session.skip()
            case "quarantine":
                card = self._check_in_front(details)
                shot = self._pictures.shot(card, 64, 64)
                if shot.reason is None:
                    return {"message": "This picture can be shown: label it, or flag it."}
                session.set_aside(card.image_id, shot.reason, shot.problem)
            case "keep_only":
                self._check_in_front(details)
                dropped = session.keep_only()
                return {
                    "message": f"Dropped {count(dropped, 'near-duplicate')}; undo takes it back."
                }
            case "keep_all":
                self._check_in_front(details)
                session.keep_all()
            case "undo":
                undone = session.undo()
                text = NOTHING_TO_UNDO if undone is None else taken_back(undone, name_of)
                return {"message": text}
            case "left" | "right":
                session.move(-1 if action == "left" else 1)
            case "flag":
                return {"message": session.flag(_image_id(details), str(details.get("note", "")))}
            case "queue" if self._batches is not None:
                raise UsageError("`finish` chooses the queue here.", "Label what it asks for.")
            case "queue":
                session.choose(str(details.get("queue", "")))
            case "similar":
                session.choose_similar(_image_id(details))
            case "back":
                session.leave_similar()
            case "filter":
                self._filter(str(details.get("text", "")))
            case "sheet":
                return self._turn_sheet(details)
            case "accept":
                self._accept(details)
            case "quit":
                lines = summary_lines(session.summary(), name_of)
                return {"summary": [*lines, f"Next: {status(self._workspace).advice()}"]}
        return {}

    def _filter(self, text: str) -> None:
        sources = tuple(source.name for source in list_sources(self._workspace.catalogue))
        try:
            view = read_view(text, self._classes, sources)
        except ValueError as error:
            raise UsageError(f"Filter: {error}.", "An empty line shows the whole queue.") from None
        self.session.choose(self.session.queue, examples=self.session.source.examples, view=view)

    def _turn_sheet(self, details: Mapping[str, Any]) -> Answer:
        """A page of the contact sheet; these images, and no others, can be accepted next."""
        side = CurrentLabel.NEGATIVE if details.get("side") == "negative" else CurrentLabel.POSITIVE
        size = min(max(int(details.get("size", 60)), 1), LARGEST_SHEET)
        cards = self.session.page(side, size)
        self._sheet = {card.image_id: card for card in cards}
        return {"sheet": [_tile(card, self._classes) for card in cards]}

    def _accept(self, details: Mapping[str, Any]) -> None:
        """Record a page: a label for each of its images, or nothing for those left out."""
        marks = {int(image_id): label for image_id, label in dict(details["marks"]).items()}
        if marks.keys() - self._sheet.keys():
            raise UsageError(
                "The contact sheet has changed, so nothing was recorded.", "Look at it again."
            )
        decisions = [
            (self._sheet[image_id], Label(label))
            for image_id, label in marks.items()
            if label is not None
        ]
        # Decisions last: what fails before them records nothing twice when it is tried again.
        self.session.skip_on_page([image_id for image_id, label in marks.items() if label is None])
        self.session.decide_page(decisions)
        self._sheet = {}

    def _check_in_front(self, details: Mapping[str, Any]) -> ImageCard:
        """The card that the reviewer saw. Raises UsageError if the session is at another one."""
        coming = self.session.ahead(1)
        if not coming or coming[0].image_id != _image_id(details):
            raise UsageError(
                "The image has changed, so nothing was recorded.", "Look at it and decide."
            )
        return coming[0]

    def _setup(self) -> Answer:
        """What stays the same while the page is open."""
        keys, classes = resolve_keys(self._workspace.settings.review.keys), self._classes
        names = {"positive": classes.positive, "negative": classes.negative}
        promotion = self._workspace.settings.promotion
        return {
            "classes": {side: printable(name) for side, name in names.items()},
            "reasons": [printable(reason) for reason in classes.reasons],
            "thresholds": [promotion.promote_below, promotion.promote_above],
            "reviewer": self.session.actor,
            "filterExample": EXAMPLE,
            "filterParts": MEANINGS,
            "queues": {name: text for name, text in REVIEWED.items() if name != "similar"},
            "actions": [
                {
                    "name": action.name,
                    "label": printable(action.label.format(**names)),
                    "meaning": printable(action.meaning.format(**names)),
                    "keys": keys[action.name],
                    "signs": [key_sign(key) for key in keys[action.name]],
                    "group": action.group,
                    "screens": action.screens,
                    "blind": action.blind,
                }
                for action in ACTIONS
                if action.name not in _ELSEWHERE
            ],
        }

    def _state(self) -> Answer:
        """What the page shows now."""
        session, loop = self.session, Answer()
        try:
            if self._batches is not None:
                loop = self._follow(self._batches)
                if loop.get("waiting"):
                    return {**loop, "card": None, "ahead": []}
            card = session.current()
        except CuratorError as error:
            return {"card": None, "ahead": [], "problem": error.problem, "advice": error.advice}
        if self._batches is not None:
            self._batches.note_dry(id(self), card is None)
        return {
            "queue": session.queue,
            "explanation": session.explanation,
            "filter": session.source.view.describe(self._classes),
            "blind": session.blind,
            "aside": session.is_aside,
            "done": session.pace.decided,
            "goal": session.pace.goal,
            "card": None if card is None else _card(card, self._classes),
            "ahead": [_picture(coming) for coming in session.ahead(AHEAD)],
            **loop,
        }

    def _follow(self, batches: Batches) -> Answer:
        """Count what was decided for the batch, and go on with the one in front."""
        decided = self.session.pace.decided
        number, queue = batches.follow(id(self), self._batch, decided - self._counted)
        self._counted = decided
        if queue is None:
            ended = batches.result is not None  # the page leaves when it has this answer
            text = batches.result or f"{batches.news} curator computes what comes next…"
            return {"waiting": text.strip(), "ended": ended, "batch": 0}
        loop = {"batch": number, "done": batches.decided, "goal": batches.size, "waiting": ""}
        if number != self._batch:
            self._batch = number
            self.session.choose(queue)
            loop["message"] = batches.news
        return loop


def _image_id(details: Mapping[str, Any]) -> int:
    image_id = details.get("image")
    if not isinstance(image_id, int) or not 0 < image_id < 1 << 53:
        raise UsageError("There is no image to decide on.", "Choose another queue.")
    return image_id


def _picture(card: ImageCard) -> Answer:
    """What the page needs to fetch and lay out the picture; the digest tells it from others."""
    return {
        "id": card.image_id,
        "sha": card.sha256.hex()[:12],
        "width": card.width,
        "height": card.height,
    }


def _tile(card: ImageCard, classes: ClassesSettings) -> Answer:
    """A small picture on a sheet or beside another."""
    label = "" if card.standing is None else printable(classes.name_of(card.standing))
    return {**_picture(card), "name": _file_name(card), "score": card.score, "label": label,
            # A number of 64 bits is too long for JavaScript.
            "unit": str(card.unit_key),
            "flag": None if card.flag is None else printable(card.flag)}  # fmt: skip


def _card(card: ImageCard, classes: ClassesSettings) -> Answer:
    """The image in front. Blind it has no name: a folder's name may tell the class."""
    if card.blind:
        return {**_picture(card), "facts": []}
    folder = printable(card.path.rpartition(b"/")[0])
    pixels = f"{card.width}×{card.height}" if card.width else "size unknown"
    sources: Sequence[str] = sorted({printable(location.source) for location in card.locations})
    where = f"round {card.round}" if card.origin is Origin.PROMOTED else str(card.origin or "")
    return {
        **_tile(card, classes),
        "facts": [folder, f"{pixels} {card.format or ''}, {card.size:,} bytes",
                  f"source {', '.join(sources)}" if sources else ""],
        "origin": where,
        "standing": card.standing,
        "suggestion": card.suggestion,
        "why": card.why,
    }  # fmt: skip


def _file_name(card: ImageCard) -> str:
    return printable(card.path.rpartition(b"/")[2])
