"""How often a certificate is false on real images: the whole path, hundreds of times a condition.

    python -m benchmarks.certificates [--repetitions 300] [--images 3000] [--only NAME...]
        [--kept FILE]

Each repetition is a copy of a workspace with cached features. It gets seed labels drawn at random,
runs a round, plans and opens an audit with a salt from the system, answers what is asked with the
known classes, and certifies, all by the functions of the commands. Audits that the tool would
advise against are made all the same. A certificate is false if more of its unseen labels are wrong
than it states; the share is over all repetitions, certified or not, and may not exceed the risk of
5% by more than the noise of so many. `benchmarks.validity` does the same on pools that were built
to lie just over the limit.

What the order of the strata and the rescue change is computed for each repetition: the same plan is
played on the true classes of its frame, as it is and with all of the risk spent on its steps.
With --kept every repetition is written to a file as it comes, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import beta, binom

from benchmarks.guarantees import conformal_labels, pac_labels
from benchmarks.kept import Kept
from benchmarks.pools import FOLDER, Task, small_pool, with_copies
from benchmarks.report import Line, print_report
from curator.audits.audit import audit, begin
from curator.audits.certify import certify
from curator.audits.draw import drawn_again
from curator.audits.frame import Frame
from curator.audits.plan import AuditPlan, nested_plan
from curator.audits.planner import SPARE_SHARE
from curator.base.arrays import BoolArray
from curator.base.progress import SILENT
from curator.base.values import Decision
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import audit_answers, certificates, frames
from curator.catalogue.labels import record_decisions
from curator.catalogue.pool import read_pool
from curator.encoding.import_features import import_features
from curator.encoding.stored_rows import current_features
from curator.errors import DataError
from curator.rounds.neighbour_graph import pool_graph
from curator.rounds.run import run_rounds
from curator.simulation.policies import draw_labels
from curator.workspace import Workspace, create_workspace, open_workspace
from tests.support.audited import with_settings
from tests.support.filled import fill

RISK = 0.05
COPIES = 5
POOLS = 2
PLAYED = 200
"""Audits that are played on the true classes of each frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is played: a task, what is promised, who decides how much, and what goes wrong."""

    name: str
    task: str
    max_error: float
    seeds: int
    audit: int
    flipped: float = 0.0
    balanced: bool = False
    changed: Callable[[Task], Task] = lambda task: task


CONDITIONS = (
    Condition(
        name="footwear, 1%", task="footwear", max_error=0.01, seeds=200, audit=600
    ),
    Condition(
        name="upper-body garments, 3%", task="upper-body garments", max_error=0.03,
        seeds=200, audit=600,
    ),
    Condition(
        name="upper-body garments, 1%", task="upper-body garments", max_error=0.01,
        seeds=300, audit=1_200,
    ),
    Condition(
        name="T-shirt vs. shirt, 5%", task="T-shirt vs. shirt", max_error=0.05,
        seeds=400, audit=600,
    ),
    Condition(name="solar cells, 10%", task="solar cells", max_error=0.1, seeds=300, audit=300),
    Condition(name="3% positives, classes in proportion, 1%", task="3% positives", max_error=0.01,
        seeds=600, audit=800, balanced=True,
    ),
    Condition(
        name="upper-body garments, five near-copies of each, 3%", task="upper-body garments",
        max_error=0.03, seeds=200, audit=600, changed=lambda task: with_copies(task, COPIES, 0),
    ),
    Condition(
        name="upper-body garments, 10% of seeds flipped, 3%", task="upper-body garments",
        max_error=0.03, seeds=200, audit=600, flipped=0.1,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A workspace with features and without labels, and the true class of each image."""

    root: Path
    truth: Mapping[int, bool]


