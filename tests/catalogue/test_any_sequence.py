"""Any sequence of label, retract, promote, revoke, rollback and block keeps the promises.

The model here is naive on purpose: it keeps a stack of decisions for each image, and a
picture of all promotions after each round, where the catalogue keeps events and derives.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from numpy.typing import NDArray

from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import checks, counts, labels, pool, random_draws, rounds
from curator.catalogue.engine import Catalogue
from curator.classifiers.protocol import TrainingLabels
from curator.rounds.labels import training_labels
from tests.catalogue.builders import add_images, decision, new_round, stage, standings

IMAGES = list(range(1, 6))
images = st.sampled_from(IMAGES)
words = st.sampled_from(list(Label))
classes = st.sampled_from([Label.POSITIVE, Label.NEGATIVE])
RANDOM = Origin.CALIBRATION
origins = st.sampled_from([Origin.SEED, Origin.REVIEW, RANDOM, Origin.AUDIT])
methods = st.sampled_from([Method.SINGLE, Method.SHEET, Method.BLIND])


@dataclass(frozen=True)
class Said:
    """A decision that stands."""

    event_id: int
    label: Label
    origin: Origin
    by_import: bool


class AnySequence(RuleBasedStateMachine):
    """The catalogue beside a naive model of it."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="any-sequence-"))
        shutil.copyfile(_empty_file(), self.folder / "catalogue.sqlite")
        self.catalogue = Catalogue.open(self.folder / "catalogue.sqlite")
        add_images(self.catalogue, len(IMAGES))
        with self.catalogue.write() as connection:
            draw_id, _ = random_draws.open_draw(connection, 0)
            random_draws.record_members(connection, draw_id, enumerate(IMAGES))
        self.said: dict[int, list[Said]] = {image: [] for image in IMAGES}
        self.first: dict[int, tuple[Origin, Method]] = {}
        self.audited: set[int] = set()
        self.pictures: dict[int, dict[int, Label]] = {0: {}}
        self.parents: dict[int, int] = {}
        self.head = 0
        self.blocked: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "catalogue"):
            try:
                assert not list(checks.check_catalogue(self.catalogue))
            finally:
                self.catalogue.close()
                shutil.rmtree(self.folder)

    # What people do

    @rule(image=images, label=words, origin=origins, method=methods)
    def decide(self, image: int, label: Label, origin: Origin, method: Method) -> None:
        given = decision(image, label, origin=origin, method=method)
        report = labels.record_decisions(self.catalogue, [given], actor="anna")
        assert report.last_event_id is not None
        self.said[image].append(Said(report.last_event_id, label, origin, by_import=False))
        self._chosen(image, origin, method)
        self.blocked.discard(image)

    @rule(some=st.lists(images, unique=True, min_size=1), label=words, replace=st.booleans())
    def import_list(self, some: list[int], label: Label, replace: bool) -> None:
        given = [decision(image, label) for image in some]
        before = self._newest_event()
        report = labels.record_decisions(self.catalogue, given, actor="anna", replace=replace)
        fresh = [image for image in some if not self._repeats(image, label, replace)]
        retracted = sum(len(self.said[image]) for image in fresh) if replace else 0
        assert (report.recorded, report.retracted) == (len(fresh), retracted)
        for image in some:
            self._chosen(image, Origin.SEED, Method.IMPORT)
        for place, image in enumerate(fresh, start=1):
            if replace:
                self.said[image].clear()
            event_id = before + retracted + place
            self.said[image].append(Said(event_id, label, Origin.SEED, by_import=True))
        self.blocked -= set(some)

    @precondition(lambda self: any(self.said.values()))
    @rule(data=st.data())
    def retract(self, data: st.DataObject) -> None:
        everything = [said.event_id for some in self.said.values() for said in some]
        event_id = data.draw(st.sampled_from(everything))
        assert labels.retract(self.catalogue, [event_id], actor="anna") == 1
        for image, some in self.said.items():
            self.said[image] = [said for said in some if said.event_id != event_id]

    # What rounds do

    @rule(
        promote=st.dictionaries(images, classes),
        revoke=st.lists(images, unique=True),
        late=st.none() | st.tuples(images, words),
    )
    def run_a_round(
        self, promote: dict[int, Label], revoke: list[int], late: tuple[int, Label] | None
    ) -> None:
        revoke = [image for image in revoke if image not in promote]
        token = stage(self.catalogue, promote=promote, revoke=revoke)
        if late is not None:
            self.decide(late[0], late[1], Origin.REVIEW, Method.SINGLE)
        done = rounds.commit_round(self.catalogue, token, new_round(self.head or None))
        picture = dict(self.pictures[self.head])
        free = {image for image in IMAGES if not self.said[image]}
        picture |= {i: label for i, label in promote.items() if i in free - self.blocked}
        for image in free & set(revoke):
            picture.pop(image, None)
        assert done.round_id == len(self.pictures)
        self.parents[done.round_id] = self.head
        self.pictures[done.round_id] = picture
        self.head = done.round_id

    @rule(data=st.data(), block=st.booleans())
    def roll_back(self, data: st.DataObject, block: bool) -> None:
        to = data.draw(st.sampled_from(sorted(self.pictures)))
        undone = [number for number in self._line(self.head) if number not in self._line(to)]
        held = {
            image
            for number in undone
            for image, label in self.pictures[number].items()
            if self.pictures[self.parents[number]].get(image) != label
        }
        result = rounds.rollback(self.catalogue, to, block=block, actor="anna")
        assert list(result.undone) == sorted(undone)
        self.head = to
        if block:
            shown = self.pictures[to]
            free = {image for image in held if image not in shown and not self.said[image]}
            assert result.blocked == len(free - self.blocked)
            self.blocked |= free

    # What must hold

    @invariant()
    def everything_stands_as_the_model_says(self) -> None:
        if hasattr(self, "catalogue"):
            assert standings(self.catalogue, IMAGES) == {
                image: self._expected(image) for image in IMAGES
            }
            assert counts.counts(self.catalogue).blocked == len(self.blocked)
            assert rounds.lineage(self.catalogue) == self._line(self.head)

    @invariant()
    def what_labels_may_measure_depends_on_how_their_images_were_first_chosen(self) -> None:
        if not hasattr(self, "catalogue"):
            return
        human = pool.human_labels(self.catalogue, None)
        human.feature_rows[:] = human.image_ids
        usable = training_labels(human, 5, 0)
        purposes = dict(
            zip(
                usable.rows.tolist(),
                zip(*(column.tolist() for column in self._purposes(usable)), strict=True),
                strict=True,
            )
        )
        for image, allowed in purposes.items():
            origin, method = self.first[image]
            looked_at = method is not Method.SHEET
            if image in self.audited:
                assert allowed == (False, False, False, False, looked_at and origin is RANDOM)
                continue
            teaches = origin in (Origin.SEED, Origin.REVIEW, RANDOM)
            assert allowed == (
                teaches,
                teaches and looked_at,
                origin is Origin.SEED,
                origin is RANDOM and looked_at,
                origin is RANDOM and looked_at,
            )

    def _purposes(self, usable: TrainingLabels) -> tuple[NDArray[np.bool_], ...]:
        return (
            usable.trains,
            usable.calibrates,
            usable.representative,
            usable.sampled,
            usable.set_aside,
        )

    def _chosen(self, image: int, origin: Origin, method: Method) -> None:
        self.first.setdefault(image, (origin, method))
        if origin is Origin.AUDIT:
            self.audited.add(image)

    def _expected(self, image: int) -> tuple[str, str] | None:
        if self.said[image]:
            last = self.said[image][-1]
            both = {Label.POSITIVE, Label.NEGATIVE} <= set(self._since_a_look(image))
            return ("conflict" if both else str(last.label), str(last.origin))
        if image in self.pictures[self.head]:
            return (str(self.pictures[self.head][image]), "promoted")
        return None

    def _since_a_look(self, image: int) -> list[Label]:
        since: list[Label] = []
        for said in self.said[image]:
            since = [*since, said.label] if said.by_import else []
        return since

    def _repeats(self, image: int, label: Label, replace: bool) -> bool:
        """Whether an import as seed would say nothing new."""
        if not self.said[image]:
            return False
        expected = self._expected(image)
        if expected is not None and expected[0] == "conflict":
            imports = self.said[image][-len(self._since_a_look(image)) :]
            return not replace and any(
                said.label is label and said.origin is Origin.SEED for said in imports
            )
        last = self.said[image][-1]
        return last.by_import and last.label is label and last.origin is Origin.SEED

    def _newest_event(self) -> int:
        with self.catalogue.read() as connection:
            query = "SELECT coalesce(max(id), 0) FROM label_event"
            return int(connection.exec_driver_sql(query).scalar_one())

    def _line(self, number: int) -> list[int]:
        line = []
        while number:
            line.append(number)
            number = self.parents[number]
        return sorted(line)


_made: list[Path] = []


def _empty_file() -> Path:
    if not _made:
        folder = Path(tempfile.mkdtemp(prefix="any-sequence-"))
        atexit.register(shutil.rmtree, folder)
        path = folder / "empty.sqlite"
        Catalogue.create(path).close()
        _made.append(path)
    return _made[0]


AnySequence.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnySequence = pytest.mark.slow(AnySequence.TestCase)
