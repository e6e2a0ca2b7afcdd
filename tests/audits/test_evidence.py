"""Evidence of certificates: written by the workspace, checked by one file that knows none of it.

`golden/evidence.zip` and `golden/manifest.csv` are what `exported` wrote when the format was made.
Files of this format are in other people's hands: they have to stay readable.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

from curator import check_certificate as checker
from curator.audits.audit import audit, begin
from curator.audits.certify import certify
from curator.audits.plan import critical_count
from curator.audits.test import most_wrong
from curator.base.vocabulary import Label
from curator.check_certificate import EvidenceError, check
from curator.workspace import Workspace, create_workspace
from tests.support.audited import Person, Pool, answer, make_pool, with_settings
from tests.support.command import CHECKOUT, curator

GOLDEN = Path(__file__).parent / "golden"
EVIDENCE, MANIFEST = GOLDEN / "evidence.zip", GOLDEN / "manifest.csv"
OPENING = "6fa22bcc8d5a3eb53607d4e29705fdf63172b3bfceaab582078c52e6843bfa6d"
CLOSING = "da7a3a0e94fd81a35847f1b93a24f88b9a8b00e1bcb0f902fcebf3210d583225"

Content = dict[str, Any]


def certified_pool(folder: Path, **settings: Any) -> Pool:
    workspace = create_workspace(folder / "ws", positive="good", negative="bad", recipe=None)
    made = make_pool(workspace, folder / "photos", size=500, hard=0.05, max_error=0.1, **settings)
    curator("-w", workspace.root, "config", "promotion.policy=certified", "promotion.max_error=0.1")
    return made


def exported(
    pool: Pool, folder: Path, person: Person | None = None, *, salt: str = ""
) -> tuple[Path, Path]:
    """Audit, with chance of the system or a salt, certify and export: evidence and manifest."""
    audit(pool.workspace, size=120)
    if salt:
        begin(pool.workspace, salt=salt)
    answer(pool.workspace, person or pool.says)
    assert certify(pool.workspace).certificate is not None
    curator(
        "-w", pool.workspace.root, "export", folder / "manifest.csv", "--evidence",
        folder / "evidence.zip",
    )  # fmt: skip
    return folder / "evidence.zip", folder / "manifest.csv"


# Files of evidence as plain values, to be changed and written again.


def read(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    return {
        name: json.loads(text) if name.endswith(".json") else list(csv.reader(io.StringIO(text)))
        for name, text in content.items()
    }


def write(content: Content, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            if name.endswith(".json"):
                archive.writestr(name, json.dumps(value))
            else:
                stream = io.StringIO()
                csv.writer(stream).writerows(value)
                archive.writestr(name, stream.getvalue())
    return path


def certificate(content: Content) -> Content:
    facts: Content = content["evidence.json"]["certificates"][0]
    return facts


def fit_together(content: Content) -> Content:
    """What a forger does: every digest, the draw, perfect answers and the set anew."""
    facts = certificate(content)
    frame = content[facts["frame"]][1:]
    ids = np.array([int(row[0]) for row in frame], dtype=np.int64)
    positive = np.array([row[2] == "positive" for row in frame], dtype=np.bool_)
    plan = facts["plan"]
    plan["frame_digest"] = checker._rows_digest(b"curator-frame-1\n", ids, positive)
    plan["frame_size"] = len(ids)
    ranks, strata = checker._draw(plan, facts["salt"])
    answers = content[facts["answers"]]
    moment = answers[1][3]
    last = len(plan["rungs"])
    answers[1:] = [
        [ids[rank], stratum, frame[rank][2], moment, "auditor", "blind"]
        if stratum < last
        else [ids[rank], stratum, "", "", "", ""]
        for rank, stratum in zip(ranks.tolist(), strata.tolist(), strict=True)
    ]
    shown = set(ranks[strata < last].tolist())
    prefix, drawn = plan["rungs"][-1]["size"], plan["rungs"][-1]["drawn"]
    for rank, row in enumerate(frame):
        row[3] = "certified" if rank < prefix and rank not in shown else ""
    unseen = prefix - drawn
    members = np.array([rank for rank, row in enumerate(frame) if row[3]])
    facts["certified"] |= {
        "images": unseen,
        "prefix": prefix,
        "wrong": plan["rungs"][-1]["allowed"],
        "bound": plan["rungs"][-1]["allowed"] / unseen,
        "sample": drawn,
        "errors": 0,
        "sha256": checker._claim_digest(ids[members], positive[members]),
    }
    return with_digests(content)


def with_digests(content: Content) -> Content:
    """Both commitments computed anew from what is there."""
    facts = certificate(content)
    frame, plan = content[facts["frame"]][1:], facts["plan"]
    rows = b"".join(bytes.fromhex(row[1]) + bytes([row[2] == "positive"]) for row in frame)
    opening = checker._digest(
        {
            "format": "curator-opening-1",
            "images": checker.hashlib.sha256(rows).hexdigest(),
            "plan": checker.hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest(),
            "salt": facts["salt"],
            "terms": facts["terms"],
        }
    )
    for line in content["evidence.json"]["audits"]:
        if line["commitment"] == facts["opening_commitment"]:
            line["commitment"] = opening
    facts["opening_commitment"] = opening
    facts["closing_commitment"] = checker._digest(
        {
            "format": "curator-closing-1",
            "opening": opening,
            "outcomes": [row[2] for row in content[facts["answers"]][1:]],
            "set": facts["certified"]["sha256"],
        }
    )
    return content


def failed(path: Path, manifest: Path | None = None, *commitments: str) -> list[str]:
    report = check(path, manifest, commitments)
    assert report.claims
    return [checked.what for checked in report.checks if not checked.passed]


def test_evidence_of_this_format_stays_readable() -> None:
    report = check(EVIDENCE, MANIFEST, [OPENING, CLOSING])
    assert (report.valid, len(report.claims)) == (True, 1)
    assert failed(EVIDENCE, MANIFEST) == []


def test_the_checker_is_one_file_that_imports_nothing_of_curator(tmp_path: Path) -> None:
    source = CHECKOUT / "curator" / "check_certificate.py"
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").partition(".")[0])
    assert names - set(sys.stdlib_module_names) <= {"numpy", "scipy"}
    # As a plain file, elsewhere, where curator is not to be had.
    alone = shutil.copy(source, tmp_path / "checker.py")
    program = (
        "import runpy, sys\n"
        "sys.modules['curator'] = None\n"
        f"sys.argv = ['checker', {str(EVIDENCE)!r}, {str(MANIFEST)!r}, '--json']\n"
        f"runpy.run_path({str(alone)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["valid"]


def reversed_order(content: Content) -> None:
    frame = content[certificate(content)["frame"]]
    frame[1], frame[2] = frame[2], frame[1]


def another_label(content: Content) -> None:
    row = content[certificate(content)["frame"]][1]
    row[2] = "negative" if row[2] == "positive" else "positive"


def another_file(content: Content) -> None:
    content[certificate(content)["frame"]][-1][1] = "ab" * 32


def another_plan(content: Content) -> None:
    rungs = certificate(content)["plan"]["rungs"]
    del rungs[len(rungs) // 2 + 1 :]


def another_salt(content: Content) -> None:
    certificate(content)["salt"] = "a better one"


def swapped_classes(content: Content) -> None:
    certificate(content)["terms"]["classes"] = {"positive": "bad", "negative": "good"}


def smaller_miss_rate(content: Content) -> None:
    certificate(content)["terms"]["max_error"] = 0.2


@pytest.mark.parametrize(
    "change",
    [
        reversed_order, another_label, another_file, another_plan, another_salt, swapped_classes,
        smaller_miss_rate,
    ],
)  # fmt: skip
def test_whatever_was_fixed_at_the_opening_is_found_changed(
    change: Callable[[Content], None], tmp_path: Path
) -> None:
    content = read(EVIDENCE)
    change(content)
    forged = write(fit_together(content), tmp_path / "forged.zip")
    assert failed(forged) == []  # made up to fit together: nothing can be seen without it
    for commitment in (OPENING, CLOSING):
        assert failed(forged, None, commitment) == [
            f"commitment {commitment[:12]}: nothing that it covers was changed",
            "every certificate is covered by a commitment",
        ]


def restated(content: Content, path: Path) -> Content:
    """Set, statement and commitments as they follow from the answers and from what left."""
    facts = certificate(content)
    with zipfile.ZipFile(write(content, path)) as archive:
        read_again = checker._read_audit(archive, facts)
    ids, positive = read_again.ids, read_again.positive
    checks = checker._test(read_again)
    with pytest.raises(StopIteration) as ended:
        while True:
            next(checks)
    ranks, wrong, prefix, sample, errors = ended.value.value
    for rank, row in enumerate(content[facts["frame"]][1:]):
        row[3] = "left" if row[3] == "left" else "certified" if rank in set(ranks) else ""
    facts["certified"] |= {
        "images": len(ranks),
        "prefix": prefix,
        "wrong": wrong,
        "bound": wrong / len(ranks),
        "sample": sample,
        "errors": errors,
        "sha256": checker._claim_digest(ids[ranks], positive[ranks]),
    }
    return with_digests(content)


def test_answers_and_set_are_found_changed_against_the_commitment_of_the_closing(
    tmp_path: Path,
) -> None:
    for kind in ("answers", "set"):
        content = read(EVIDENCE)
        facts = certificate(content)
        if kind == "answers":
            # In the outermost stratum, whose step allows one more.
            rows = content[facts["answers"]][1:]
            row = next(row for row in reversed(rows) if row[2] in ("positive", "negative"))
            row[2] = "unsure"
        else:
            frame = content[facts["frame"]][1:]
            next(row for row in frame if row[3] == "certified")[3] = "left"
        forged = write(restated(content, tmp_path / "x.zip"), tmp_path / "forged.zip")
        assert failed(forged, None, OPENING) == []
        assert any(
            "The commitment of an opening does not cover the answers" in note
            for note in check(forged, None, [OPENING]).notes
        )
        assert len(failed(forged, None, CLOSING)) == 2


def changed_manifests() -> Iterator[list[dict[str, str]]]:
    with MANIFEST.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    at = next(number for number, row in enumerate(rows) if row["origin"] == "promoted")
    yield [row for number, row in enumerate(rows) if number != at]
    other = {"good": "bad", "bad": "good"}[rows[at]["label"]]
    yield [*rows[:at], rows[at] | {"label": other}, *rows[at + 1 :]]
    yield [*rows[:at], rows[at] | {"origin": "seed"}, *rows[at + 1 :]]
    yield [*rows, rows[at] | {"sha256": "cd" * 32}]


def test_a_manifest_with_other_rows_or_labels_is_found(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    for rows in changed_manifests():
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        what = "manifest: its promoted rows are exactly the certified set, with the same labels"
        assert failed(EVIDENCE, file) == [what]
        lines = file.with_suffix(".jsonl")
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert failed(EVIDENCE, lines) == [what]


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with the key of a value in it that is no container, and of those that are."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(items):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from leaves(part)


INFORMATION = {"curator", "numpy", "audit", "state", "scope", "opened_at"}
"""What no statement rests on: names, versions, and what is said of the audits in the list."""


def test_no_value_can_be_changed_alone_unnoticed_and_no_type_ends_in_a_traceback(
    tmp_path: Path,
) -> None:
    """Each value of evidence.json by itself, without a commitment."""
    file = tmp_path / "changed.zip"
    others = (None, "word", -1, 0, 0.5, 10**30, [], {}, [1], True)
    silent = set()
    for number in range(len(list(leaves(read(EVIDENCE)["evidence.json"])))):
        for other in others:
            content = read(EVIDENCE)
            container, key = list(leaves(content["evidence.json"]))[number]
            if container[key] == other:
                continue
            container[key] = other
            try:
                if not failed(write(content, file), MANIFEST):
                    silent.add(key)
            except EvidenceError as error:
                assert error.problem
                assert error.advice
    # A confidence that is lower only weakens what is said.
    assert silent <= {*INFORMATION, "confidence"}


def test_what_does_not_fit_together_is_found_without_a_commitment(tmp_path: Path) -> None:
    file = tmp_path / "changed.zip"

    def after(change: Callable[[Content, Content], None]) -> list[str]:
        content = read(EVIDENCE)
        change(content, certificate(content))
        return failed(write(content, file))

    def stronger(content: Content, facts: Content) -> None:
        facts["certified"]["wrong"] -= 1

    def surer(content: Content, facts: Content) -> None:
        facts["certified"]["confidence"] = 0.99

    def hidden_audit(content: Content, facts: Content) -> None:
        facts["plan"]["promise"]["spent"] = 0.01

    def lenient(content: Content, facts: Content) -> None:
        facts["plan"]["rungs"][0]["critical"] += 1

    def replaced(content: Content, facts: Content) -> None:
        answers = content[facts["answers"]]
        answers[1], answers[2] = answers[2], answers[1]

    def dropped(content: Content, facts: Content) -> None:
        content[facts["answers"]][1][2] = ""

    def denied(content: Content, facts: Content) -> None:
        for row in content[facts["answers"]][1:60]:
            row[2] = "unsure"

    def rehearsed(content: Content, facts: Content) -> None:
        facts["salt_source"] = "chosen-salt"

    def parts(changes: Mapping[str, Callable[[Content, Content], None]]) -> Iterator[str]:
        for words, change in changes.items():
            names = after(change)
            assert any(words in name for name in names), (words, names)
            yield words

    assert list(
        parts(
            {
                "statement is not stronger": stronger,
                "not stronger than": surer,
                "all audits spent": hidden_audit,
                "critical counts": lenient,
                "plan and salt draw": replaced,
                "needs has an answer": dropped,
                "test passes": denied,
                "drawn by the operating system": rehearsed,
            }
        )
    )


def test_times_that_cannot_be_right_are_named_and_a_clock_that_was_set_back_fails_nothing(
    tmp_path: Path,
) -> None:
    """Nothing covers times, so that they fit together would prove nothing."""

    def set_back(content: Content) -> None:
        content[certificate(content)["answers"]][1][3] = "2020-01-01T00:00:00+00:00"

    def closed_before(content: Content) -> None:
        certificate(content)["closed_at"] = "2020-01-01T00:00:00+00:00"

    assert not any("set back" in note for note in check(EVIDENCE).notes)
    for change in (set_back, closed_before):
        content = read(EVIDENCE)
        change(content)
        report = check(write(content, tmp_path / "changed.zip"), MANIFEST, [OPENING, CLOSING])
        assert report.valid
        (said,) = [note for note in report.notes if "set back, or times were changed" in note]
        assert ("outside of these: 1." in said) or change is not set_back


def test_no_part_can_be_added_to_a_plan_to_choose_among_draws(tmp_path: Path) -> None:
    for at in ([], ["promise"], ["rungs", 0], ["rescue"]):
        content = read(EVIDENCE)
        part = certificate(content)["plan"]
        for key in at:
            part = part[key]
        part["note"] = 1
        forged = write(fit_together(content), tmp_path / "added.zip")
        assert "audit 1: the plan has the parts of its kind and no others" in failed(forged)
    # Of the wrong kind, and of no type that a plan has.
    for kind, key in (("measure", "rungs"), ("promise", "sample")):
        content = read(EVIDENCE)
        facts = certificate(content)
        facts["terms"]["kind"] = kind
        facts["plan"] |= {"sample": 1, key: 7}
        if kind == "promise":
            facts["plan"]["format"] = "curator-audit-1"
        try:
            assert failed(write(content, tmp_path / "kind.zip"))
        except EvidenceError as error:
            assert "rungs" in error.problem


def test_cut_or_damaged_files_end_in_an_error_that_says_so(tmp_path: Path) -> None:
    whole = EVIDENCE.read_bytes()
    file = tmp_path / "damaged.zip"
    chance = random.Random(0)
    for end in [0, 1, 100, *range(200, len(whole), len(whole) // 20)]:
        file.write_bytes(whole[:end])
        with pytest.raises(EvidenceError, match=r"is damaged|missing"):
            check(file)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            report = check(file)
        except EvidenceError as error:
            assert error.advice
        else:
            assert report.valid  # a bit that a zip does not use
    for name in ("evidence.json", "frame.csv", "answers.csv"):
        content = read(EVIDENCE)
        del content[next(part for part in content if part.endswith(name))]
        with pytest.raises(EvidenceError, match="missing"):
            check(write(content, file))
    for change in ([["x"]], [["image", "sha256", "label", "state"], ["1", "2"]]):
        content = read(EVIDENCE)
        content[certificate(content)["frame"]] = change
        with pytest.raises(EvidenceError):
            check(write(content, file))


def test_other_files_end_with_3_and_say_what_to_name(tmp_path: Path) -> None:
    text = tmp_path / "m.csv"
    text.write_text("a,b\n1,2\n")
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        ((tmp_path / "none.zip",), "cannot be read"),
        ((tmp_path,), "cannot be read"),
        ((MANIFEST,), "damaged or not a zip file"),
        ((EVIDENCE, tmp_path / "none.csv"), "cannot be read"),
        ((EVIDENCE, EVIDENCE), "not a manifest in CSV or JSON Lines"),
        ((EVIDENCE, text), "no column `sha256`"),
        ((EVIDENCE, MANIFEST, "--commitment", "abc"), "64 hexadecimal digits"),
    ]
    for arguments, words in cases:
        told = curator("check-certificate", *arguments, expect=3)
        assert words in told.stderr
        assert len(told.stderr.splitlines()) >= 2
        assert checker.main([str(argument) for argument in arguments]) == 3
    other = curator("check-certificate", EVIDENCE, MANIFEST, "--commitment", "0" * 64, expect=3)
    assert "✗ commitment 000000000000" in other.stdout
    assert "2 of 17 checks failed" in other.stdout


def test_exact_counts_agree_with_those_that_plans_are_made_of() -> None:
    chance = np.random.default_rng(0)
    for _ in range(200):
        size = int(chance.integers(50, 3_000))
        drawn, wrong = int(chance.integers(1, size // 2)), int(chance.integers(1, size // 3))
        risk = float(chance.choice([0.05, 0.04, 0.01, 0.3]))
        exact = checker._hypergeometric_count(size, wrong, drawn, checker.Fraction(risk))
        assert exact == critical_count(size, drawn, wrong - 1, risk)
        assert hypergeom.cdf(exact, size, wrong, drawn) <= risk + 1e-12
        rate = checker.Fraction(drawn, size)
        count = checker._binomial_count(wrong, rate, checker.Fraction(risk))
        assert (
            binom.cdf(count, wrong, float(rate)) <= risk < binom.cdf(count + 1, wrong, float(rate))
        )
        errors = int(chance.integers(0, min(drawn, 20) + 1))
        assert checker._most_wrong(size, drawn, errors, checker.Fraction(risk)) == most_wrong(
            size, drawn, errors, risk
        )


def shape(value: Any) -> Any:
    """Names and types of values in JSON."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return shape(value[0]) if value else None
    return "number" if isinstance(value, (int, float)) else type(value).__name__