def prepare(task: Task, root: Path) -> Prepared:
    """A workspace with the features of a task, its neighbour graph, and no label."""
    photos = root.with_name(f"{root.name}-photos")
    photos.mkdir(parents=True)
    workspace = create_workspace(root, positive="good", negative="bad", recipe=None)
    names = [f"{number:05d}.png" for number in range(len(task.truth))]
    ids = list(fill(workspace, photos, names).values())
    array, index = photos / "features.npy", photos / "index.csv"
    np.save(array, task.features.astype(np.float32))
    index.write_text("path\n" + "".join(f"{photos / name}\n" for name in names))
    import_features(workspace, name="pool", array=array, index=index)
    workspace = adapted(workspace)
    features = current_features(workspace)
    assert features is not None
    pool = read_pool(workspace.catalogue, features.feature_set_id)
    pool_graph(workspace.folder("graphs"), features, pool, 1, SILENT)
    workspace.catalogue.close()
    return Prepared(root=root, truth=dict(zip(ids, task.truth.tolist(), strict=True)))


def adapted(workspace: Workspace, seed: int = 0, **promotion: object) -> Workspace:
    """The settings of a new workspace, but for what a repetition needs."""
    return with_settings(
        workspace,
        classifier={"model": "features:pool", "imported_scale": "common"},
        promotion={"policy": "certified", **promotion},
        runtime={"threads": 1, "seed": seed},
        backup={"keep": 0, "every_hours": 0.0},
    )


def one_repetition(
    condition: Condition, prepared: Prepared, repetition: int, copy: Path
) -> dict[str, Any]:
    """Seeds, a round, an audit and a certificate in a copy of a workspace, and the truth of it."""
    start, started = time.process_time(), time.perf_counter()
    shutil.copytree(prepared.root, copy)
    workspace = adapted(open_workspace(copy), repetition, max_error=condition.max_error)
    workspace = with_settings(
        workspace, audit={"ranking": "balanced" if condition.balanced else "plain"}
    )
    try:
        record_seeds(workspace, condition, prepared.truth, repetition)
        figures = play(workspace, condition, prepared.truth, repetition)
    finally:
        workspace.catalogue.close()
        shutil.rmtree(copy)
    seconds = {"processor": time.process_time() - start, "wall": time.perf_counter() - started}
    return figures | {"seconds": seconds}


def record_seeds(
    workspace: Workspace, condition: Condition, truth: Mapping[int, bool], repetition: int
) -> None:
    """Random seed labels, some of them wrong if the condition says so."""
    ids = np.array(sorted(truth))
    classes = np.array([truth[image] for image in ids.tolist()])
    generator = np.random.default_rng([repetition, 1])
    positions, said = draw_labels(classes, condition.seeds, condition.flipped, generator)
    decisions = [
        Decision(
            image_id=image,
            label=Label.POSITIVE if positive else Label.NEGATIVE,
            origin=Origin.SEED,
            method=Method.IMPORT,
        )
        for image, positive in zip(ids[positions].tolist(), said.tolist(), strict=True)
    ]
    record_decisions(workspace.catalogue, decisions, actor="person")


def play(
    workspace: Workspace, condition: Condition, truth: Mapping[int, bool], repetition: int
) -> dict[str, Any]:
    """A round, an audit, and what came of it; `issued` is False where no audit could be made."""
    nothing = {"issued": False, "false": False, "labels": condition.seeds, "certified": 0}
    try:
        for _ in run_rounds(workspace):
            pass
        audit(workspace, size=condition.audit, anyway=True)
    except DataError as error:
        return nothing | {"why": str(error).partition(".")[0]}
    record = begin(workspace)
    answer_all(workspace, truth)
    answers = audit_answers.answers_of(workspace.catalogue, record)
    frame, plan, _ = drawn_again(record, frames.frame_rows(workspace.catalogue, record.frame_id))
    wrong = frame.positive != np.array([truth[image] for image in frame.image_ids.tolist()])
    report = certify(workspace)
    ids, positive, _ = certificates.promoted_labels(workspace.catalogue)
    certificate = report.certificate
    mistaken = sum(
        truth[image] != label for image, label in zip(ids.tolist(), positive.tolist(), strict=True)
    )
    return nothing | {
        "pool": len(truth) - condition.seeds,
        "frame": len(frame),
        "promise": condition.max_error,
        "labels": condition.seeds + answers.answered,
        "issued": certificate is not None,
        "certified": certificate.certified if certificate else 0,
        "positive": int(positive.sum()) if certificate else 0,
        "wrong": mistaken if certificate else 0,
        "stated": certificate.wrong if certificate else 0,
        "false": certificate is not None and mistaken > certificate.wrong,
        "plan": plan.sample,
        "rescue": bool((answers.event_ids[answers.strata == len(plan.steps)] > 0).any()),
        "courses": courses(frame, plan, wrong, repetition),
        "others": others(frame, wrong, condition, repetition),
    }


