"""`simulate`: settings tried out on known labels before people decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from curator.base.text import count, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, path_argument, value
from curator.cli.output import emit, emit_json, shown, table
from curator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from curator.settings.sections import ClassesSettings
    from curator.simulation.simulate import Simulation
    from curator.simulation.summary import SimulationOutcome

INTERRUPTED = 130

Value = TypeVar("Value", int, float)


def simulate(
    context: typer.Context,
    truth: Annotated[Path, path_argument("TRUTH.csv", "Columns: path or sha256, and label.")],
    seeds: Annotated[
        str, value("N,N...", "How many images people label at first.")
    ] = "100,200,400",
    policy: Annotated[
        str, value("NAME,NAME...", "raw, calibrated (thresholds on these scores), certified.")
    ] = "raw,calibrated,certified",
    max_error: Annotated[
        str, value("E,E...", "Error rates that certificates bound.")
    ] = "0.01,0.03",
    decisions: Annotated[
        int | None,
        value("N", "All decisions, seeds and audit; without it each audit takes as many as pay."),
    ] = None,
    features: Annotated[
        list[str] | None, value("NAME", "Features to use; repeatable; or `all`.")
    ] = None,
    rounds: Annotated[str, value("N,N...", "After how many rounds.")] = "1",
    flipped: Annotated[float, value("SHARE", "Share of seeds that are labelled wrongly.")] = 0.0,
    slips: Annotated[float, value("SHARE", "Share of audit answers that are wrong.")] = 0.0,
    informative: Annotated[
        bool,
        typer.Option(
            "--informative", help="Draw the second half of the seeds as `queue informative` does."
        ),
    ] = False,
    repetitions: Annotated[int, value("N", "Repetitions of each combination.", min=1)] = 20,
    json: AsJson = False,
) -> None:
    """Simulate the whole process with known labels, many times, to compare settings.

    Every combination of seeds, policy, promise, features and rounds is simulated on the images
    of TRUTH.csv, with the settings of this workspace: coverage, true error, decisions, how
    often a certificate was issued and how often it was false. No label of the workspace is
    touched. Interrupted, it prints what is finished; run again, it goes on.

    Example: curator simulate truth.csv --seeds 200,500 --max-error 0.01 --repetitions 50

    Example: curator simulate truth.csv --decisions 800 --flipped 0.1 --slips 0.01
    """
    from curator.simulation.simulate import SimulationRequest
    from curator.simulation.simulate import simulate as workflow

    request = SimulationRequest(
        seeds=_numbers("--seeds", seeds, int),
        policies=tuple(name.strip() for name in policy.split(",") if name.strip()),
        max_errors=_numbers("--max-error", max_error, float),
        decisions=decisions,
        features=tuple(features or ()),
        rounds=_numbers("--rounds", rounds, int),
        flipped=flipped,
        slips=slips,
        informative=informative,
        repetitions=repetitions,
    )
    call = invocation(context)
    with call.workspace() as workspace:
        simulation = workflow(workspace, truth, request, progress=call.progress())
        names = workspace.settings.classes
    if json:
        emit_json(simulation)
    else:
        emit("\n".join(_report(simulation, names)))
    if not simulation.finished:
        call.say("Interrupted. The same command goes on from here.")
        raise typer.Exit(INTERRUPTED)


def _numbers(option: str, text: str, kind: Callable[[str], Value]) -> tuple[Value, ...]:
    try:
        return tuple(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(
            f"{option} `{shown(text)}` is not a list of numbers.",
            f"Write them with commas: {option} {'100,200' if kind is int else '0.01,0.03'}",
        ) from None


def _report(simulation: Simulation, names: ClassesSettings) -> Iterator[str]:
    yield (
        f"{count(simulation.images, 'image')} with known labels,"
        f" {percent(simulation.positive / simulation.images)} {shown(names.positive)}."
    )
    for number, what in (
        (simulation.without_truth, "of the workspace that the file does not label"),
        (simulation.unknown, "in the file that the workspace does not have"),
        (simulation.unsure, "in the file marked unsure"),
    ):
        if number:
            yield f"  left out: {count(number, 'image')} {what}"
    yield ""
    several = len({row.setting.features for row in simulation.rows}) > 1
    repeated = len({row.setting.rounds for row in simulation.rows}) > 1
    header = ["policy", "seeds", "decisions", "coverage", "10-90%", "error"]
    header += [f"in {shown(names.positive)}", f"in {shown(names.negative)}"]
    header += ["issued", "false", "of oracle", "seconds"]
    header[1:1] = ["features"] * several + ["rounds"] * repeated
    yield table(header, [_cells(row, several, repeated) for row in simulation.rows])
    repetitions = min(row.repetitions for row in simulation.rows)
    yield ""
    yield (
        f"Means of {repetitions:,} repetitions each (seconds: the median). Error is the true share"
        f" of promoted labels that is wrong, also in those that say {shown(names.positive)} or"
        f" {shown(names.negative)} alone; `of oracle` compares with somebody who knows where"
        " to cut this ranking."
    )
    yield ""
    yield simulation.advice
    yield f"Plot: {shown(simulation.plot)}"


def _cells(row: SimulationOutcome, several: bool, repeated: bool) -> list[object]:
    setting = row.setting
    certified = setting.max_error is not None
    cells: list[object] = [
        f"{setting.policy} {setting.max_error:.3g}" if certified else setting.policy,
        setting.seeds,
        f"{row.decisions:,.0f}",
        percent(row.coverage),
        f"{row.low:.0%}-{row.high:.0%}",
        percent(row.error, 2),
        percent(row.positive_error, 2),
        percent(row.negative_error, 2),
        percent(row.issued, 0) if certified else "-",
        percent(row.false, 0) if certified else "-",
        percent(row.of_oracle, 0) if certified else "-",
        f"{row.seconds:.1f}",
    ]
    cells[1:1] = [shown(setting.features)] * several + [setting.rounds] * repeated
    return cells
