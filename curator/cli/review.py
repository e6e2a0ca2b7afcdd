"""Commands that put images before a person: `queue`, and `review` on a screen or line by line."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from curator.base.text import count
from curator.base.vocabulary import Label
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, Force, complete_queue, flag, named_path
from curator.cli.output import emit, emit_json, narrate, shown
from curator.errors import UsageError

if TYPE_CHECKING:
    from curator.catalogue.engine import Catalogue
    from curator.review.cards import ImageCard
    from curator.review.filter import QueueView
    from curator.review.selection import SimilarTo
    from curator.review.session import ReviewSession
    from curator.settings.sections import ClassesSettings
    from curator.workspace import Workspace

_LOOPBACK = "127.0.0.1"

QueueName = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE",
        help="diverse, clusters, similar, borderline, informative, unfamiliar, promoted, random,"
        " suspect, conflict, odd, duplicates, flagged, calibration, audit, quarantine.",
        autocompletion=complete_queue,
    ),
]
ReviewQueue = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE",
        help="diverse, clusters, similar, borderline, informative, unfamiliar, promoted, random,"
        " suspect, conflict, odd, duplicates, flagged, calibration, audit.",
        autocompletion=complete_queue,
    ),
]
LikeImages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE...",
        help="For `similar`: images to start from, each a path or the beginning of a SHA-256.",
    ),
]
UnlikeImages = Annotated[
    list[str] | None,
    typer.Option("--not", metavar="IMAGE", help="For `similar`: an image to turn away from."),
]


FilterText = Annotated[
    str,
    typer.Option(
        "--filter", metavar="TEXT", help="As `class:bad name:IMG_2* flag:any sharpness<0.3`."
    ),
]


def queue(
    context: typer.Context,
    name: QueueName,
    images: LikeImages = None,
    unlike: UnlikeImages = None,
    view: FilterText = "",
    size: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Number of images (default: 100, or the whole audit)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            parser=named_path, metavar="FILE", help="Output file: .csv, or .json for Label Studio."
        ),
    ] = None,
    relative_to: Annotated[
        Path | None,
        typer.Option(parser=named_path, metavar="DIR", help="Write paths relative to this folder."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Random seed (default: that of the workspace).")
    ] = None,
    html: Annotated[
        bool, flag("--html", help="Write a page of the pictures beside the CSV file.")
    ] = False,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """List the images that are worth a look, best first, as CSV for labelling elsewhere.

    Fill in the column `label` and bring it back with `curator label`, which knows from the
    column `queue` what it is; so with an export of Label Studio. The queues: diverse
    (spread over everything, for the first labels), clusters (pages of similar images),
    similar IMAGE... --not IMAGE (more of a rare class), borderline, informative (expected error),
    unfamiliar, promoted, random, suspect (labels that the scores contradict), conflict,
    odd (dark, blurred, tiny and the like), duplicates, flagged, quarantine; calibration (a
    random sample) and audit say neither score nor class.

    Example: curator queue borderline --size 200 --output look.csv --html
    """
    from curator.base.files import check_destination
    from curator.review.queue_files import queue_csv, write_queue, write_tasks
    from curator.review.queue_page import write_page
    from curator.review.queues import queue as workflow

    call = invocation(context)
    if html and (output is None or output.suffix.lower() != ".csv"):
        raise UsageError(
            "--html writes a page beside a CSV file, and none is named.", "Add --output look.csv."
        )
    with call.workspace() as workspace:
        rows = workflow(
            workspace,
            name,
            size=size,
            examples=_examples(workspace.catalogue, images, unlike),
            view=_read_view(workspace, view),
            seed=seed,
            progress=call.progress(),
        )
        if name == "audit":
            say_commitment(call, workspace)
        classes = workspace.settings.classes
        if html and output is not None:
            check_destination(output, force=force)
            call.say(f"Wrote the pictures to {write_page(workspace, rows, output, force=force)}.")
    if output is not None and output.suffix.lower() == ".json":
        beside = write_tasks(rows, output, classes, force=force, relative_to=relative_to)
        call.say(f"Wrote {count(len(rows), 'task')} for Label Studio to {output}.")
        call.next_step = "Label them there, export them as CSV, then: curator label FILE.csv"
        call.say(f"{beside} is the labelling interface for the project.")
    elif output is not None:
        write_queue(rows, output, force=force, relative_to=relative_to)
        call.say(f"Wrote {count(len(rows), 'image')} to {output}.")
        command = shlex.join(["curator", "label", str(output)])
        if rows:
            call.next_step = f"Fill in the column `label`, then: {command}"
    if json:
        emit_json([row.as_json() for row in rows])
    elif output is None:
        emit(queue_csv(rows, relative_to=relative_to).removesuffix("\n"), wrap=False)


def review(
    context: typer.Context,
    name: ReviewQueue = "borderline",
    images: LikeImages = None,
    unlike: UnlikeImages = None,
    goal: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Number of decisions to aim for.")
    ] = None,
    view: FilterText = "",
    plain: Annotated[bool, flag("--plain", help="Ask line by line, without a screen.")] = False,
    web: Annotated[bool, flag("--web", help="Serve the review to a browser.")] = False,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For --web: where to listen.")
    ] = "",
) -> None:
    """Look at one image after the other and say what it is; every answer is kept at once.

    In a terminal this is a screen with pictures: `?` shows its keys. Without one (or with
    --plain) answers are lines: the same keys, or whole words: the name of a class,
    `unsure`, `skip`, `undo`, `quit`; words after a class are its reasons.

    Example: curator review diverse
    """
    from curator.audits.certificate import valid_certificates

    call = invocation(context)
    with call.workspace() as workspace:
        valid = valid_certificates(workspace.catalogue)
        examples, queue_view = (
            _examples(workspace.catalogue, images, unlike),
            _read_view(workspace, view),
        )
        source = context.get_parameter_source("name")
        if source is not None and source.name == "DEFAULT":
            name = default_queue(call, workspace.catalogue, name)
        if name == "audit":
            say_commitment(call, workspace)
        if web:
            review_in_browser(call, workspace, name, examples, goal, queue_view, address)
        elif there_is_a_screen() and not plain:
            review_on_screen(call, workspace, name, examples=examples, goal=goal, view=queue_view)
        else:
            review_lines(call, workspace, name, examples=examples, view=queue_view)
        if stale := len(valid - valid_certificates(workspace.catalogue)):
            call.say(f"No longer valid: {count(stale, 'certificate')}. See `curator status`.")


def default_queue(call: Invocation, catalogue: Catalogue, name: str) -> str:
    """The queue of a review that names none: `diverse` where there are no scores yet."""
    from curator.catalogue.pool import has_scores

    if has_scores(catalogue):
        return name
    call.say("There are no scores yet, so this is the queue `diverse`: first labels.")
    return "diverse"


def say_commitment(call: Invocation, workspace: Workspace) -> None:
    """Open the planned audit, and say the digest of all that is fixed from now on."""
    from curator.audits.audit import begin

    record = begin(workspace)
    if record.commitment:
        call.say(
            f"Audit {record.audit_id} is open and uses {record.risk:.3g} of the allowed risk. Its"
            f" commitment (send it to whoever will check the certificate): {record.commitment}"
        )


def there_is_a_screen() -> bool:
    """Whether an interface can be drawn here: a terminal that can move its cursor."""
    drawable = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return drawable and sys.stdin.isatty() and sys.stderr.isatty()


def _read_view(workspace: Workspace, text: str) -> QueueView:
    """The filter and order that `--filter` asks for. Raises UsageError if it says neither."""
    from curator.catalogue.sources import list_sources
    from curator.review.filter import read_view

    classes = workspace.settings.classes
    sources = tuple(source.name for source in list_sources(workspace.catalogue))
    try:
        return read_view(text, classes, sources)
    except ValueError as error:
        raise UsageError(f"--filter: {error}.", "See docs/review.md.") from None


def _examples(
    catalogue: Catalogue, images: Sequence[str] | None, unlike: Sequence[str] | None
) -> SimilarTo:
    from curator.catalogue.images import find_named_image
    from curator.review.selection import SimilarTo

    like, other = (
        tuple(find_named_image(catalogue, name) for name in names or ())
        for names in (images, unlike)
    )
    return SimilarTo(like=like, unlike=other)


def host_and_port(address: str) -> tuple[str, int]:
    """What HOST:PORT says; this computer alone, and port 0, where it says nothing.

    Raises UsageError if it is not an address.
    """
    bare = address.count(":") > 1 and not address.startswith("[")  # an IPv6 host and no port
    alone = bare or address.endswith("]") or ":" not in address
    host, _, port = (address, "", "") if alone else address.rpartition(":")
    if port and not (port.isascii() and port.isdigit()):
        raise UsageError(
            f"`{address}` is not a HOST:PORT address.", "Write HOST:PORT, such as 127.0.0.1:8765."
        )
    return host.removeprefix("[").removesuffix("]") or _LOOPBACK, int(port or 0)


def review_on_screen(
    call: Invocation,
    workspace: Workspace,
    queue: str,
    *,
    examples: SimilarTo,
    goal: int | None,
    view: QueueView,
    most: int | None = None,
) -> int:
    """Review until the person leaves or after `most` decisions; how many there were."""
    from curator.review.outcome import summary_lines
    from curator.tui.start import run_review

    classes = workspace.settings.classes
    summary = run_review(
        workspace,
        queue,
        actor=workspace.actor,
        environment=os.environ,
        examples=examples,
        goal=goal,
        most=most,
        view=view,
        progress=call.progress(),
    )
    for line in summary_lines(summary, classes.name_of):
        emit(shown(line))
    return summary.decided


def review_in_browser(
    call: Invocation,
    workspace: Workspace,
    name: str,
    examples: SimilarTo,
    goal: int | None,
    view: QueueView,
    address: str,
) -> None:
    """Serve the review until it is interrupted."""
    from curator.web.review import serve_review
    from curator.web.visitor import FirstQueue

    host, port = host_and_port(address)
    prepare_queue(call, workspace, name, examples, view)
    first = FirstQueue(queue=name, examples=examples, view=view, goal=goal)
    serve_review(workspace, first, host=host, port=port, say=call.say)


def prepare_queue(
    call: Invocation, workspace: Workspace, name: str, examples: SimilarTo, view: QueueView
) -> None:
    """Raise what is wrong with a queue, and encode what is new, before a browser asks for it."""
    from curator.review.session import ReviewSession

    with ReviewSession(
        workspace,
        name,
        actor=workspace.actor,
        examples=examples,
        view=view,
        progress=call.progress(),
    ) as session:
        session.refill()


def review_lines(
    call: Invocation,
    workspace: Workspace,
    name: str,
    *,
    examples: SimilarTo,
    view: QueueView,
    goal: int | None = None,
    most: int | None = None,
) -> int:
    """The plain review; how many decisions were made, `most` of them at most."""
    from curator.review.session import ReviewSession

    settings = workspace.settings
    keys = TypedAnswers(settings.classes, settings.review.keys, in_groups=name == "duplicates")
    with ReviewSession(
        workspace,
        name,
        actor=workspace.actor,
        examples=examples,
        view=view,
        goal=goal,
        most=most,
        progress=call.progress(),
    ) as session:
        session.current()  # a queue that cannot be had says so before the keys are explained
        call.say(f"{session.queue}: {session.explanation}.")
        call.say(keys.explanation())
        _ask(call, session, keys)
        emit(f"{count(session.pace.decided, 'decision')} kept.")
        return session.pace.decided


def _ask(call: Invocation, session: ReviewSession, keys: TypedAnswers) -> None:
    """Put image after image before the person until there is none or they have enough."""
    from curator.review.outcome import NOTHING_TO_UNDO, meanwhile, taken_back

    name_of = session.workspace.settings.classes.name_of
    number = 1
    while (card := session.current()) is not None:
        narrate(keys.announcement(card, number))
        try:
            answer = keys.read(_line(keys.prompt()))
            if answer.move == "keep_only":
                dropped = session.keep_only()
                call.say(f"Dropped {count(dropped, 'near-duplicate')}; undo takes it back.")
                number += 1
            elif answer.move == "keep_all":
                session.keep_all()
                number += 1
        except UsageError as error:
            call.say(f"{error.problem} {error.advice}")
            continue
        if answer.move == "quit":
            return
        if answer.move == "undo":
            undone = session.undo()
            call.say(NOTHING_TO_UNDO if undone is None else taken_back(undone, name_of))
            number -= undone is not None and not undone.earlier_session
        elif answer.move == "skip":
            session.skip()
            number += 1
        elif answer.label is not None:
            decision = session.decide(answer.label, reasons=answer.reasons)
            number += 1
            if (news := session.news_about(decision)) is not None:
                call.say(meanwhile(news, decision, name_of))
    if not session.is_complete:
        call.say("The queue is empty.")


def _line(prompt: str) -> str:
    """A line of the person's; the end of the input means that they have enough."""
    if sys.stdin.isatty():
        sys.stderr.write(prompt)
        sys.stderr.flush()
    return sys.stdin.readline() or "quit"


