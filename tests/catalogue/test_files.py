"""Files and images: same bytes, same image; nothing that was seen is forgotten."""

from __future__ import annotations

import os

import pytest
import sqlalchemy as sa

from curator.base.values import PreviewPlace
from curator.base.vocabulary import LocationState, Quarantine
from curator.catalogue import checks, counts, features, files, images, labels, sources
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import FileOutcome
from curator.catalogue.models import Image
from curator.errors import DataError
from tests.catalogue.builders import ROOT, add_images, inspected, say, sha, standings, unread


@pytest.fixture
def source_id(catalogue: Catalogue) -> int:
    return sources.add_source(catalogue, name="pictures", root=ROOT).source_id


def _outcomes(recorded: list[files.RecordedFile]) -> list[tuple[FileOutcome, int | None, bool]]:
    return [(file.outcome, file.image_id, file.changed) for file in recorded]


def test_the_same_bytes_are_one_image_with_several_locations(
    catalogue: Catalogue, source_id: int
) -> None:
    first = [inspected(b"b.png", b"one"), inspected(b"a.png", b"two"), inspected(b"c.png", b"one")]
    recorded = files.record_files(catalogue, source_id, first)
    assert _outcomes(recorded) == [
        (FileOutcome.ADDED, 1, False),
        (FileOutcome.ADDED, 2, False),
        (FileOutcome.DUPLICATE, 1, False),
    ]
    assert images.image_files(catalogue, [1])[1].path == ROOT + b"/b.png"
    tally = counts.counts(catalogue)
    assert (tally.images, tally.locations, tally.duplicates) == (2, 3, 1)

    again = files.record_files(catalogue, source_id, first)
    assert [file.outcome for file in again] == [FileOutcome.KNOWN] * 3
    assert counts.counts(catalogue) == tally


def test_a_changed_file_is_a_new_image_and_the_old_one_is_remembered(
    catalogue: Catalogue, source_id: int
) -> None:
    files.record_files(catalogue, source_id, [inspected(b"a.png", b"old")])
    say(catalogue, 1, "positive")
    (new,) = files.record_files(catalogue, source_id, [inspected(b"a.png", b"new")])
    assert _outcomes([new]) == [(FileOutcome.ADDED, 2, True)]
    assert standings(catalogue, [1, 2]) == {1: ("positive", "seed"), 2: None}
    assert images.find_by_paths(catalogue, [ROOT + b"/a.png"]) == {ROOT + b"/a.png": 2}
    (place,) = images.image_details(catalogue, [1])[1].locations
    assert place.state is LocationState.CHANGED

    tally = counts.counts(catalogue)
    assert (tally.images, tally.usable, tally.gone) == (2, 1, 1)
    assert len(labels.history(catalogue, 1)) == 1

    (back,) = files.record_files(catalogue, source_id, [inspected(b"a.png", b"old")])
    assert _outcomes([back]) == [(FileOutcome.KNOWN, 1, True)]
    assert [p.state for p in images.image_details(catalogue, [1])[1].locations] == [
        LocationState.PRESENT
    ]
    assert counts.counts(catalogue).usable == 1
    assert not list(checks.check_catalogue(catalogue))


def test_a_file_that_cannot_be_read_for_a_while_keeps_its_image(
    catalogue: Catalogue, source_id: int
) -> None:
    files.record_files(catalogue, source_id, [inspected(b"a.png", b"one"), unread(b"b.png")])
    (lost,) = files.record_files(catalogue, source_id, [unread(b"a.png", Quarantine.VANISHED)])
    assert (lost.outcome, lost.quarantine) == (FileOutcome.QUARANTINED, Quarantine.VANISHED)
    known = files.known_files(catalogue, source_id, [b"a.png", b"b.png", b"other.png"])
    assert known[b"a.png"].image_id == 1
    assert known[b"a.png"].state is LocationState.MISSING
    assert known[b"b.png"].image_id is None
    assert counts.counts(catalogue).quarantined == {
        Quarantine.UNREADABLE: 1,
        Quarantine.VANISHED: 1,
    }
    assert images.image_files(catalogue, [1]) == {}

    back = [inspected(b"a.png", b"one"), inspected(b"b.png", b"two")]
    recorded = files.record_files(catalogue, source_id, back)
    assert [file.outcome for file in recorded] == [FileOutcome.KNOWN, FileOutcome.ADDED]
    assert counts.counts(catalogue).quarantined == {}


