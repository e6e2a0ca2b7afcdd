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
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT = "curator-evidence-1"

# The columns of the CSV files, with what a cell may hold.
_WHOLE, _SHA256, _LABEL = r"[0-9]{1,18}", r"[0-9a-f]{64}", "negative|positive"
FRAME = {"image": _WHOLE, "sha256": _SHA256, "label": _LABEL, "state": "certified|left|"}
ANSWERS = {
    "image": _WHOLE,
    "stratum": _WHOLE,
    "outcome": f"{_LABEL}|unsure|skipped|unshowable|",  # nothing: it was not asked
    "answered_at": ".*",
    "actor": ".*",
    "method": ".*",
}

# What evidence.json has to hold: a type, a list of one shape, or an object with these names.
_STEP = {"size": int, "drawn": int, "allowed": int, "critical": int}
_RESCUE = {"size": int, "drawn": int, "risk": float}
_PROMISE = {"max_error": float, "risk": float, "spent": float}
_PLAN = {"format": str, "frame_digest": str, "frame_size": int, "promise": _PROMISE}
_PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "promise": ("curator-audit-1", _PLAN | {"rungs": [_STEP]}),
    "measure": ("curator-single-1", _PLAN | {"sample": int}),
}
_UNTIL = "curator-until-1"  # the form of a promise that is tested until one set is proved
_TERMS = {"kind": str, "scope": str, "max_error": float, "overlooked": float}
_CLASSES = {"positive": str, "negative": str}
_STATED = dict.fromkeys(("images", "prefix", "wrong", "sample", "errors"), int)
_CERTIFICATE = {
    **dict.fromkeys(("salt", "salt_source", "opened_at", "closed_at", "frame", "answers"), str),
    **dict.fromkeys(("opening_commitment", "closing_commitment"), str),
    "audit": int,
    "terms": _TERMS | {"classes": _CLASSES},
    "plan": {},
    "certified": _STATED | {"bound": float, "confidence": float, "sha256": str},
}
_EVIDENCE = {"certificates": [_CERTIFICATE], "audits": [{"commitment": str, "risk": float}]}

_BY_MACHINE = ("promoted", "likelier")
_ORIGINS = ("seed", "review", "calibration", "audit", "promoted", "likelier", "")
_EXPORT_AGAIN = "Ask for the evidence again: `curator export MANIFEST --evidence EVIDENCE`."
_ROUNDING = 1e-9
_FAILED = 3

Bits = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Words = NDArray[np.str_]


class EvidenceError(Exception):
    """The evidence or the manifest cannot be read as what it should be."""

    def __init__(self, problem: str, advice: str = _EXPORT_AGAIN) -> None:
        super().__init__(f"{problem} {advice}")
        self.problem = problem
        self.advice = advice


class EvidenceCheck(NamedTuple):
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


class Step(NamedTuple):
    """The first `size` images of the frame, which pass with `critical` errors at most.

    `drawn` of them are asked in all. They may hold `allowed` wrong labels.
    """

    size: int
    drawn: int
    allowed: int
    critical: int


class RescueTest(NamedTuple):
    """The first `size` images, tested on `drawn` further ones at `risk` if no step passes."""

    size: int
    drawn: int
    risk: Fraction


class Proved(NamedTuple):
    """What the answers prove: of the images at `ranks` at most `wrong` are wrong.

    They are of the first `prefix`, of which `sample` were asked, with `errors`.
    """

    ranks: Numbers
    wrong: int
    prefix: int
    sample: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Audit:
    """An audit with its certificate, as the evidence has it.

    `facts` is its part of evidence.json. In the order of the frame: `ids`, `images` (SHA-256),
    `positive`, `states`. In the order in which drawn images were to be shown: their `ranks` in the
    frame, `strata` and `outcomes`. `moments` and `people` are those of the answers.
    """

    facts: Mapping[str, Any]
    ids: Numbers
    images: Sequence[str]
    positive: Bits
    states: Words
    ranks: Numbers
    strata: Numbers
    outcomes: Words
    moments: list[datetime]
    people: Counter[tuple[str, str]]

    @property
    def asked(self) -> Bits:
        """Which drawn images were asked; what is not confirmed of these counts as wrong."""
        has_outcome: Bits = self.outcomes != ""
        return has_outcome

    def wrong(self, of: Bits) -> int:
        """How many of the drawn images `of` were not confirmed."""
        confirmed = self.outcomes == np.where(self.positive[self.ranks], "positive", "negative")
        return int((of & ~confirmed).sum())

    def unseen(self, prefix: int) -> Numbers:
        """Ranks of the first `prefix` images that nobody was asked about and that have not left."""
        stay = self.states != "left"
        stay[self.ranks[self.asked]] = False
        return np.flatnonzero(stay[:prefix])