def answer_all(workspace: Workspace, truth: Mapping[int, bool]) -> None:
    """Answer what the open audit asks, part by part, with the true classes."""
    while waiting := audit_answers.waiting_ids(workspace.catalogue, begin(workspace), size=None):
        decisions = [
            Decision(
                image_id=image,
                label=Label.POSITIVE if truth[image] else Label.NEGATIVE,
                origin=Origin.AUDIT,
                method=Method.BLIND,
            )
            for image in waiting
        ]
        record_decisions(workspace.catalogue, decisions, actor="auditor")


def courses(frame: Frame, plan: AuditPlan, wrong: BoolArray, seed: int) -> dict[str, Any]:
    """Means over audits of this frame, with the plan and with all of its risk spent on steps."""
    drawn = [step.drawn for step in plan.steps]
    plain = nested_plan(frame, plan.promise, plan.sizes.tolist(), drawn, spare=SPARE_SHARE)
    assert plain is not None
    generator = np.random.default_rng([seed, 2])
    return {"rescue": course(plan, wrong, generator), "none": course(plain, wrong, generator)}


def course(plan: AuditPlan, wrong: BoolArray, generator: np.random.Generator) -> dict[str, float]:
    """Mean answers, and shares that certify nothing and that certify falsely, of `PLAYED` audits.

    `wrong` is (images,): which labels of the frame are wrong.
    """
    bounds = [0, *plan.sizes.tolist()]
    by_stratum = [int(wrong[low:high].sum()) for low, high in itertools.pairwise(bounds)]
    inner = plan.rescue.size if plan.rescue else 0
    inner_wrong, first = int(wrong[:inner].sum()), plan.steps[0]
    # The first stratum: wrong and right ones inside the part of the rescue, and outside of it.
    parts = [inner_wrong, inner - inner_wrong, by_stratum[0] - inner_wrong]
    parts.append(first.size - sum(parts))
    drawn = generator.multivariate_hypergeometric(parts, first.drawn, size=PLAYED)
    found = [drawn[:, 0] + drawn[:, 2]]
    for number, (start, end, sample) in enumerate(plan.strata[1:], start=1):
        bad = by_stratum[number]
        found.append(generator.hypergeometric(bad, end - start - bad, sample, size=PLAYED))
    errors = np.cumsum(found, axis=0).T
    criticals = np.array([step.critical for step in plan.steps])
    passed = np.cumprod(errors <= criticals, axis=1).sum(axis=1)
    steps = np.array([0, *(step.drawn for step in plan.steps)])
    answers = steps[np.minimum(passed + 1, len(plan.steps))]
    last = np.maximum(passed - 1, 0)
    left = np.cumsum(by_stratum)[last] - errors[np.arange(PLAYED), last]
    allowed = np.array([step.allowed for step in plan.steps])
    false = (passed > 0) & (left > allowed[last])
    nothing = passed == 0
    if plan.rescue is not None:
        for audit_number in np.flatnonzero(nothing).tolist():
            in_part = int(drawn[audit_number, 0] + drawn[audit_number, 1])
            test = plan.rescue.test(in_part, plan.promise.max_error)
            bad = inner_wrong - int(drawn[audit_number, 0])
            again = int(generator.hypergeometric(bad, test.size - bad, test.drawn))
            answers[audit_number] += test.drawn
            nothing[audit_number] = again > test.critical
            false[audit_number] = again <= test.critical and bad - again > test.allowed
    return {
        "answers": float(answers.mean()),
        "nothing": float(nothing.mean()),
        "false": float(false.mean()),
    }


