"""Checks the evidence of a certificate without the workspace that it comes from.

    python check_certificate.py EVIDENCE [MANIFEST] [--commitment DIGEST] [--json]

The evidence is a zip of JSON and CSV that `curator export MANIFEST --evidence EVIDENCE` writes.
This file imports nothing else of curator, so that one file has to be read to know what is checked.
It computes everything anew: the digests, the draw from the plan and the salt, the critical
counts in exact arithmetic, the test on the answers, and the certified set, which it compares with
the promoted rows of the manifest. The statistics and their proofs: docs/certificates.md.

A file that fits together may still be made up as a whole. Whoever was told the commitment when
the audit was opened, or when it was closed, gives it with --commitment: then frame, order, plan and
salt are those of then, or also the answers.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "curator-evidence-1"
FRAME_COLUMNS = ("image", "sha256", "label", "state")
ANSWER_COLUMNS = ("image", "stratum", "outcome", "answered_at", "actor", "method")

_LABELS = ("negative", "positive")
_OUTCOMES = (*_LABELS, "unsure", "skipped", "unshowable", "")
"""What was said of a drawn image; the empty one was not asked."""

_ORIGINS = ("seed", "review", "calibration", "audit", "promoted", "")

_WHOLE = re.compile(r"[0-9]{1,18}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_EXPORT_AGAIN = "Ask for the evidence again: `curator export MANIFEST --evidence EVIDENCE`."
_ROUNDING = 1e-9
_FAILED = 3

Bits = NDArray[np.bool_]
Numbers = NDArray[np.int64]


class EvidenceError(Exception):
    """The evidence or the manifest cannot be read as what it should be."""

    def __init__(self, problem: str, advice: str = _EXPORT_AGAIN) -> None:
        super().__init__(f"{problem} {advice}")
        self.problem = problem
        self.advice = advice


@dataclass(frozen=True, kw_only=True)
class EvidenceCheck:
    """Something that was checked; `detail` says what was compared, or what differs."""

    what: str
    passed: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class EvidenceReport:
    """What the evidence claims, what was checked, and what no check can show."""

    claims: list[str] = field(default_factory=list)
    checks: list[EvidenceCheck] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def check(self, what: str, passed: bool, detail: str) -> bool:
        """Keep a check; whether it passed."""
        self.checks.append(EvidenceCheck(what=what, passed=bool(passed), detail=detail))
        return bool(passed)


@dataclass(frozen=True, kw_only=True)
class DrawnAnswers:
    """The drawn images with their answers, in the order in which they were to be shown."""

    ranks: Numbers
    strata: Numbers
    outcomes: NDArray[np.str_]
    confirmed: Bits

    @property
    def asked(self) -> Bits:
        """Which images were asked; what is not confirmed of these counts as wrong."""
        has_outcome: Bits = self.outcomes != ""
        return has_outcome

    def wrong(self, of: Bits) -> int:
        """How many of the images `of` were not confirmed."""
        return int((of & ~self.confirmed).sum())


def check(
    evidence: Path, manifest: Path | None = None, commitments: Sequence[str] = ()
) -> EvidenceReport:
    """Check a file of evidence. Raises EvidenceError if it, or the manifest, is no such file."""
    report = EvidenceReport()
    try:
        with zipfile.ZipFile(evidence) as archive:
            facts = _json(_member(archive, "evidence.json"))
            if facts.get("format") != FORMAT:
                raise EvidenceError(
                    f"{evidence}: its format is {str(facts.get('format'))[:40]!r}, not {FORMAT!r}.",
                    "Check it with the version of curator that wrote it, or a newer one.",
                )
            audits = _list(facts, "audits")
            certified: dict[str, str] = {}
            digests: dict[str, tuple[int, str]] = {}
            labels: set[str] = set()
            for certificate in _list(facts, "certificates"):
                classes = _object(_object(certificate, "terms"), "classes")
                labels |= _covered_labels(certificate, classes)
                members = _check_certificate(archive, certificate, audits, report, digests)
                report.check(
                    f"audit {_whole(certificate, 'audit')}: no other certificate has its images",
                    certified.keys().isdisjoint(members),
                    f"{len(certified.keys() & members.keys()):,} images are certified twice",
                )
                certified |= members
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EvidenceError(f"{evidence} cannot be read: {reason}.") from error
    if not report.claims:
        raise EvidenceError(f"{evidence} holds no certificate.")
    stated = {_text(certificate, "opening_commitment") for certificate in facts["certificates"]}
    for audit in audits:
        opening = _text(audit, "commitment")
        if opening not in stated:
            digests.setdefault(opening, (0, "an audit that is counted, without a certificate here"))
    _check_commitments(report, commitments, digests, len(report.claims))
    if manifest is None:
        report.notes.append("No manifest was named, so none was compared with the certified set.")
    else:
        _check_manifest(report, manifest, certified, labels)
    return report


def _check_certificate(
    archive: zipfile.ZipFile,
    facts: Mapping[str, Any],
    audits: Sequence[Mapping[str, Any]],
    report: EvidenceReport,
    digests: dict[str, tuple[int, str]],
) -> dict[str, str]:
    """Check one certificate; the SHA-256 of its images and the names of their labels."""
    terms, plan, stated = (_object(facts, name) for name in ("terms", "plan", "certified"))
    classes = _object(terms, "classes")
    names = [_text(classes, label) for label in _LABELS]
    name = f"audit {_whole(facts, 'audit')}"
    report.claims.append(_claim(terms, stated, names))

    # The frame: these images, with these labels, in this order.
    ids, images, positive, states = _frame(archive, _text(facts, "frame"))
    frame_sha256 = _rows_digest(b"curator-frame-1\n", ids, positive)
    unique = len(np.unique(ids)) == len(ids) == len(set(images))
    report.check(
        f"{name}: the frame is the one that was planned for",
        unique and frame_sha256 == plan.get("frame_digest") and len(ids) == plan.get("frame_size"),
        f"{len(ids):,} images with labels and order, none twice; SHA-256 {frame_sha256[:12]}",
    )

    # The digests that were shown when the audit was opened, and when it was closed.
    salt, opening = _text(facts, "salt"), _text(facts, "opening_commitment")
    plan_sha256 = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    images_sha256 = hashlib.sha256(
        b"".join(
            bytes.fromhex(sha256) + bytes([label])
            for sha256, label in zip(images, positive.tolist(), strict=True)
        )
    ).hexdigest()
    recomputed = _digest(
        {
            "format": "curator-opening-1",
            "images": images_sha256,
            "plan": plan_sha256,
            "salt": salt,
            "terms": terms,
        }
    )
    number = len(report.claims)
    digests[recomputed] = number, "frame, files, order, plan, salt and promise when it was opened"
    report.check(
        f"{name}: frame, order, plan and salt have the commitment that is stated",
        recomputed == opening,
        f"opening commitment {recomputed}",
    )
    _check_spending(report, name, facts, plan, stated, audits)

    # The plan, its critical counts and the draw.
    kind = _text(terms, "kind")
    if not _check_plan(report, name, terms, plan, len(ids)):
        return {}
    expected_ranks, expected_strata = _draw(plan, kind, salt, plan_sha256)
    answers = _answers(archive, _text(facts, "answers"), ids, positive)
    if not report.check(
        f"{name}: the images asked are those that plan and salt draw, in their order",
        np.array_equal(answers.ranks, expected_ranks)
        and np.array_equal(answers.strata, expected_strata),
        f"{len(expected_ranks):,} images drawn again with numpy {np.__version__}",
    ):
        return {}
    report.check(
        f"{name}: the salt was left to the system's randomness",
        facts.get("salt_source") == "random-salt",
        "as the workspace recorded it; a salt that was chosen makes a rehearsal",
    )
    _check_times(archive, facts, report, name)

    # The test on the answers, and what it proves.
    tested = _test(report, name, terms, plan, answers, states == "left", len(ids))
    if tested is None:
        return {}
    ranks, wrong, prefix, sample, errors = tested
    claim = _claim_digest(ids[ranks], positive[ranks])
    report.check(
        f"{name}: the certified set is the one that follows",
        np.array_equal(ranks, np.flatnonzero(states == "certified"))
        and claim == stated.get("sha256")
        and (len(ranks), prefix) == (stated.get("images"), stated.get("prefix")),
        f"{len(ranks):,} images of the first {prefix:,}, of which nobody has seen one",
    )
    bound, confidence = _number(stated, "bound"), _number(stated, "confidence")
    spent = [_number(_object(plan, "promise"), key) for key in ("spent", "risk")]
    report.check(
        f"{name}: the statement is not stronger than what was proved",
        _whole(stated, "wrong") >= wrong
        and bound >= wrong / max(len(ranks), 1) - _ROUNDING
        and confidence <= 1 - sum(spent) + _ROUNDING
        and (kind != "promise" or bound <= _number(terms, "max_error") + _ROUNDING)
        and (_whole(stated, "sample"), _whole(stated, "errors")) == (sample, errors),
        f"at most {wrong:,} of {len(ranks):,} wrong at {1 - sum(spent):.4g}; {errors:,} of"
        f" {sample:,} answers did not confirm",
    )
    closing = _digest(
        {
            "format": "curator-closing-1",
            "opening": recomputed,
            "outcomes": answers.outcomes.tolist(),
            "set": claim,
        }
    )
    digests[closing] = number, "all of it, with answers and certified set"
    report.check(
        f"{name}: answers and certified set have the commitment that is stated",
        closing == facts.get("closing_commitment"),
        f"closing commitment {closing}",
    )
    return {images[rank]: names[int(positive[rank])] for rank in ranks.tolist()}


def _claim(terms: Mapping[str, Any], stated: Mapping[str, Any], names: Sequence[str]) -> str:
    scope = _text(terms, "scope")
    promoted_to = f" to {names[_LABELS.index(scope)]}" if scope in _LABELS else ""
    overlooked = _number(terms, "overlooked")
    condition = (
        f", given that the annotator overlooks at most {overlooked:.4g} of them"
        if overlooked
        else ""
    )
    return (
        f"At most {_whole(stated, 'wrong'):,} ({_number(stated, 'bound'):.3%}) of"
        f" {_whole(stated, 'images'):,} labels promoted{promoted_to} are wrong, at a confidence of"
        f" {_number(stated, 'confidence'):.4g}{condition}."
    )


def _covered_labels(facts: Mapping[str, Any], classes: Mapping[str, Any]) -> set[str]:
    scope = _text(_object(facts, "terms"), "scope")
    return {_text(classes, label) for label in _LABELS if scope in (label, "all")}


def _check_spending(
    report: EvidenceReport,
    name: str,
    facts: Mapping[str, Any],
    plan: Mapping[str, Any],
    stated: Mapping[str, Any],
    audits: Sequence[Mapping[str, Any]],
) -> None:
    """The audits that were opened before this one, with what they took of the confidence."""
    promise = _object(plan, "promise")
    names = [_text(audit, "commitment") for audit in audits]
    risks = [_number(audit, "risk") for audit in audits]
    own = _text(facts, "opening_commitment")
    if names.count(own) != 1:
        detail = f"it occurs {names.count(own)} times among the {len(audits)} that were opened"
        report.check(f"{name}: what all audits spent is counted", False, detail)
        return
    at = names.index(own)
    before = sum(risks[:at])
    report.check(
        f"{name}: what all audits spent is counted",
        abs(before - _number(promise, "spent")) <= _ROUNDING
        and abs(risks[at] - _number(promise, "risk")) <= _ROUNDING,
        f"{at} earlier took {before:.4g} and this one {risks[at]:.4g}; all {len(audits)} of the"
        f" workspace {sum(risks):.4g}",
    )


def _check_plan(
    report: EvidenceReport,
    name: str,
    terms: Mapping[str, Any],
    plan: Mapping[str, Any],
    images: int,
) -> bool:
    """Whether the plan is sound: rising steps, and tests that keep its risk exactly."""
    promise, kind = _object(plan, "promise"), _text(terms, "kind")
    max_error, risk = _number(promise, "max_error"), _number(promise, "risk")
    formats = {"promise": "curator-audit-1", "measure": "curator-single-1"}
    if plan.get("format") != formats.get(kind) or not (0 < max_error <= 0.5 and 0 < risk < 0.5):
        detail = f"kind {kind!r}, format {plan.get('format')!r}, {max_error:g} at {risk:g}"
        return report.check(f"{name}: the plan is one that can be tested", False, detail)
    # Whatever else a plan holds could change the draw without changing the test.
    parts = {"format", "frame_digest", "frame_size", "promise"}
    parts |= {"sample"} if kind == "measure" else {"rungs", "rescue"}
    if not report.check(
        f"{name}: the plan has the parts of its kind and no others",
        plan.keys() <= parts and promise.keys() == {"max_error", "risk", "spent"},
        ", ".join(sorted(map(str, plan))),
    ):
        return False
    if kind == "measure":
        sample = _whole(plan, "sample")
        detail = f"a simple random sample of {sample:,} of {images:,}"
        sound = 0 < sample <= images == plan.get("frame_size") and _number(terms, "overlooked") < 1
        return report.check(f"{name}: the plan is sound", sound, detail)

    overlooked = _number(terms, "overlooked")
    wished = _share(_number(terms, "max_error")) * (1 - _share(overlooked))
    steps, rescue = _steps(plan), _rescue(plan)
    sizes, drawn = [step[0] for step in steps], [step[1] for step in steps]
    sound = (
        bool(steps)
        and all(0 < count <= size for size, count in _strata(steps))
        and sizes[-1] <= images
        and 0 <= overlooked < 1
        and max_error <= float(wished)
    )
    if rescue is not None:
        size, count, rescue_risk = rescue
        sound = (
            sound and 0 < rescue_risk < risk and 0 < count <= size - drawn[0] and size <= sizes[0]
        )
    if not report.check(
        f"{name}: the plan is sound",
        sound,
        f"{len(steps)} steps within {images:,} images, for at most {max_error:.4g} wrong",
    ):
        return False
    exact = _critical_counts(plan)
    stated = [step[3] for step in steps]
    return report.check(
        f"{name}: the critical counts keep the risk",
        all(0 <= count <= limit for count, limit in zip(stated, exact, strict=True))
        and all(step[2] == _allowed(step[0] - step[1], max_error) for step in steps),
        f"{', '.join(map(str, stated))}; computed exactly {', '.join(map(str, exact))}",
    )


def _draw(plan: Mapping[str, Any], kind: str, salt: str, sha256: str) -> tuple[Numbers, Numbers]:
    """Ranks and strata of the images that the plan and the salt draw."""
    source = hashlib.sha256(f"curator-draw-2 {sha256} {salt}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(source, "big"))
    if kind == "measure":
        rows = [(_whole(plan, "frame_size"), _whole(plan, "sample"))]
    else:
        rows = [(step[0], step[1]) for step in _steps(plan)]
    ranks, strata = [], []
    for number, ((start, since), (end, until)) in enumerate(pairwise([(0, 0), *rows])):
        ranks.append(start + generator.choice(end - start, size=until - since, replace=False))
        strata.append(np.full(until - since, number))
    rescue = _rescue(plan)
    if rescue is not None:
        rest = np.setdiff1d(np.arange(rescue[0]), np.concatenate(ranks))
        ranks.append(generator.choice(rest, size=rescue[1], replace=False))
        strata.append(np.full(rescue[1], len(rows)))
    return np.concatenate(ranks).astype(np.int64), np.concatenate(strata).astype(np.int64)


def _test(
    report: EvidenceReport,
    name: str,
    terms: Mapping[str, Any],
    plan: Mapping[str, Any],
    answers: DrawnAnswers,
    left: Bits,
    images: int,
) -> tuple[Numbers, int, int, int, int] | None:
    """What the answers prove, None if nothing: ranks, wrong labels, prefix, sample, errors."""
    promise = _object(plan, "promise")
    max_error, risk = _number(promise, "max_error"), _number(promise, "risk")
    noticed = 1 - _share(_number(terms, "overlooked"))
    audited = np.zeros(images, dtype=np.bool_)
    audited[answers.ranks[answers.asked]] = True

    def unseen_of(prefix: int) -> Numbers:
        return np.flatnonzero(~audited[:prefix] & ~left[:prefix])

    if _text(terms, "kind") == "measure":
        sample, everything = len(answers.ranks), np.ones(len(answers.ranks), dtype=np.bool_)
        if not report.check(
            f"{name}: every image of the sample has an answer",
            bool(answers.asked.all()),
            f"{int(answers.asked.sum()):,} of {sample:,}; unsure, skipped and gone count as wrong",
        ):
            return None
        errors = answers.wrong(everything)
        called = int((~answers.confirmed & np.isin(answers.outcomes, _LABELS)).sum())
        ranks = unseen_of(images)
        wrong = int(_most_wrong(images, sample, errors, Fraction(risk)) / noticed) - called
        return ranks, min(wrong, len(ranks)), images, sample, errors

    # From the inside out, up to the first failure; a step needs all answers of its strata.
    steps, results, complete = _steps(plan), [], True
    for number, (size, drawn, allowed, critical) in enumerate(steps):
        within = answers.strata <= number
        complete = complete and bool(answers.asked[within].all())
        errors = answers.wrong(within)
        results.append((size, drawn, allowed, errors, complete and errors <= critical))
        if not results[-1][-1]:
            break
    rescue = _rescue(plan)
    in_rescue = answers.strata == len(steps)
    if rescue is not None and not results[0][-1] and complete and answers.asked[in_rescue].all():
        inside = (answers.strata < len(steps)) & (answers.ranks < rescue[0])
        rest = rescue[0] - int(inside.sum())
        allowed = _allowed(rest - rescue[1], max_error)
        critical = _hypergeometric_count(rest, allowed + 1, rescue[1], Fraction(rescue[2]))
        errors = answers.wrong(in_rescue)
        results.append((rescue[0], rescue[1], allowed, errors, errors <= critical))
    report.check(
        f"{name}: every image that the test needs has an answer",
        complete,
        f"{int(answers.asked.sum()):,} answers; unsure, skipped and gone count as wrong",
    )
    for size, drawn, allowed, errors, passed in reversed(results):
        ranks, wrong = unseen_of(size), int(allowed / noticed)
        if passed and len(ranks) and wrong * noticed <= _share(max_error) * len(ranks):
            passes = sum(result[-1] for result in results)
            report.check(
                f"{name}: the test passes",
                True,
                f"{passes} of {len(results)} tests passed, from the inside out",
            )
            return ranks, wrong, size, drawn, errors
    first = results[0]
    report.check(
        f"{name}: the test passes",
        False,
        f"{first[3]:,} of the first {first[1]:,} answers did not confirm, which proves nothing",
    )
    return None


def _check_times(
    archive: zipfile.ZipFile, facts: Mapping[str, Any], report: EvidenceReport, name: str
) -> None:
    opened, closed = (_time(_text(facts, key), key) for key in ("opened_at", "closed_at"))
    moments, people = [], Counter[tuple[str, str]]()
    for line, row in _rows(archive, _text(facts, "answers"), ANSWER_COLUMNS):
        if row["answered_at"]:
            moments.append(_time(row["answered_at"], line))
            people[row["actor"] or "nobody named", row["method"]] += 1
    report.check(
        f"{name}: answers were given between opening and closing",
        opened <= closed and all(opened <= moment <= closed for moment in moments),
        f"{len(moments):,} answers, {opened:%Y-%m-%d %H:%M} to {closed:%Y-%m-%d %H:%M} UTC",
    )
    answered = ", ".join(
        f"{actor} ({count:,} {method})" for (actor, method), count in people.items()
    )
    report.notes.append(f"The answers of {name} are by {answered or 'nobody'}.")


def _check_commitments(
    report: EvidenceReport,
    commitments: Sequence[str],
    digests: Mapping[str, tuple[int, str]],
    certificates: int,
) -> None:
    uncovered = set(range(1, certificates + 1))
    for commitment in commitments:
        digest = commitment.strip().lower()
        if not _SHA256.match(digest):
            raise EvidenceError(
                f"--commitment {commitment[:70]!r} is not 64 hexadecimal digits.",
                "Copy what `curator audit` or `curator certify` printed.",
            )
        number, covers = digests.get(digest, (0, "something else than what was computed here"))
        uncovered.discard(number)
        report.check(
            f"commitment {digest[:12]}: nothing that it covers was changed",
            digest in digests,
            f"it covers {covers}",
        )
        if covers.endswith("when it was opened"):
            report.notes.append(
                "A commitment of the opening does not cover the answers; that of `certify` does."
            )
    if commitments:
        # A made-up certificate must not ride on the commitment of a genuine one.
        report.check(
            "every certificate has a commitment",
            not uncovered,
            f"{len(uncovered)} of {certificates} certificates have none of those given",
        )
    else:
        report.notes.append(
            "Without a commitment for each certificate only inconsistencies are found: all of this"
            " could have been made up to fit together. Give what was printed when the audit was"
            " opened with --commitment."
        )
    report.notes.append(
        "No commitment covers who answered, when and how, nor whether the salt was drawn or chosen."
    )
    report.notes.append(
        "No file can show that the annotator was right and blind, that the images of the audit are"
        " what was shown, or that no other copy of the workspace was audited."
    )


def _check_manifest(
    report: EvidenceReport, manifest: Path, certified: Mapping[str, str], labels: set[str]
) -> None:
    """Whether the promoted rows with a certified label are exactly the certified set."""
    promoted: dict[str, str] = {}
    other = Counter[str]()
    for where, row in _manifest_rows(manifest):
        sha256, label, origin = (str(row.get(key) or "") for key in ("sha256", "label", "origin"))
        if not _SHA256.match(sha256):
            problem = f"{manifest}, {where}: `sha256` is not 64 hexadecimal digits."
            raise EvidenceError(problem, "Export the manifest again.")
        if origin not in _ORIGINS:
            problem = f"{manifest}, {where}: `{origin[:40]}` is no origin that curator writes."
            raise EvidenceError(problem, "Export the manifest again.")
        if origin != "promoted":
            other["labelled by people, or not at all"] += 1
        elif label not in labels:
            other["promoted to a class that no certificate here is about"] += 1
        elif promoted.setdefault(sha256, label) != label:
            problem = f"{manifest}, {where}: the image {sha256[:12]} has two labels."
            raise EvidenceError(problem, "Export the manifest again.")
    more = sum(sha256 not in certified for sha256 in promoted)
    fewer = sum(sha256 not in promoted for sha256 in certified)
    changed = sum(certified.get(sha256, label) != label for sha256, label in promoted.items())
    report.check(
        "manifest: its promoted rows are exactly the certified set, with the same labels",
        bool(certified) and not (more or fewer or changed),
        f"{len(promoted):,} promoted images and {len(certified):,} certified ones: {more:,} are not"
        f" certified, {fewer:,} are missing, {changed:,} have another label",
    )
    for what, count in other.items():
        report.notes.append(f"No certificate is about {count:,} rows of the manifest, {what}.")


# Exact probabilities: whole numbers and fractions, nothing is rounded.


def _share(share: float) -> Fraction:
    """The decimal that a float stands for."""
    return Fraction(share).limit_denominator(10**9)


def _allowed(unseen: int, max_error: float) -> int:
    share = _share(max_error)
    return unseen * share.numerator // share.denominator


def _critical_counts(plan: Mapping[str, Any]) -> list[int]:
    """For each step, the largest count that a set with too many wrong labels rarely stays at."""
    promise, steps, rescue = _object(plan, "promise"), _steps(plan), _rescue(plan)
    risk = Fraction(_number(promise, "risk")) - (Fraction(rescue[2]) if rescue else 0)
    max_error = _number(promise, "max_error")
    counts: list[int] = []
    rate = Fraction(1)
    for step, (size, drawn) in zip(steps, _strata(steps), strict=True):
        too_many = _allowed(step[0] - step[1], max_error) + 1
        rate = min(rate, Fraction(drawn, size))
        if not counts:
            counts.append(_hypergeometric_count(step[0], too_many, step[1], risk))
            continue
        # Hoeffding (1956): below the mean less one, a binomial tail bounds that over strata.
        mean = too_many * rate
        by_label = _binomial_count(too_many, rate, risk)
        by_draw = _binomial_count(step[1], min(mean / step[1], Fraction(1)), risk)
        counts.append(max(min(max(by_label, by_draw), math.floor(mean - 1)), -1))
    return counts


def _hypergeometric_count(size: int, wrong: int, drawn: int, risk: Fraction) -> int:
    """The largest count that at most `drawn` of `size` images, `wrong` of them, show so rarely."""
    first = max(0, drawn - (size - wrong))
    last = min(wrong, drawn)
    if first > last:
        return last
    term = math.comb(wrong, first) * math.comb(size - wrong, drawn - first)
    limit, total = risk * math.comb(size, drawn), 0
    for count in range(first, last + 1):
        total += term
        if total > limit:
            return count - 1
        rest = (count + 1) * (size - wrong - drawn + count + 1)
        term = term * (wrong - count) * (drawn - count) // rest
    return last


def _binomial_count(trials: int, chance: Fraction, risk: Fraction) -> int:
    """The largest count whose lower tail is at most `risk`; -1 if there is none."""
    if chance >= 1:
        return trials - 1
    yes, no = chance.numerator, chance.denominator - chance.numerator
    term, total = no**trials, 0
    limit = risk * chance.denominator**trials
    for count in range(trials + 1):
        total += term
        if total > limit:
            return count - 1
        term = term * (trials - count) * yes // ((count + 1) * no)
    return trials


def _most_wrong(size: int, sample: int, errors: int, risk: Fraction) -> int:
    """The most wrong labels of a set that would show so few errors with a chance above `risk`."""
    low, high = errors, size - sample + errors
    while low < high:
        middle = (low + high + 1) // 2
        likely = _hypergeometric_count(size, middle, sample, risk) < errors
        low, high = (middle, high) if likely else (low, middle - 1)
    return low


# Digests.


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _rows_digest(kind: bytes, ids: Numbers, positive: Bits) -> str:
    rows = np.empty(len(ids), dtype=[("image", "<i8"), ("positive", "u1")])
    rows["image"], rows["positive"] = ids, positive
    return hashlib.sha256(kind + rows.tobytes()).hexdigest()


def _claim_digest(ids: Numbers, positive: Bits) -> str:
    order = np.argsort(ids, kind="stable")
    return _rows_digest(b"curator-claim-1\n", ids[order], positive[order])


# Reading, with errors that say what is wrong where.


def _member(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return archive.read(name).decode("utf-8")
    except (KeyError, UnicodeDecodeError, RuntimeError) as error:
        raise EvidenceError(f"{archive.filename}: `{name[:60]}` is missing or no text.") from error


def _json(text: str) -> Mapping[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    try:
        facts = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"evidence.json is no JSON: {error}.") from error
    if not isinstance(facts, dict):
        raise EvidenceError("evidence.json is no object.")
    return facts


def _wrong_type(name: str, kind: str) -> EvidenceError:
    return EvidenceError(f"evidence.json: `{name}` is missing, or is no {kind}.")


def _object(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = facts.get(name)
    if not isinstance(value, dict):
        raise _wrong_type(name, "object")
    return value


def _list(facts: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = facts.get(name)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _wrong_type(name, "list of objects")
    return value


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    if not isinstance(value, str):
        raise _wrong_type(name, "text")
    return value


def _whole(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    if type(value) is not int or not 0 <= value < 10**12:
        raise _wrong_type(name, "whole number")
    return value


def _number(facts: Mapping[str, Any], name: str) -> float:
    value = facts.get(name)
    if type(value) not in (int, float) or not 0 <= value < 10**12:  # type: ignore[operator]
        raise _wrong_type(name, "number")
    return float(value)  # type: ignore[arg-type]


def _steps(plan: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Size, drawn, allowed and critical of each step."""
    return [
        (
            _whole(step, "size"),
            _whole(step, "drawn"),
            _whole(step, "allowed"),
            _whole(step, "critical"),
        )
        for step in _list(plan, "rungs")
    ]