Checks = Generator[tuple[str, bool, str], None, Any]
"""What is checked, whether it passed, and a detail, one after the other."""


def check(
    evidence: Path, manifest: Path | None = None, commitments: Sequence[str] = ()
) -> EvidenceReport:
    """Check a file of evidence. Raises EvidenceError if it, or the manifest, is no such file."""
    report = EvidenceReport()
    opened, audits = _read(evidence)
    # What each digest covers that somebody may have been told, and the certificate that it is of.
    stated = {audit.facts["opening_commitment"] for audit in audits}
    counted = {row["commitment"] for row in opened} - stated
    digests = dict.fromkeys(counted, (0, "an audit that has no certificate in this evidence"))
    certified: dict[str, str] = {}
    labels: set[str] = set()

    def keep(checks: Checks, prefix: str = "") -> None:
        for what, passed, detail in checks:
            report.checks.append(EvidenceCheck(prefix + what, bool(passed), detail))

    for number, audit in enumerate(audits, start=1):
        terms = audit.facts["terms"]
        labels |= {terms["classes"][name] for name in _CLASSES if terms["scope"] in (name, "all")}
        report.claims.append(_claim(terms, audit.facts["certified"]))
        report.notes.extend(_notes(audit))
        checks = _certificate_checks(audit, opened, number, digests, certified)
        keep(checks, f"audit {audit.facts['audit']}: ")
    keep(_commitment_checks(commitments, digests, len(audits), report.notes))
    if manifest is not None:
        keep(_manifest_checks(manifest, certified, labels, report.notes))
    else:
        report.notes.append("No manifest was given, so none was compared with the certified set.")
    return report


def _claim(terms: Mapping[str, Any], stated: Mapping[str, Any]) -> str:
    to = f" to {terms['classes'][terms['scope']]}" if terms["scope"] in _CLASSES else ""
    overlooked = terms["overlooked"]
    condition = f", given that the annotator overlooks at most {100 * overlooked:.4g}% of them"
    return (
        f"At most {stated['wrong']:,} ({stated['bound']:.3%}) of {stated['images']:,} labels"
        f" promoted{to} are wrong, at {100 * stated['confidence']:.4g}% confidence"
        f"{condition if overlooked else ''}."
    )


def _notes(audit: Audit) -> Iterator[str]:
    """Who answered, and times that cannot be right. No commitment covers either."""
    name = f"audit {audit.facts['audit']}"
    opened, closed = (_time(audit.facts[key], key) for key in ("opened_at", "closed_at"))
    people = ", ".join(f"{who} ({count:,} {how})" for (who, how), count in audit.people.items())
    times = f"{opened:%Y-%m-%d %H:%M} to {closed:%Y-%m-%d %H:%M} UTC"
    yield f"The answers of {name} were given by {people or 'nobody'}, from {times}."
    outside = sum(not opened <= moment <= closed for moment in audit.moments)
    if outside or opened > closed:
        yield (
            f"Answers of {name} with times outside of these: {outside:,}. The clock of the machine"
            " was set back, or times were changed. Ask who sent the evidence."
        )