def test_quarantined_images_come_out_when_they_can_be_read(
    catalogue: Catalogue, source_id: int
) -> None:
    broken = inspected(b"a.heic", b"one", quarantine=Quarantine.UNSUPPORTED)
    (recorded,) = files.record_files(catalogue, source_id, [broken])
    assert (recorded.outcome, recorded.image_id) == (FileOutcome.QUARANTINED, 1)
    assert counts.counts(catalogue).usable == 0

    (freed,) = files.record_files(catalogue, source_id, [inspected(b"a.heic", b"one")])
    assert (freed.outcome, freed.quarantine) == (FileOutcome.KNOWN, None)
    details = images.image_details(catalogue, [1])[1]
    assert (details.width, details.quarantine) == (40, None)
    assert counts.counts(catalogue).usable == 1

    (kept,) = files.record_files(catalogue, source_id, [broken])
    assert kept.quarantine is None, "a usable image does not go back"


def test_an_image_can_go_to_quarantine_later(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 3)
    reason = {ids[1]: (Quarantine.TRUNCATED, "cut \udcff")}
    assert files.quarantine_images(catalogue, reason) == 1
    assert files.quarantine_images(catalogue, reason) == 0
    details = images.image_details(catalogue, ids)[ids[1]]
    assert details.quarantine is Quarantine.TRUNCATED
    assert details.detail == "cut \\udcff"
    assert counts.counts(catalogue).quarantined == {Quarantine.TRUNCATED: 1}
    assert [list(chunk) for chunk in images.image_chunks(catalogue)] == [[ids[0], ids[2]]]


def test_locations_stream_in_byte_order_also_below_a_folder(
    catalogue: Catalogue, source_id: int
) -> None:
    paths = [b"a", b"a/b.png", b"a/b/c.png", b"a/\xff.png", b"a!", b"a0", b"b.png", b"a/b.png2"]
    some = [inspected(path, path) for path in paths if path != b"a"]
    files.record_files(catalogue, source_id, some)
    walked = [k.path for k in files.walk_locations(catalogue, source_id, chunk=2)]
    assert walked == sorted(path for path in paths if path != b"a")
    below = [k.path for k in files.walk_locations(catalogue, source_id, under=b"a", chunk=1)]
    assert below == [b"a/b.png", b"a/b.png2", b"a/b/c.png", b"a/\xff.png"]
    one = [k.path for k in files.walk_locations(catalogue, source_id, under=b"b.png")]
    assert one == [b"b.png"]


def test_missing_files_are_marked_and_come_back(catalogue: Catalogue, source_id: int) -> None:
    files.record_files(catalogue, source_id, [inspected(b"a.png", b"one")])
    (known,) = files.walk_locations(catalogue, source_id)
    assert files.mark_locations(catalogue, [known.location_id], LocationState.MISSING) == 1
    assert files.mark_locations(catalogue, [known.location_id], LocationState.MISSING) == 0
    assert counts.counts(catalogue).missing == 1
    assert counts.counts(catalogue).usable == 1, "a folder that is away for now stays in the pool"
    assert features.count_without_features(catalogue, None) == 0
    files.mark_locations(catalogue, [known.location_id], LocationState.PRESENT)
    assert counts.counts(catalogue).missing == 0
    assert features.count_without_features(catalogue, None) == 1


def test_new_images_are_numbered_in_the_order_of_the_files(
    catalogue: Catalogue, source_id: int
) -> None:
    some = [inspected(b"%d" % i, b"%d" % (i * 7919 % 101)) for i in range(60)]
    first = files.record_files(catalogue, source_id, some[:25])
    second = files.record_files(catalogue, source_id, some[25:])
    assert [file.image_id for file in first + second] == list(range(1, 61))


def test_images_are_found_by_path_and_hash(catalogue: Catalogue, source_id: int) -> None:
    names = [b"a.png", b"sub/\xff\xfe.png", b'it\'s "q"\n.png']
    files.record_files(catalogue, source_id, [inspected(name, name) for name in names])
    paths = [ROOT + b"/" + name for name in names]
    assert images.find_by_paths(catalogue, [*paths, b"/else/a.png", ROOT]) == dict(
        zip(paths, [1, 2, 3], strict=True)
    )
    digests = [sha(name) for name in names]
    assert images.find_by_sha256(catalogue, [*digests, sha(b"?")]) == dict(
        zip(digests, [1, 2, 3], strict=True)
    )
    assert images.find_named_image(catalogue, os.fsdecode(paths[1])) == 2
    assert images.find_image(catalogue, digests[2].hex()[:8].upper()) == 3
    assert images.find_image(catalogue, digests[2].hex()) == 3
    for text in ("nothing.png", digests[0].hex()[:5], "abcdef", ""):
        with pytest.raises(DataError, match="No image"):
            images.find_image(catalogue, text)