@pytest.mark.slow
def test_what_is_written_has_the_format_of_the_golden_file(tmp_path: Path) -> None:
    pool = certified_pool(tmp_path)
    evidence, manifest = exported(pool, tmp_path)
    content, golden = read(evidence), read(EVIDENCE)
    assert list(content) == list(golden)
    assert shape(content["evidence.json"]) == shape(golden["evidence.json"])
    for name in list(golden)[1:]:
        assert content[name][0] == golden[name][0]
    assert failed(evidence, manifest) == []
    before = evidence.read_bytes()
    told = curator("-w", pool.workspace.root, "export", manifest, "--evidence", evidence, expect=3)
    assert "exists already" in told.stderr
    curator("-w", pool.workspace.root, "export", manifest, "--evidence", evidence, "--force")
    assert evidence.read_bytes() == before


@pytest.mark.slow
def test_the_commitments_are_shown_and_hold_without_the_workspace(tmp_path: Path) -> None:
    pool = certified_pool(tmp_path)
    root = pool.workspace.root
    audit(pool.workspace, size=120)
    opened = curator("-w", root, "queue", "audit", "--output", tmp_path / "audit.csv")
    record = begin(pool.workspace)
    assert record.commitment in opened.stderr
    assert record.salt is not None
    assert record.salt not in opened.stderr
    assert record.commitment in curator("-w", root, "status").stdout
    assert curator("-w", root, "status", "--json").json()["audit"]["commitment"] == (
        record.commitment
    )
    answer(pool.workspace, pool.says)
    closed = curator("-w", root, "certify", "--json").json()["closing_commitment"]
    assert record.commitment in curator("-w", root, "status").stdout
    evidence, manifest = tmp_path / "e.zip", tmp_path / "m.csv"
    curator("-w", root, "export", manifest, "--evidence", evidence)
    assert curator("-w", root, "verify").code == 0
    pool.workspace.catalogue.close()
    shutil.rmtree(root)
    arguments = ("--commitment", record.commitment, "--commitment", closed)
    told = curator("check-certificate", evidence, manifest, *arguments)
    assert "All 18 checks passed." in told.stdout