def _certificate_checks(
    audit: Audit,
    opened: Sequence[Mapping[str, Any]],
    number: int,
    digests: dict[str, tuple[int, str]],
    certified: dict[str, str],
) -> Checks:
    """Check certificate `number`, and add what it certifies: SHA-256 of images, names of labels."""
    facts, ids, positive = audit.facts, audit.ids, audit.positive
    terms, plan, stated = facts["terms"], facts["plan"], facts["certified"]

    # The frame: these images, with these labels, in this order.
    frame = _rows_digest(b"curator-frame-1\n", ids, positive)
    unique = len(np.unique(ids)) == len(ids) == len(set(audit.images))
    yield (
        "the frame is that of the plan",
        unique and (frame, len(ids)) == (plan["frame_digest"], plan["frame_size"]),
        f"{len(ids):,} images with labels and order, none twice; SHA-256 {frame[:12]}",
    )

    # The digest that was shown when the audit was opened, and what all audits spent until then.
    rows = zip(audit.images, positive.tolist(), strict=True)
    images = hashlib.sha256()
    for sha256, side in rows:
        images.update(bytes.fromhex(sha256) + bytes([side]))
    fixed = {"format": "curator-opening-1", "images": images.hexdigest(), "plan": _digest(plan)}
    opening = _digest(fixed | {"salt": facts["salt"], "terms": terms})
    digests[opening] = number, "frame, files, order, plan, salt and promise when it was opened"
    what = "frame, order, plan and salt match the stated opening commitment"
    yield what, opening == facts["opening_commitment"], f"opening commitment {opening}"
    names, risks = [row["commitment"] for row in opened], [row["risk"] for row in opened]
    own = facts["opening_commitment"]
    at = names.index(own) if own in names else len(names)
    before, risk, promise = sum(risks[:at]), sum(risks[at : at + 1]), plan["promise"]
    differences = abs(before - promise["spent"]), abs(risk - promise["risk"])
    yield (
        "the risk that all audits spent is counted",
        names.count(own) == 1 and max(differences) <= _ROUNDING,
        f"earlier audits ({at}) spent {before:.4g}, this one {risk:.4g}, all audits of the"
        f" workspace ({len(names)}) {sum(risks):.4g}",
    )

    # The plan, its critical counts and the draw.
    if not (yield from _plan_checks(audit)):
        return
    ranks, strata = _draw(plan, facts["salt"])
    drawn = np.array_equal(audit.ranks, ranks) and np.array_equal(audit.strata, strata)
    again = f"{len(ranks):,} images drawn again with numpy {np.__version__}"
    yield "the audited images are those that plan and salt draw, in the same order", drawn, again
    recorded = "as the workspace recorded it; with a chosen salt an audit proves nothing"
    is_random = facts["salt_source"] == "random-salt"
    yield "the salt was drawn by the operating system", is_random, recorded

    # The test on the answers, what it proves, and what is stated.
    proved: Proved | None = (yield from _test(audit)) if drawn else None
    if proved is None:
        return
    left, wrong = len(proved.ranks), proved.wrong
    claim = _claim_digest(ids[proved.ranks], positive[proved.ranks])
    follows = np.array_equal(proved.ranks, np.flatnonzero(audit.states == "certified"))
    follows &= [claim, left, proved.prefix] == [stated[k] for k in ("sha256", "images", "prefix")]
    certain = f"{left:,} images of the first {proved.prefix:,}, none of which a person has seen"
    yield "the certified set follows from the answers", follows, certain
    confidence = 1 - promise["spent"] - promise["risk"]
    most = terms["max_error"] if terms["kind"] == "promise" else 1.0
    yield (
        "the statement is not stronger than what was proved",
        stated["wrong"] >= wrong
        and wrong / max(left, 1) - _ROUNDING <= stated["bound"] <= most + _ROUNDING
        and stated["confidence"] <= confidence + _ROUNDING
        and (stated["sample"], stated["errors"]) == (proved.sample, proved.errors),
        f"at most {wrong:,} of {left:,} wrong at {100 * confidence:.4g}% confidence;"
        f" {proved.errors:,} of {proved.sample:,} answers did not confirm",
    )
    fixed = {"format": "curator-closing-1", "opening": opening, "set": claim}
    closing = _digest(fixed | {"outcomes": audit.outcomes.tolist()})
    digests[closing] = number, "everything, also answers and certified set"
    what = "answers and certified set match the stated closing commitment"
    yield what, closing == facts["closing_commitment"], f"closing commitment {closing}"
    class_names = [terms["classes"][side] for side in ("negative", "positive")]
    members = {audit.images[i]: class_names[int(positive[i])] for i in proved.ranks.tolist()}
    twice = len(certified.keys() & members.keys())
    yield "no image is in another certificate", not twice, f"images certified twice: {twice:,}"
    certified |= members