def test_a_hash_prefix_of_two_images_is_refused(catalogue: Catalogue) -> None:
    add_images(catalogue, 2)
    with catalogue.write() as connection:
        for image, last in ((1, "01"), (2, "02")):
            digest = bytes.fromhex("ab" * 31 + last)
            change = sa.update(Image).where(Image.c.id == image).values(sha256=digest)
            connection.execute(change)
    with pytest.raises(DataError, match="Several images"):
        images.find_image(catalogue, "ab" * 10)
    assert images.find_image(catalogue, "ab" * 31 + "02") == 2


def test_hashes_and_sizes_come_in_order(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 7)
    assert images.small_side_quantile(catalogue) == 30
    chunks = list(images.hash_chunks(catalogue, size=3))
    assert [len(chunk.image_ids) for chunk in chunks] == [3, 3, 1]
    assert [i for chunk in chunks for i in chunk.image_ids] == ids
    digest = sha(b"content 4")
    assert chunks[1].sha256[1].tobytes() == digest
    assert int(chunks[1].hashes[1]) == int.from_bytes(digest[8:16], "big")


def test_what_no_file_holds_any_more_is_not_grouped(catalogue: Catalogue, source_id: int) -> None:
    files.record_files(catalogue, source_id, [inspected(b"a", b"one"), inspected(b"b", b"two")])
    files.record_files(catalogue, source_id, [inspected(b"a", b"one, edited")])
    (chunk,) = images.hash_chunks(catalogue)
    assert list(chunk.image_ids) == [2, 3]


def test_previews_are_recorded_with_their_files(catalogue: Catalogue, source_id: int) -> None:
    place = PreviewPlace(pack=2, offset=100, length=50, digest=(1 << 64) - 1)
    some = [inspected(b"a", b"one"), inspected(b"b", b"two")]
    files.record_files(catalogue, source_id, some, {sha(b"one"): place})
    assert files.preview_places(catalogue, [1, 2]) == {1: place}
    later = PreviewPlace(pack=2, offset=150, length=7)
    files.record_previews(catalogue, {2: later, 1: PreviewPlace(pack=0, offset=0, length=9)})
    assert files.preview_places(catalogue, [2]) == {2: later}


def test_a_source_keeps_its_terms(catalogue: Catalogue) -> None:
    first = sources.add_source(catalogue, name="faces", root=b"/data/faces")
    told = sources.add_source(catalogue, name="faces", root=b"/data/faces", licence="CC0")
    assert (told.source_id, told.licence) == (first.source_id, "CC0")
    with pytest.raises(DataError, match="licence"):
        sources.add_source(catalogue, name="faces", root=b"/data/faces", licence="MIT")
    with pytest.raises(DataError, match="lies at /data/faces"):
        sources.add_source(catalogue, name="faces", root=b"/elsewhere")
    with pytest.raises(DataError, match="is the source `faces` already"):
        sources.add_source(catalogue, name="more", root=b"/data/faces")
    assert sources.list_sources(catalogue) == [told]
    assert sources.find_source(catalogue, "cats") is None


def test_only_sources_without_files_are_forgotten(catalogue: Catalogue) -> None:
    add_images(catalogue, 1)
    (used,) = sources.list_sources(catalogue)
    kept = sources.add_source(catalogue, name="kept", root=b"/kept")
    sources.add_source(catalogue, name="gone", root=b"/gone")
    sources.forget_empty_sources(catalogue, but={kept.source_id})
    assert sources.list_sources(catalogue) == [used, kept]


def test_a_source_moves_with_all_its_files(catalogue: Catalogue) -> None:
    ids = add_images(catalogue, 2)
    source = sources.list_sources(catalogue)[0]
    sources.relocate_source(catalogue, source.source_id, b"/new/place", present=[], missing=[])
    assert sources.list_sources(catalogue)[0].root == b"/new/place"
    assert images.image_files(catalogue, ids)[ids[0]].path == b"/new/place/00000.png"
    sources.add_source(catalogue, name="other", root=b"/other")
    with pytest.raises(DataError, match="root of the source `other`"):
        sources.relocate_source(catalogue, source.source_id, b"/other", present=[], missing=[])
