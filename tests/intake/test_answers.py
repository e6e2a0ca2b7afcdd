"""A CSV of answers is read as it was meant, or refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curator.base.values import Problem
from curator.base.vocabulary import Label
from curator.errors import DataError
from curator.intake.answers import Answer, printable, read_annotations, read_answers
from curator.settings.sections import ClassesSettings

DIGEST = "ab" * 32


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "labels.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_all_columns(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "sha256,path,label,reasons,note,score\n"
        f'{DIGEST},a.jpg,bad,profile| several faces ,"left, below",0.4\n'
        "\n"
        ",b.jpg,,,,\n"
        ",b c.jpg,unsure,,,\n",
    )
    assert list(read_answers(file)) == [
        Answer(
            line=2,
            sha256=bytes.fromhex(DIGEST),
            path="a.jpg",
            label="bad",
            reasons=("profile", "several faces"),
            note="left, below",
        ),
        Answer(line=4, sha256=None, path="b.jpg", label=""),
        Answer(line=5, sha256=None, path="b c.jpg", label="unsure"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na.jpg,good\nb.jpg,bad\n",
        "\ufeffpath,label\na.jpg,good\nb.jpg,bad",
        "path,label\r\na.jpg,good\r\nb.jpg,bad\r\n",
        "path;label\na.jpg;good\nb.jpg;bad\n",
        '\ufeff"Label";"Path"\r\ngood;a.jpg\r\nbad;b.jpg\r\n',
        "path\tlabel\na.jpg\tgood\nb.jpg\tbad\n",
        " Path , LABEL \na.jpg, good\nb.jpg,bad \n",
        "path,label,extra\na.jpg,good\nb.jpg,bad,1\n",
    ],
)
def test_what_spreadsheets_make_of_it(tmp_path: Path, content: str) -> None:
    answers = read_answers(write(tmp_path, content))
    assert [(answer.path, answer.label) for answer in answers if isinstance(answer, Answer)] == [
        ("a.jpg", "good"),
        ("b.jpg", "bad"),
    ]


def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path) -> None:
    file = write(tmp_path, 'path,label\n"two\nlines.jpg",good\nx.jpg,y.jpg,good\n,bad\n')
    answer, *problems = read_answers(file)
    assert isinstance(answer, Answer)
    assert [row.line for row in (answer, *problems)] == [2, 4, 5]
    assert isinstance(problems[0], Problem)
    assert "3 cells where the header has 2" in problems[0].text


def test_names_in_another_encoding_keep_their_bytes(tmp_path: Path) -> None:
    (answer,) = read_answers(write(tmp_path, b"path,label\ncaf\xe9.jpg,good\n"))
    assert isinstance(answer, Answer)
    path = answer.path
    assert path is not None
    assert path.encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"
    assert printable(path) == "caf\\xe9.jpg"


@pytest.mark.parametrize("digest", ["xyz", "ab", "ab" * 33, "zz" * 32])
def test_a_digest_that_is_none(tmp_path: Path, digest: str) -> None:
    rows = list(read_answers(write(tmp_path, f"sha256,label\n{digest},good\n")))
    assert rows == [Problem(2, f"`{digest}` is not a SHA-256 of 64 hexadecimal digits")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it has nothing"),
        ("a.jpg,good\n", "it has a.jpg, good"),
        ("label\ngood\n", "it has label"),
        ("path\na.jpg\n", "it has path"),
        ("path,label,label\na,b,c\n", "a column twice"),
        ('path,label\n"a.jpg,good\n', "line 2"),
        ("path,label\na,b\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        list(read_answers(write(tmp_path, content)))


def test_tasks_that_are_nested_too_deeply_are_no_json(tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    file.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(DataError, match="is not JSON"):
        list(read_annotations(file))


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ({"tags": 5}, {"tags": "x"}),
        ({"tags": [{}]}, {"ground_truth": {"label": "good", "tags": 7}}),
        ({"ground_truth": 5}, {"ground_truth": [{"label": "good"}]}),
        ({"filepath": "\ud800.jpg"}, {"ground_truth": {"label": "\ud800"}}),
        ({"annotations": None}, {"annotations": [5]}),
        ({"annotations": [{"result": 5}]}, {"annotations": [{"result": ["x"]}]}),
        ({"annotations": [{"result": [{"value": None}]}]}, {"annotations": "x"}),
        ({"annotations": [{"result": [{"from_name": [], "value": {}}]}]}, {"data": 5}),
        ({"note": ["\udfff"]}, {"data": {"path": "a", "queue": "\ud800"}}),
        ({"note": ["a\0b"]}, {"data": {"path": "a\0"}}),
    ],
)
def test_tasks_and_samples_of_another_shape_are_problems(
    tmp_path: Path, part: dict[str, Any], other: dict[str, Any]
) -> None:
    file = tmp_path / "tasks.json"
    sample = {"filepath": "a.jpg", "ground_truth": {"label": "bad"}}
    task = {"path": "a.jpg", "label": "bad"}
    for rest in (part, other):
        file.write_text(json.dumps({"samples": [sample | rest, sample]}))
        assert len(list(read_annotations(file))) == 2
        assert isinstance(list(read_annotations(file))[1], Answer)
        file.write_text(json.dumps([task | rest, task]))
        first, second = read_annotations(file)
        assert isinstance(second, Answer)
        if "annotations" in rest or "data" in rest or "note" in rest:
            assert isinstance(first, Problem), first


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(read_answers(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("good", Label.POSITIVE),
        ("Good", Label.POSITIVE),
        ("bad", Label.NEGATIVE),
        ("positive", Label.POSITIVE),
        ("Negative", Label.NEGATIVE),
        ("UNSURE", Label.UNSURE),
        ("godo", None),
        ("conflict", None),
        ("", None),
    ],
)
def test_labels_by_the_users_names(text: str, label: Label | None) -> None:
    assert ClassesSettings(positive="good", negative="bad").label_of(text) is label


def test_the_case_and_the_unicode_form_of_a_class_name_do_not_matter() -> None:
    classes = ClassesSettings(positive="M\u00dcLL", negative="positiv")
    assert classes.label_of("mu\u0308ll") is Label.POSITIVE
    assert classes.label_of("Positiv") is Label.NEGATIVE