def _plan_checks(audit: Audit) -> Checks:
    """Whether the plan is valid: rising steps, and tests that keep its risk exactly."""
    plan, terms = audit.facts["plan"], audit.facts["terms"]
    promise, measures = plan["promise"], terms["kind"] == "measure"
    # Whatever else a plan holds could change the draw without changing the test.
    form, shape = _PLANS[terms["kind"]]
    sequential = plan["format"] == _UNTIL and not measures
    if sequential:
        form, shape = _UNTIL, shape | {"prior": int}
    elif "rescue" in plan and not measures:
        shape = shape | {"rescue": _RESCUE}
    parts = [(plan, shape), (promise, _PROMISE), (plan.get("rescue", _RESCUE), _RESCUE)]
    parts += [] if measures else [(rung, _STEP) for rung in plan["rungs"]]
    right = plan["format"] == form and all(part.keys() == names.keys() for part, names in parts)
    described = f"{plan['format']} with {', '.join(sorted(plan))}"
    yield "the plan has the parts of its kind and no others", right, described
    if not right:
        return False

    steps, rescue, images = _steps(plan), _rescue(plan), len(audit.ids)
    max_error, overlooked = promise["max_error"], terms["overlooked"]
    wished = Fraction(1) if measures else _share(terms["max_error"]) * (1 - _share(overlooked))
    sound = (
        0 < max_error <= min(0.5, float(wished))
        and 0 < promise["risk"] < 0.5
        and overlooked < 1
        and len(steps) > 0
        and all(drawn > 0 and (drawn <= size or sequential) for size, drawn in _strata(steps))
        and (steps[-1].size == images if measures else steps[-1].size <= images)
    )
    if sound and sequential:
        one_set = {step.size for step in steps} == {steps[0].size}
        prior = plan["prior"]
        sound = one_set and steps[-1].drawn < steps[0].size and type(prior) is int and prior > 0
    if sound and rescue:
        fits = 0 < rescue.drawn <= rescue.size - steps[0].drawn and rescue.size <= steps[0].size
        sound = fits and 0 < rescue.risk < promise["risk"]
    limits = f"{len(steps)} steps within {images:,} images, for at most {max_error:.4g} wrong"
    yield "the plan is valid", sound, limits
    if not sound or measures:
        return sound

    exact = _proved_counts(plan) if sequential else _critical_counts(plan)
    within_risk = all(
        0 <= critical <= limit and allowed <= _allowed(size - drawn, max_error)
        for (size, drawn, allowed, critical), limit in zip(steps, exact, strict=True)
    )
    counts = f"{[step.critical for step in steps]}; computed exactly {exact}"
    yield "the critical counts are within the risk", within_risk, counts
    return within_risk