@pytest.mark.slow
def test_a_rescue_is_checked(tmp_path: Path) -> None:
    pool = certified_pool(tmp_path)
    slips = iter(range(12))

    def person(image_id: int) -> Label:
        truth = pool.says(image_id)
        wrong = next(slips, None) is not None
        return (
            {Label.POSITIVE: Label.NEGATIVE, Label.NEGATIVE: Label.POSITIVE}[truth]
            if (wrong)
            else truth
        )

    evidence, manifest = exported(pool, tmp_path, person, salt="b")
    plan = certificate(read(evidence))["plan"]
    assert certificate(read(evidence))["certified"]["prefix"] == plan["rescue"]["size"]
    # The salt was chosen so that the test repeats, which is the only thing to be found.
    only = ["audit 1: the salt was drawn by the operating system"]
    assert failed(evidence, manifest) == only


@pytest.mark.slow
def test_a_bound_of_all_that_thresholds_promoted_is_checked(tmp_path: Path) -> None:
    pool = certified_pool(tmp_path, policy="thresholds")
    curator("-w", pool.workspace.root, "config", "promotion.policy=thresholds")
    evidence, manifest = exported(pool, tmp_path)
    assert failed(evidence, manifest) == []
    content = read(evidence)
    certificate(content)["certified"]["wrong"] -= 1
    assert failed(write(content, tmp_path / "x.zip")) == [
        "audit 1: the statement is not stronger than what was proved"
    ]