Move = Literal["skip", "undo", "quit", "keep_only", "keep_all"]


@dataclass(frozen=True, slots=True)
class TypedAnswer:
    """What a line said: a label with its reasons, or a move."""

    label: Label | None = None
    reasons: tuple[str, ...] = ()
    move: Move | None = None


_ANSWERS = {
    "positive": TypedAnswer(Label.POSITIVE),
    "negative": TypedAnswer(Label.NEGATIVE),
    "unsure": TypedAnswer(Label.UNSURE),
    "skip": TypedAnswer(move="skip"),
    "undo": TypedAnswer(move="undo"),
    "keep_only": TypedAnswer(move="keep_only"),
    "keep_all": TypedAnswer(move="keep_all"),
    "quit": TypedAnswer(move="quit"),
}
_OF_GROUPS = {"keep_only": "keep only this", "keep_all": "keep all"}
"""What may be answered, by the name of the action that does it on the screen."""


class TypedAnswers:
    """The answers that a workspace understands: whole words, and the keys of the screen.

    A key means here what it means there, whatever the classes are called; the user's own
    keys (`review.keys`) count too, as far as one can type them into a line. Answers about groups of
    near-duplicates are named `in_groups` only, where each image has some.
    """

    def __init__(
        self, classes: ClassesSettings, keys: Mapping[str, str], *, in_groups: bool = False
    ) -> None:
        self._reasons = classes.reasons
        self._named = [name for name in _ANSWERS if in_groups or name not in _OF_GROUPS]
        self._names: dict[str, str] = {"positive": classes.positive, "negative": classes.negative}
        from curator.settings.keys import resolve_keys

        keys_by_action = resolve_keys(keys)
        # A class may be called `x`: then `x` is that class, whatever the key does on the screen.
        names = {name.casefold(): side for side, name in self._names.items()}
        self._keys = {
            action: tuple(
                key
                for key in _typed(keys_by_action[action])
                if names.get(key.casefold(), action) == action
            )
            for action in _ANSWERS
        }
        self._words = {
            _OF_GROUPS.get(name, name): answer
            for name, answer in _ANSWERS.items()
            if name not in self._names
        }
        self._words |= {name.casefold(): _ANSWERS[side] for side, name in self._names.items()}
        self._letters = {key: _ANSWERS[name] for name, keys in self._keys.items() for key in keys}

    def explanation(self) -> str:
        """One line that says what may be answered."""
        names = self._names | {"unsure": "not sure"} | _OF_GROUPS
        words = [f"{self._shown(name)} = {names.get(name, name)}" for name in self._named]
        reasons = [f"{number} {reason}" for number, reason in enumerate(self._reasons, 1)]
        after = f" After a class, its reasons: {', '.join(reasons)}." if reasons else ""
        return f"{', '.join(words)}.{after}"

    def prompt(self) -> str:
        """The prompt before the answer."""
        return "/".join(self._shown(name) for name in self._named) + "> "

    def _shown(self, name: str) -> str:
        keys = self._keys[name]
        word = (self._names | _OF_GROUPS).get(name, name)
        return (keys[0] if keys[0] != " " else "space") if keys else word

    def announcement(self, card: ImageCard, number: int) -> str:
        """The lines above the answer; of a blind card only where it lies."""
        parts = []
        if card.score is not None:
            parts.append(f"P = {card.score:.3f}")
        if card.standing is not None:
            parts.append(f"now {shown(self._names.get(card.standing, card.standing))}")
            parts[-1] += f" ({card.origin})"
        elif card.suggestion is not None:
            parts.append(f"perhaps {shown(self._names[card.suggestion])}")
        return f"{number}. {shown(card.path)}" + (f"\n   {', '.join(parts)}" if parts else "")

    def read(self, line: str) -> TypedAnswer:
        """What `line` means. Raises UsageError if it means nothing."""
        text = line.rstrip("\r\n")
        text = text.strip() or text[:1]
        whole = self._letters.get(text) or self._words.get(text.casefold())
        if whole is not None:
            return whole
        for word, rest in _beginnings(text):
            answer = self._letters.get(word) or self._words.get(word.casefold())
            if answer is not None and answer.label is not None:
                return TypedAnswer(answer.label, self._reasons_in(rest))
        raise UsageError(f"`{text}` is not an answer.", self.explanation())

    def _reasons_in(self, text: str) -> tuple[str, ...]:
        named = {str(number): reason for number, reason in enumerate(self._reasons, 1)}
        parts = (part.strip() for part in text.split(","))
        reasons = tuple(named.get(part, part) for part in parts if part)
        unknown = [reason for reason in reasons if self._reasons and reason not in self._reasons]
        if unknown:
            raise UsageError(
                f"There is no reason `{unknown[0]}`.", f"Known are {', '.join(self._reasons)}."
            )
        return reasons


def _typed(keys: Sequence[str]) -> tuple[str, ...]:
    """Those keys that one can type into a line."""
    return tuple(" " if key == "space" else key for key in keys if len(key) == 1 or key == "space")


def _beginnings(text: str) -> Iterator[tuple[str, str]]:
    """Every way to cut `text` into an answer, of one or more words, and its reasons."""
    words = text.split(" ")
    for end in range(len(words) - 1, 0, -1):
        yield " ".join(words[:end]), " ".join(words[end:])