def _strata(steps: Sequence[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    """Images and drawn images of what each step adds to the one before."""
    rows = [(0, 0), *((step[0], step[1]) for step in steps)]
    return [(end - start, until - since) for (start, since), (end, until) in pairwise(rows)]


def _rescue(plan: Mapping[str, Any]) -> tuple[int, int, float] | None:
    """Size, drawn and risk of the rescue, if there is one."""
    if "rescue" not in plan:
        return None
    rescue = _object(plan, "rescue")
    return _whole(rescue, "size"), _whole(rescue, "drawn"), _number(rescue, "risk")


def _time(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise EvidenceError(f"{where}: {text[:40]!r} is no time with its zone.")
    return moment


def _rows(
    archive: zipfile.ZipFile, name: str, columns: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file of the evidence, each with where it is."""
    reader = csv.reader(io.StringIO(_member(archive, name), newline=""), strict=True)
    try:
        if tuple(next(reader, ())) != tuple(columns):
            raise EvidenceError(f"{name}: its columns are not {', '.join(columns)}.")
        for cells in reader:
            where = f"{name}, line {reader.line_num}"
            if len(cells) != len(columns):
                raise EvidenceError(f"{where}: it has {len(cells)} cells, not {len(columns)}.")
            yield where, dict(zip(columns, cells, strict=True))
    except csv.Error as error:
        raise EvidenceError(f"{name}, line {reader.line_num}: {error}.") from error


def _frame(
    archive: zipfile.ZipFile, name: str
) -> tuple[Numbers, list[str], Bits, NDArray[np.str_]]:
    ids, images, positive, states = [], [], [], []
    for where, row in _rows(archive, name, FRAME_COLUMNS):
        if not (
            _WHOLE.match(row["image"]) and _SHA256.match(row["sha256"]) and row["label"] in _LABELS
        ):
            raise EvidenceError(f"{where}: that is no image with its SHA-256 and label.")
        ids.append(int(row["image"]))
        images.append(row["sha256"])
        positive.append(row["label"] == "positive")
        states.append(row["state"])
    if not ids:
        raise EvidenceError(f"{name} holds no image.")
    return (
        np.array(ids, dtype=np.int64),
        images,
        np.array(positive, dtype=np.bool_),
        np.array(states, dtype=np.str_),
    )


def _answers(archive: zipfile.ZipFile, name: str, ids: Numbers, positive: Bits) -> DrawnAnswers:
    rank_of = {image: rank for rank, image in enumerate(ids.tolist())}
    ranks, strata, outcomes = [], [], []
    for where, row in _rows(archive, name, ANSWER_COLUMNS):
        if not (_WHOLE.match(row["image"]) and _WHOLE.match(row["stratum"])):
            raise EvidenceError(f"{where}: `image` or `stratum` is no whole number.")
        if row["outcome"] not in _OUTCOMES:
            raise EvidenceError(f"{where}: `{row['outcome'][:40]}` is no outcome.")
        if int(row["image"]) not in rank_of:
            raise EvidenceError(f"{where}: image {row['image']} is not in the frame.")
        ranks.append(rank_of[int(row["image"])])
        strata.append(int(row["stratum"]))
        outcomes.append(row["outcome"])
    if not ranks:
        raise EvidenceError(f"{name} holds no answer.")
    shown, answered = np.array(ranks, dtype=np.int64), np.array(outcomes, dtype=np.str_)
    return DrawnAnswers(
        ranks=shown,
        strata=np.array(strata, dtype=np.int64),
        outcomes=answered,
        confirmed=answered == np.where(positive[shown], "positive", "negative"),
    )


def _manifest_rows(manifest: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a manifest in CSV or JSON Lines, or of a folder that `export` made."""
    file = manifest / "manifest.csv" if manifest.is_dir() else manifest
    advice = "Name a .csv or .jsonl that `curator export` wrote, or a folder of it."
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".jsonl", ".ndjson"):
        raise EvidenceError(f"{file} is no manifest in CSV or JSON Lines.", advice)
    needed = ("sha256", "label", "origin")
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            if suffix == ".csv":
                reader = csv.DictReader(stream, strict=True)
                missing = [name for name in needed if name not in (reader.fieldnames or ())]
                if missing:
                    raise EvidenceError(f"{file}: it has no column `{missing[0]}`.", advice)
                for row in reader:
                    # A cell that a spreadsheet could compute has an apostrophe before it.
                    label = row["label"] or ""
                    guarded = re.match(r"'+\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", label)
                    yield f"line {reader.line_num}", {**row, "label": label[bool(guarded) :]}
                return
            for number, line in enumerate(stream, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or any(name not in row for name in needed):
                    raise EvidenceError(f"{file}, line {number}: that is no row.", advice)
                yield f"line {number}", row
    except OSError as error:
        raise EvidenceError(f"{file} cannot be read: {error.strerror}.", advice) from error
    except (csv.Error, ValueError, RecursionError) as error:
        raise EvidenceError(f"{file} cannot be read: {error}.", advice) from error


def report_lines(report: EvidenceReport) -> Iterator[str]:
    """The report for people."""
    yield "Claimed"
    yield from (f"  {claim}" for claim in report.claims)
    yield "Checked"
    for checked in report.checks:
        yield f"  {'✓' if checked.passed else '✗'} {checked.what}"
        yield f"      {checked.detail}"
    yield "Not checked"
    yield from (f"  {note}" for note in report.notes)
    failed = sum(not checked.passed for checked in report.checks)
    yield (
        f"{failed} of {len(report.checks)} checks failed: do not rely on it."
        if failed
        else f"All {len(report.checks)} checks passed."
    )


def report_json(report: EvidenceReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "valid": report.valid,
        "claims": report.claims,
        "checks": [vars(checked) for checked in report.checks],
        "notes": report.notes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Check as this file by itself does; 0 if all checks pass, else 3."""
    parser = argparse.ArgumentParser(description="Check the evidence of a certificate.")
    parser.add_argument("evidence", type=Path)
    parser.add_argument("manifest", type=Path, nargs="?")
    parser.add_argument("--commitment", action="append", default=[], metavar="DIGEST")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        report = check(options.evidence, options.manifest, options.commitment)
    except EvidenceError as error:
        sys.stderr.write(f"{error.problem}\n{error.advice}\n")
        return _FAILED
    text = json.dumps(report_json(report), indent=2) if options.json else None
    sys.stdout.write(f"{text or chr(10).join(report_lines(report))}\n")
    return 0 if report.valid else _FAILED


if __name__ == "__main__":
    sys.exit(main())