def _draw(plan: Mapping[str, Any], salt: str) -> tuple[Numbers, Numbers]:
    """Ranks and strata of the images that the plan and the salt draw."""
    source = hashlib.sha256(f"curator-draw-2 {_digest(plan)} {salt}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(source, "big"))
    ranks, start, steps, rescue = [], 0, _steps(plan), _rescue(plan)
    if plan["format"] == _UNTIL:  # one random order of one set
        order = generator.choice(steps[0].size, size=steps[-1].drawn, replace=False)
        parts = [drawn for _, drawn in _strata(steps)]
        return order.astype(np.int64), np.repeat(np.arange(len(steps)), parts).astype(np.int64)
    for size, drawn in _strata(steps):
        ranks.append(start + generator.choice(size, size=drawn, replace=False))
        start += size
    if rescue is not None:
        rest = np.setdiff1d(np.arange(rescue.size), np.concatenate(ranks))
        ranks.append(generator.choice(rest, size=rescue.drawn, replace=False))
    strata = np.repeat(np.arange(len(ranks)), [len(of_stratum) for of_stratum in ranks])
    return np.concatenate(ranks).astype(np.int64), strata.astype(np.int64)


def _test(audit: Audit) -> Checks:
    """What the answers prove, as `Proved`, or None."""
    plan, terms = audit.facts["plan"], audit.facts["terms"]
    max_error, noticed = plan["promise"]["max_error"], 1 - _share(terms["overlooked"])
    steps, rescue = _steps(plan), _rescue(plan)

    # From the inside out, up to the first failure; a step needs all answers of its strata. A
    # sequential test goes on to the first step that passes.
    tested: list[tuple[Step, int, bool]] = []
    complete = True
    for number, step in enumerate(steps):
        within = audit.strata <= number
        complete = complete and bool(audit.asked[within].all())
        errors = audit.wrong(within)
        tested.append((step, errors, complete and errors <= step.critical))
        if tested[-1][-1] == (plan["format"] == _UNTIL) or not complete:
            break
    answers = f"{int(audit.asked.sum()):,} answers; unsure, skipped and gone count as wrong"
    yield "every image that the test needs has an answer", complete, answers
    if terms["kind"] == "measure":  # nothing to pass: a bound for all that nobody has seen
        if not complete:
            return None
        (size, drawn, _, _), errors, _ = tested[0]
        # Those that were called the other class have left.
        settled = int(np.isin(audit.outcomes, list(_CLASSES)).sum())
        called, ranks = settled - (drawn - errors), audit.unseen(size)
        most = _most_wrong(size, drawn, errors, Fraction(plan["promise"]["risk"]))
        wrong = min(int(most / noticed) - called, len(ranks))
        return Proved(ranks, wrong, size, drawn, errors)

    in_rescue = audit.strata == len(steps)
    if rescue and complete and not tested[0][-1] and audit.asked[in_rescue].all():
        rest = rescue.size - int((audit.ranks[~in_rescue] < rescue.size).sum())
        allowed = _allowed(rest - rescue.drawn, max_error)
        critical = _hypergeometric_count(rest, allowed + 1, rescue.drawn, rescue.risk)
        errors = audit.wrong(in_rescue)
        step = Step(rescue.size, rescue.drawn, allowed, critical)
        tested.append((step, errors, errors <= critical))
    proved = None
    for step, errors, passed in tested:
        ranks, wrong = audit.unseen(step.size), int(step.allowed / noticed)
        if passed and len(ranks) and wrong * noticed <= _share(max_error) * len(ranks):
            proved = Proved(ranks, wrong, step.size, step.drawn, errors)
    passes = sum(passed for _, _, passed in tested)
    yield (
        "the test passes",
        proved is not None,
        f"{passes} of {len(tested)} tests passed, from the inside out; {tested[0][1]:,} of the"
        f" first {steps[0].drawn:,} answers did not confirm",
    )
    return proved


def _commitment_checks(
    commitments: Sequence[str],
    digests: Mapping[str, tuple[int, str]],
    certificates: int,
    notes: list[str],
) -> Checks:
    uncovered = set(range(1, certificates + 1))
    for commitment in commitments:
        digest = commitment.strip().lower()
        if not re.fullmatch(_SHA256, digest):
            problem = f"--commitment {commitment[:70]!r} is not 64 hexadecimal digits."
            raise EvidenceError(problem, "Copy what `curator audit` or `curator certify` printed.")
        number, covers = digests.get(digest, (0, "nothing in this evidence"))
        uncovered.discard(number)
        what = f"commitment {digest[:12]}: nothing that it covers was changed"
        yield what, digest in digests, f"it covers {covers}"
        if covers.endswith("when it was opened"):
            notes.append(
                "The commitment of an opening does not cover the answers; that of `certify` does."
            )
    if commitments:
        # A made-up certificate must not ride on the commitment of a genuine one.
        missing = f"certificates without a given commitment: {len(uncovered)} of {certificates}"
        yield "every certificate is covered by a commitment", not uncovered, missing
    else:
        notes.append(
            "Without a commitment for each certificate the checks find only contradictions: the"
            " whole evidence could have been invented. Give the commitment that was printed when"
            " the audit was opened, with --commitment."
        )
    notes += [
        "No commitment covers who answered, when and how, nor if the salt was drawn or chosen.",
        "No file can show that the annotator was right and blind, that the images of the audit are"
        " what was shown, or that no other copy of the workspace was audited.",
    ]


def _manifest_checks(
    manifest: Path, certified: Mapping[str, str], labels: set[str], notes: list[str]
) -> Checks:
    """Whether the promoted rows with a certified label are exactly the certified set."""
    promoted: dict[str, str] = {}
    other = Counter[str]()
    for where, row in _manifest_rows(manifest):
        sha256, label, origin = (str(row.get(key) or "") for key in ("sha256", "label", "origin"))
        problem = ""
        if not re.fullmatch(_SHA256, sha256):
            problem = "`sha256` is not 64 hexadecimal digits"
        elif origin not in _ORIGINS:
            problem = f"`{origin[:40]}` is not an origin that curator writes"
        elif origin not in _BY_MACHINE:
            other["labelled by people, or unlabelled"] += 1
        elif label not in labels:
            other["promoted to a class that no certificate here covers"] += 1
        elif promoted.setdefault(sha256, label) != label:
            problem = f"the image {sha256[:12]} has two labels"
        if problem:
            raise EvidenceError(f"{manifest}, {where}: {problem}.", "Export the manifest again.")
    more, fewer = len(promoted.keys() - certified.keys()), len(certified.keys() - promoted.keys())
    changed = sum(certified.get(sha256, label) != label for sha256, label in promoted.items())
    yield (
        "manifest: its promoted rows are exactly the certified set, with the same labels",
        bool(certified) and not (more or fewer or changed),
        f"{len(promoted):,} promoted images and {len(certified):,} certified ones: {more:,} are not"
        f" certified, {fewer:,} are missing, {changed:,} have another label",
    )
    for what, count in other.items():
        notes.append(f"Rows of the manifest without a certificate: {count:,} ({what}).")


# Exact probabilities: whole numbers and fractions, nothing is rounded.


def _share(share: float) -> Fraction:
    """The decimal that a float stands for."""
    return Fraction(share).limit_denominator(10**9)


def _allowed(unseen: int, max_error: float) -> int:
    share = _share(max_error)
    return unseen * share.numerator // share.denominator


def _critical_counts(plan: Mapping[str, Any]) -> list[int]:
    """For each step, the largest count that a set with too many wrong labels rarely stays at."""
    promise, steps, rescue = plan["promise"], _steps(plan), _rescue(plan)
    risk = Fraction(promise["risk"]) - (rescue.risk if rescue else 0)
    counts: list[int] = []
    rate = Fraction(1)
    for step, (size, drawn) in zip(steps, _strata(steps), strict=True):
        too_many = step.allowed + 1
        rate = min(rate, Fraction(drawn, size))
        if not counts:
            counts.append(_hypergeometric_count(step.size, too_many, step.drawn, risk))
            continue
        # Hoeffding (1956): below the mean less one, a binomial tail bounds that over strata.
        mean = too_many * rate
        by_label = _binomial_count(too_many, rate, risk)
        by_draw = _binomial_count(step.drawn, min(mean / step.drawn, Fraction(1)), risk)
        counts.append(max(min(max(by_label, by_draw), math.floor(mean - 1)), -1))
    return counts


def _proved_counts(plan: Mapping[str, Any]) -> list[int]:
    """For each step of a sequential test its critical count if that proves the promise, else -1.

    Every number of wrong labels that leaves too many among the unseen has to make the answers at
    least 1 / risk times less likely than the prior Beta(2, `prior`) does, also with fewer errors
    (Waudby-Smith and Ramdas, 2020, Confidence sequences for sampling without replacement).
    """
    prior, risk, counts = plan["prior"], Fraction(plan["promise"]["risk"]), []
    for size, drawn, allowed, critical in _steps(plan):
        proved = critical <= drawn
        for errors in range(critical + 1 if proved else 0):
            wrong, right = errors + allowed + 1, drawn - errors
            if wrong - errors > size - drawn:  # so many cannot be among the unseen
                continue
            # The chance of these answers in their order: under the prior, and with `wrong` wrong
            # labels. From there on the latter falls where `falls`.
            ways = math.factorial(errors + 1) * math.perm(prior + right - 1, right)
            under_prior = Fraction(ways, math.perm(prior + drawn + 1, drawn))
            if_wrong = math.perm(wrong, errors) * math.perm(size - wrong, right)
            falls = errors * (size + 1) <= drawn * (wrong + 1)
            proved = proved and falls and risk * under_prior * math.perm(size, drawn) >= if_wrong
        counts.append(critical if proved else -1)
    return counts


def _hypergeometric_count(size: int, wrong: int, drawn: int, risk: Fraction) -> int:
    """The largest count that a sample of `drawn`, of `size` with `wrong`, shows so rarely."""
    right, total = size - wrong, math.comb(size, drawn)
    counts = range(min(wrong, drawn) + 1)
    ways = (math.comb(wrong, count) * math.comb(right, drawn - count) for count in counts)
    return _last_within(ways, risk * total)


def _binomial_count(trials: int, chance: Fraction, risk: Fraction) -> int:
    """The largest count whose lower tail is at most `risk`; -1 if there is none."""
    yes, no = chance.numerator, chance.denominator - chance.numerator
    counts = range(trials + 1)
    ways = (math.comb(trials, count) * yes**count * no ** (trials - count) for count in counts)
    return _last_within(ways, risk * chance.denominator**trials)


def _last_within(ways: Iterable[int], limit: Fraction) -> int:
    tail, last = 0, -1
    for way in ways:
        tail += way
        if tail > limit:
            break
        last += 1
    return last


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


def _read(evidence: Path) -> tuple[Sequence[Mapping[str, Any]], list[Audit]]:
    """All audits that were opened, and those of the certificates."""
    try:
        with zipfile.ZipFile(evidence) as archive:
            facts = json.loads(_member(archive, "evidence.json"))
            _require(facts, {"format": str}, "evidence.json")
            if facts["format"] != FORMAT:
                problem = f"{evidence}: its format is {facts['format'][:40]!r}, not {FORMAT!r}."
                advice = "Check it with the version of curator that wrote it, or a newer one."
                raise EvidenceError(problem, advice)
            _require(facts, _EVIDENCE, "evidence.json")
            audits = [_read_audit(archive, certificate) for certificate in facts["certificates"]]
    except (ValueError, RecursionError) as error:
        raise EvidenceError("evidence.json is not valid JSON.") from error
    except OSError as error:
        raise EvidenceError(f"{evidence} cannot be read: {error.strerror or error}.") from error
    except (EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise EvidenceError(f"{evidence} is damaged or not a zip file.") from error
    if not audits:
        raise EvidenceError(f"{evidence} contains no certificate.")
    return facts["audits"], audits


def _member(archive: zipfile.ZipFile, name: str) -> str:
    try:
        return archive.read(name).decode("utf-8")
    except (KeyError, UnicodeDecodeError, RuntimeError) as error:
        raise EvidenceError(
            f"{archive.filename}: `{name[:60]}` is missing or not UTF-8."
        ) from error


def _require(value: Any, shape: Any, name: str) -> None:
    """Raises EvidenceError unless a value of evidence.json has this shape."""
    if isinstance(shape, dict):
        right = isinstance(value, dict)
        for key, part in shape.items() if right else ():
            _require(value.get(key), part, key)
    elif isinstance(shape, list):
        right = isinstance(value, list)
        for row in value if right else ():
            _require(row, shape[0], name)
    elif shape is str:
        right = isinstance(value, str)
    else:
        numbers = (int,) if shape is int else (int, float)
        right = type(value) in numbers and 0 <= value < 10**12
    if not right:
        raise EvidenceError(f"evidence.json: `{name}` is missing or has an invalid value.")


def _steps(plan: Mapping[str, Any]) -> list[Step]:
    """The steps of the test; a simple random sample has one, which it need not pass."""
    if "sample" in plan:
        return [Step(plan["frame_size"], plan["sample"], 0, plan["sample"])]
    return [Step(*(rung[name] for name in _STEP)) for rung in plan["rungs"]]


def _strata(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """Images and drawn images of what each step adds to the one before."""
    rows = [(0, 0), *((step.size, step.drawn) for step in steps)]
    return [(end - start, until - since) for (start, since), (end, until) in pairwise(rows)]


def _rescue(plan: Mapping[str, Any]) -> RescueTest | None:
    """What is tested if no step passes, if anything is."""
    rescue = plan.get("rescue")
    return rescue and RescueTest(rescue["size"], rescue["drawn"], Fraction(rescue["risk"]))


def _time(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise EvidenceError(f"{where}: {text[:40]!r} is not a time with a time zone.")
    return moment


def _columns(
    archive: zipfile.ZipFile, name: str, columns: Mapping[str, str]
) -> list[Sequence[str]]:
    """The columns of a CSV file of the evidence, each cell as it may be."""
    reader = csv.reader(io.StringIO(_member(archive, name), newline=""), strict=True)
    rows = []
    try:
        if tuple(next(reader, ())) != tuple(columns):
            raise EvidenceError(f"{name}: its columns are not {', '.join(columns)}.")
        for cells in reader:
            where = f"{name}, line {reader.line_num}"
            if len(cells) != len(columns):
                raise EvidenceError(f"{where}: it has {len(cells)} cells, not {len(columns)}.")
            for column, cell in zip(columns, cells, strict=True):
                if not re.fullmatch(columns[column], cell, re.DOTALL):
                    raise EvidenceError(f"{where}: `{cell[:40]}` is not a valid `{column}`.")
            rows.append(cells)
    except csv.Error as error:
        raise EvidenceError(f"{name}, line {reader.line_num} is not valid CSV.") from error
    if not rows:
        raise EvidenceError(f"{name} contains no image.")
    return list(zip(*rows, strict=True))


def _read_audit(archive: zipfile.ZipFile, facts: Mapping[str, Any]) -> Audit:
    """An audit with its frame and its answers. Raises EvidenceError where they are none."""
    plan, kind = facts["plan"], facts["terms"]["kind"]
    if kind not in _PLANS:
        raise EvidenceError(f"evidence.json: `kind` {kind[:40]!r} is unknown.")
    _require(plan, _PLANS[kind][1] | ({"rescue": _RESCUE} if "rescue" in plan else {}), "plan")
    ids, images, labels, states = _columns(archive, facts["frame"], FRAME)
    shown, strata, outcomes, times, actors, methods = _columns(archive, facts["answers"], ANSWERS)
    rank_of = {int(image): rank for rank, image in enumerate(ids)}
    try:
        ranks = [rank_of[int(image)] for image in shown]
    except KeyError as error:
        raise EvidenceError(f"{facts['answers']}: image {error} is not in the frame.") from error
    who = zip(times, actors, methods, strict=True)
    return Audit(
        facts=facts,
        ids=np.array(ids, dtype=np.int64),
        images=images,
        positive=np.array(labels) == "positive",
        states=np.array(states),
        ranks=np.array(ranks),
        strata=np.array(strata, dtype=np.int64),
        outcomes=np.array(outcomes),
        moments=[_time(time, facts["answers"]) for time in times if time],
        people=Counter(
            (actor or "an unnamed person", method) for time, actor, method in who if time
        ),
    )


def _manifest_rows(manifest: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a manifest in CSV or JSON Lines, or of a folder that `export` made."""
    file = manifest / "manifest.csv" if manifest.is_dir() else manifest
    advice = "Name a .csv or .jsonl that `curator export` wrote, or a folder of it."
    suffix, needed = file.suffix.lower(), {"sha256", "label", "origin"}
    if suffix not in (".csv", ".jsonl", ".ndjson"):
        raise EvidenceError(f"{file} is not a manifest in CSV or JSON Lines.", advice)
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            if suffix == ".csv":
                reader = csv.DictReader(stream, strict=True)
                if missing := sorted(needed - set(reader.fieldnames or ())):
                    raise EvidenceError(f"{file}: it has no column `{missing[-1]}`.", advice)
                for row in reader:
                    # A cell that a spreadsheet could compute has an apostrophe before it.
                    label = row["label"] or ""
                    guarded = re.match(r"'+\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", label)
                    yield f"line {reader.line_num}", {**row, "label": label[bool(guarded) :]}
                return
            for number, line in enumerate(stream, start=1):
                row = json.loads(line)
                if not isinstance(row, dict) or not needed <= row.keys():
                    raise EvidenceError(
                        f"{file}, line {number}: it is not a row of a manifest.", advice
                    )
                yield f"line {number}", row
    except OSError as error:
        raise EvidenceError(f"{file} cannot be read: {error.strerror or error}.", advice) from error
    except (csv.Error, ValueError, RecursionError) as error:
        what = "CSV" if suffix == ".csv" else "JSON Lines"
        raise EvidenceError(f"{file} is not valid {what}.", advice) from error


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
        "checks": [checked._asdict() for checked in report.checks],
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
