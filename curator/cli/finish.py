"""The guided loop to a pool in which every image has a label: `finish`."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Trust, flag
from curator.cli.output import broken, emit, emit_json, shown

if TYPE_CHECKING:
    from curator.web.batches import Batches

_COLUMNS = 80


def finish(
    context: typer.Context,
    error: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Wrong machine labels / all images that you accept (promotion.max_error).",
        ),
    ] = None,
    certify: Annotated[
        bool, flag("--certify", help="Prove it by a blind audit, not only estimate it.")
    ] = False,
    plain: Annotated[bool, flag("--plain", help="Ask line by line, without a screen.")] = False,
    web: Annotated[
        bool, flag("--web", help="Serve it to browsers, for several reviewers.")
    ] = False,
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="For --web: where to listen.")
    ] = "",
    trust: Trust = False,
    json: AsJson = False,
) -> None:
    """Label, train and check in turn, until every image has a label and few enough are wrong.

    It asks for first labels, runs rounds while you label, and hands you the least certain images
    in batches. As soon as the scores expect at most --error of all images to be wrong, images that
    nobody decided get their likelier class, as a round of its own that `curator rollback` takes
    back. Then you check a random sample of what the machine labelled, blind. If that shows more
    errors, it goes on. Leave when you like: the same command goes on.

    With --web the batches go to a page in a browser, and several people can label them at once.

    Without --certify the check ends with an estimate. With it, it is an audit that ends with a
    certificate for all machine labels, and spends half of the risk that is left, whatever
    the result.

    Example: curator finish --error 0.02

    Example: curator finish --error 0.01 --certify --web
    """
    from curator.cli.review import (
        host_and_port,
        prepare_queue,
        review_lines,
        review_on_screen,
        there_is_a_screen,
    )
    from curator.finish.finish import finish as workflow
    from curator.review.filter import WHOLE
    from curator.review.selection import NO_EXAMPLES

    call = invocation(context)
    on_screen = there_is_a_screen() and not plain
    with call.workspace(trust=trust) as workspace:
        pages: AbstractContextManager[Batches | None] = nullcontext()
        if web:
            from curator.web.review import serve_batches

            host, port = host_and_port(address)
            pages = serve_batches(workspace, host=host, port=port, say=call.say)
        rounds = RoundProcess(workspace.root)
        with pages as batches:

            def say(text: str) -> None:
                for line in broken(text, _COLUMNS).split("\n"):
                    call.say(line)
                if batches is not None:
                    batches.say(text)

            def ask(queue: str, most: int) -> bool:
                say(f"{queue}: {count(most, 'image')} to look at.")
                if batches is not None:
                    prepare_queue(call, workspace, queue, NO_EXAMPLES, WHOLE)
                    return batches.ask(queue, most)
                review = review_on_screen if on_screen else review_lines
                decided = review(
                    call, workspace, queue, examples=NO_EXAMPLES, goal=None, view=WHOLE, most=most
                )
                return decided >= most

            try:
                report = workflow(
                    workspace,
                    ask,
                    error=workspace.settings.promotion.max_error if error is None else error,
                    certify=certify,
                    elsewhere=rounds if web or on_screen else None,
                    say=say,
                    progress=call.progress(),
                )
            finally:
                rounds.stop()
            if batches is not None:
                batches.end(report.text)
        if not report.finished:
            call.next_step = "curator finish"
    if json:
        emit_json(report.as_json())
    else:
        emit(broken(shown(report.text), _COLUMNS))


class RoundProcess:
    """A round in a process of its own, so that the review answers keys at once meanwhile."""

    def __init__(self, root: Path) -> None:
        self._command = [sys.executable, "-P", "-m", "curator", "--workspace", str(root), "round"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait(self) -> bool:
        assert self._process is not None  # it was started
        return self._process.wait() == 0

    def stop(self) -> None:
        """End a round that still runs: nothing of it is kept."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