def others(
    frame: Frame, wrong: BoolArray, condition: Condition, seed: int
) -> dict[str, dict[str, float]]:
    """What other guarantees make of the same scores with as many random labels.

    Machine labels are a share of the frame. The wrong ones are a share of what each promise is
    about: of the whole frame for PAC labels, of the machine labels for conformal ones.
    """
    generator = np.random.default_rng([seed, 3])
    sample = generator.choice(len(frame), min(condition.audit, len(frame) // 2), replace=False)
    unseen = np.ones(len(frame), dtype=np.bool_)
    unseen[sample] = False
    pac = unseen & (np.arange(len(frame)) < pac_labels(wrong, sample, condition.max_error, RISK))
    conformal = conformal_labels(1 - frame.estimated_error, wrong, sample, condition.max_error)
    return {
        "PAC labels": {
            "machine": float(pac.mean()),
            "people": condition.seeds + len(frame) - int(pac.sum()),
            "wrong": float((wrong & pac).sum() / len(frame)),
        },
        "conformal labelling": {
            "machine": float(conformal.mean()),
            "people": condition.seeds + len(sample),
            "wrong": float((wrong & conformal).sum() / max(int(conformal.sum()), 1)),
        },
    }


def allowed(repetitions: int) -> int:
    """False certificates that chance alone explains; 1 time in 10,000 there are more."""
    return int(binom.ppf(0.9999, repetitions, RISK))


def interval(count: int, runs: int) -> tuple[float, float]:
    """The exact 95% interval of a share (Clopper and Pearson, 1934)."""
    low = float(beta.ppf(0.025, count, runs - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, runs - count)) if count < runs else 1.0
    return low, high


def main() -> None:
    """Play, print tables to stderr and JSON to stdout; fail if promises are broken too often."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--images", type=int, default=3_000, help="in each pool")
    parser.add_argument("--only", nargs="*", default=[], help="conditions whose names begin so")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    parser.add_argument("--kept", type=Path, help="a file that keeps what was measured")
    parser.add_argument("--show", action="store_true", help="only what --kept holds")
    arguments = parser.parse_args()
    kept = Kept(arguments.kept)
    conditions = [
        condition
        for condition in CONDITIONS
        if not arguments.only or condition.name.startswith(tuple(arguments.only))
    ]
    found: dict[str, list[dict[str, Any]]] = {condition.name: [] for condition in conditions}
    with tempfile.TemporaryDirectory() as folder:
        prepared: dict[tuple[str, Any, int], Prepared] = {}

        def measure(condition: Condition, repetition: int) -> dict[str, Any]:
            key = (condition.task, condition.changed, repetition % POOLS)
            if key not in prepared:
                pool = small_pool(arguments.folder, condition.task, arguments.images, key[2])
                root = Path(folder) / str(len(prepared))
                prepared[key] = prepare(condition.changed(pool), root)
            return one_repetition(condition, prepared[key], repetition, Path(folder) / "copy")

        # One repetition of each condition after the other: what is cut off has as many of all.
        for repetition in range(arguments.repetitions):
            for condition in conditions:
                asked = {
                    "condition": condition.name,
                    "images": arguments.images,
                    "repetition": repetition,
                }
                if not arguments.show or kept.has(asked):
                    figures = kept.figures(asked, partial(measure, condition, repetition))
                    found[condition.name].append(figures)
    show(conditions, found)
    details = {name: summary(runs) for name, runs in found.items() if runs}
    lines = [
        Line(
            name=name, median=each["false"] / each["n"], unit="false", n=each["n"],
            ratio=each["false"] / each["n"] / RISK, beside="risk 0.05",
        )
        for name, each in details.items()
    ]  # fmt: skip
    print_report("certificates", lines, details)
    broken = [name for name, each in details.items() if each["false"] > allowed(each["n"])]
    if broken:
        raise SystemExit(f"promises broken too often: {', '.join(broken)}")


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What came of the repetitions of one condition."""
    issued = [run for run in runs if run["issued"]]
    planned = [run for run in runs if "courses" in run]
    false = sum(run["false"] for run in runs)

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    def played(kind: str, what: str) -> float | None:
        return mean([run["courses"][kind][what] for run in planned])

    def other(method: str) -> dict[str, float | None]:
        each = [run["others"][method] for run in planned]
        return {what: mean([one[what] for one in each]) for what in ("machine", "people", "wrong")}

    return {
        "n": len(runs),
        "planned": len(planned),
        "issued": len(issued),
        "false": false,
        "interval": interval(false, len(runs)),
        "labels": mean([run["labels"] for run in runs]),
        "coverage": mean(
            [run["certified"] / run["pool"] if "pool" in run else 0.0 for run in runs]
        ),
        "of_frame": mean([run["certified"] / run["frame"] for run in planned]),
        "wrong": mean([run["wrong"] / run["certified"] for run in issued]),
        "rescues": sum(run["rescue"] for run in planned),
        "rescued": sum(run["rescue"] and run["issued"] for run in planned),
        "sample": mean([run["plan"] for run in planned]),
        "answers": played("rescue", "answers"),
        "answers_without": played("none", "answers"),
        "nothing": played("rescue", "nothing"),
        "nothing_without": played("none", "nothing"),
        "false_played": played("rescue", "false"),
        "others": {method: other(method) for method in ("PAC labels", "conformal labelling")},
        "others_broken": {
            method: sum(run["others"][method]["wrong"] > run["promise"] for run in planned)
            for method in ("PAC labels", "conformal labelling")
        },
        "seconds": mean([run["seconds"]["processor"] for run in runs]),
    }


def show(conditions: Sequence[Condition], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Three tables on stderr: certificates, rescue and order of strata, other guarantees."""
    false = Table(
        "condition", "issued", "false", "95% interval", "labels", "coverage", "wrong", "s"
    )
    rescue = Table(
        "condition", "sample", "inside out", "with the rescue", "nothing", "with the rescue"
    )
    methods = Table("condition", "method", "people", "machine", "wrong", "broken")
    for condition in conditions:
        if not found[condition.name]:
            continue
        each = summary(found[condition.name])
        low, high = each["interval"]
        false.add_row(
            condition.name,
            f"{each['issued']} of {each['n']}",
            str(each["false"]),
            f"{low:.1%} to {high:.1%}",
            f"{each['labels']:,.0f}",
            f"{each['coverage']:.1%}",
            "" if each["wrong"] is None else f"{each['wrong']:.2%}",
            f"{each['seconds']:.2f}",
        )
        if not each["planned"]:
            continue
        rescue.add_row(
            condition.name,
            f"{each['sample']:,.0f}",
            f"{each['answers_without'] / each['sample']:.1%}",
            f"{each['answers'] / each['sample']:.1%}",
            f"{each['nothing_without']:.1%}",
            f"{each['nothing']:.1%}",
        )
        methods.add_row(
            condition.name, "certificate", f"{each['labels']:,.0f}", f"{each['of_frame']:.1%}",
            "" if each["wrong"] is None else f"{each['wrong']:.2%}", str(each["false"]),
        )  # fmt: skip
        for method, figures in each["others"].items():
            methods.add_row(
                "", method, f"{figures['people']:,.0f}", f"{figures['machine']:.1%}",
                f"{figures['wrong']:.2%}", str(each["others_broken"][method]),
            )  # fmt: skip
    for table in (false, rescue, methods):
        Console(stderr=True, width=120).print(table)


if __name__ == "__main__":
    main()
