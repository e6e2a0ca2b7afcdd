"""What labels say of the scores of the round that stands, for `status` and after `round`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from curator.cli.output import shown, strong

if TYPE_CHECKING:
    from curator.report.status import Status
    from curator.rounds.score_quality import ScoreQuality
    from curator.settings.sections import ClassesSettings


def lines(status: Status) -> Iterator[str]:
    """The round that stands, for `status`."""
    from curator.report.sentences import scores_sentence
    from curator.rounds.score_quality import advice, from_stored

    if status.current_round is None:
        return
    judgement = from_stored(status.current_round.outcome.get("judgement"))
    if judgement is not None:
        told = scores_sentence(judgement)
        yield strong("Scores") + f"  of round {status.current_round.round_id}: {told}"
        yield from (f"  {line}" for line in doubts(judgement, status.settings.classes))
        yield f"  {advice(judgement)}"
    for alarm in status.current_round.outcome.get("alarms", []):
        yield f"{strong('Alarm')}  {shown(alarm['problem'])} {shown(alarm['cure'])}"


def doubts(judgement: ScoreQuality, classes: ClassesSettings) -> Iterator[str]:
    """What speaks against taking the scores for granted."""
    from curator.report.sentences import share_sentences, source_sentences

    yield from map(shown, share_sentences(judgement, classes.positive))
    yield from map(shown, source_sentences(judgement, classes.positive))