@pytest.mark.slow
def test_certificates_of_both_classes_and_what_others_spent_are_in_one_file(
    tmp_path: Path,
) -> None:
    pool = certified_pool(tmp_path)
    workspace = with_settings(pool.workspace, audit={"reserve": 0.0})
    assert isinstance(workspace, Workspace)
    for name in ("good", "bad"):
        audit(workspace, size=90, class_name=name, anyway=True)
        answer(workspace, pool.says)
        assert certify(workspace).certificate is not None
    evidence, manifest = tmp_path / "e.zip", tmp_path / "m.csv"
    curator("-w", workspace.root, "export", manifest, "--evidence", evidence)
    report = check(evidence, manifest)
    assert (report.valid, len(report.claims)) == (True, 2)
    assert len(read(evidence)["evidence.json"]["audits"]) == 2
    # The good ones alone have a certificate of their own, a part of them has none.
    good = tmp_path / "good.csv"
    arguments = ("-w", workspace.root, "export", good, "--label", "good", "--evidence")
    curator(*arguments, tmp_path / "good.zip")
    report = check(tmp_path / "good.zip", good)
    assert (report.valid, len(report.claims)) == (True, 1)
    told = curator(
        *arguments, tmp_path / "part.zip", "--min-probability", "0.998", "--force", expect=3
    )
    assert "there is no evidence for it" in told.stderr
    assert not (tmp_path / "part.zip").exists()


def test_a_plan_with_parts_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A "simple random sample" whose answers come from the surest images, by an added rescue."""
    generator = np.random.default_rng(1)
    size, ids = 2_000, np.arange(1, 2_001)
    wrong = (ids > 600) & (generator.random(size) < 0.4)
    positive = np.ones(size, dtype=np.bool_)
    plan = {
        "format": "curator-single-1",
        "frame_digest": checker._rows_digest(b"curator-frame-1\n", ids, positive),
        "frame_size": size,
        "promise": {"max_error": 0.01, "risk": 0.05, "spent": 0.0},
        "sample": 1,
        "rescue": {"size": 600, "drawn": 500, "risk": 0.01},
    }
    salt = "00" * 32
    ranks, strata = checker._draw(plan, salt)
    errors = int(wrong[ranks].sum())
    unseen = np.setdiff1d(np.arange(size), ranks)
    at_most = checker._most_wrong(size, len(ranks), errors, Fraction(0.05)) - errors
    assert wrong[unseen].sum() > 10 * max(at_most, 1)
    facts = {
        "audit": 1,
        "terms": {
            "kind": "measure", "scope": "all", "max_error": 0.01, "overlooked": 0.0,
            "classes": {"positive": "good", "negative": "bad"},
        },
        "plan": plan, "salt": salt, "salt_source": "random-salt",
        "opened_at": "2026-01-01T00:00:00+00:00", "closed_at": "2026-01-01T00:10:00+00:00",
        "opening_commitment": "", "closing_commitment": "", "frame": "f.csv", "answers": "a.csv",
        "certified": {
            "images": len(unseen), "prefix": size, "wrong": at_most,
            "bound": at_most / len(unseen), "confidence": 0.95, "sample": len(ranks),
            "errors": errors, "sha256": checker._claim_digest(ids[unseen], positive[unseen]),
        },
    }  # fmt: skip
    states = np.where(np.isin(np.arange(size), ranks), "", "certified")
    content = {
        "evidence.json": {
            "format": checker.FORMAT,
            "certificates": [facts],
            "audits": [
                {"commitment": "", "scope": "all", "risk": 0.05, "opened_at": "", "state": "closed"}
            ],
        },
        "f.csv": [
            list(checker.FRAME),
            *(
                [str(number), hashlib.sha256(bytes([number % 251, number // 251])).hexdigest(),
                 "positive", state]
                for number, state in zip(ids.tolist(), states.tolist(), strict=True)
            ),
        ],
        "a.csv": [
            list(checker.ANSWERS),
            *(
                [str(rank + 1), str(stratum), "negative" if wrong[rank] else "positive",
                 "2026-01-01T00:00:01+00:00", "anna", "single"]
                for rank, stratum in zip(ranks.tolist(), strata.tolist(), strict=True)
            ),
        ],
    }  # fmt: skip
    path = write(with_digests(content), tmp_path / "forged.zip")
    commitments = (facts["opening_commitment"], facts["closing_commitment"])
    assert "audit 1: the plan has the parts of its kind and no others" in failed(
        path, None, *map(str, commitments)
    )


def test_no_certificate_rides_on_the_commitment_of_another(tmp_path: Path) -> None:
    """A made-up second certificate with the opposite labels for the same images."""
    content, second = read(EVIDENCE), read(EVIDENCE)
    facts = certificate(second)
    facts["salt"] = "11" * 32
    facts["plan"]["promise"]["spent"] = 0.05
    for row in second[facts["frame"]][1:]:
        row[2] = "negative" if row[2] == "positive" else "positive"
    forged = certificate(fit_together(second))
    forged["certified"]["confidence"] = 0.9
    forged |= {"audit": 2, "frame": "audit-2/frame.csv", "answers": "audit-2/answers.csv"}
    for name in ("frame.csv", "answers.csv"):
        content[f"audit-2/{name}"] = second[f"audit-1/{name}"]
    evidence = content["evidence.json"]
    evidence["certificates"].append(forged)
    evidence["audits"].append(
        {
            "commitment": forged["opening_commitment"], "scope": "all", "risk": 0.05,
            "opened_at": "", "state": "closed",
        }
    )  # fmt: skip
    names = failed(write(content, tmp_path / "two.zip"), None, OPENING, CLOSING)
    assert "every certificate is covered by a commitment" in names
    assert "audit 2: no image is in another certificate" in names


def test_a_commitment_of_an_audit_without_a_certificate_is_known_and_stands_for_no_other(
    tmp_path: Path,
) -> None:
    other = "ab" * 32
    content = read(EVIDENCE)
    audits = content["evidence.json"]["audits"]
    # A later audit that proved nothing, as the workspace lists it.
    audits.append({**audits[-1], "commitment": other, "state": "abandoned"})
    evidence = write(content, tmp_path / "evidence.zip")
    assert not check(EVIDENCE, MANIFEST, [OPENING, other]).valid
    assert check(evidence, MANIFEST, [OPENING, other]).valid
    alone = check(evidence, MANIFEST, [other])
    (failed,) = [one.what for one in alone.checks if not one.passed]
    assert failed == "every certificate is covered by a commitment"


@pytest.mark.parametrize("spelling", ["Promoted", " promoted", "people"])
def test_no_row_escapes_the_comparison_by_how_its_origin_is_spelt(
    tmp_path: Path, spelling: str
) -> None:
    text = MANIFEST.read_text()
    assert ",promoted," in text
    (tmp_path / "manifest.csv").write_text(text.replace(",promoted,", f",{spelling},", 1))
    with pytest.raises(EvidenceError, match="is not an origin that curator writes"):
        check(EVIDENCE, tmp_path / "manifest.csv")
