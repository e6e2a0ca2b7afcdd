"""Commands that start a workspace and settle its settings: `init`, `config`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.files import replacing
from curator.cli.invocation import invocation
from curator.cli.options import (
    AsJson,
    argument,
    complete_recipe,
    complete_setting,
    path_argument,
    value,
)
from curator.cli.output import emit, emit_json, shown, strong
from curator.errors import LearnError, UsageError

if TYPE_CHECKING:
    from curator.settings.sections import ClassesSettings


def init(
    context: typer.Context,
    folder: Annotated[Path, path_argument("DIR", "Created if it does not exist.")],
    positive: Annotated[
        str | None, typer.Option(help="Your name for the class to keep.", show_default="good")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="Your name for the other class.", show_default="bad")
    ] = None,
    recipe: Annotated[
        str | None,
        value(
            "NAME",
            "Start with the settings of a recipe; without a name: list the recipes.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    deliver: Annotated[
        str | None,
        value(
            "CLASS|both|each",
            "The class that you deliver, or both: bounded together, or each by itself.",
            show_default="both",
        ),
    ] = None,
    catalogue: Annotated[
        str,
        value(
            "URL",
            "Keep the catalogue in this empty database: postgresql+psycopg://HOST/DATABASE.",
            show_default="a file in the workspace",
        ),
    ] = "",
) -> None:
    """Make a workspace: a folder with its settings and its catalogue.

    The images themselves may lie anywhere; they are only ever read. In a terminal it asks
    what you will deliver; `curator config classes.deliver=positive` changes that.

    Example: curator init faces --positive face --negative other --deliver face
    """
    from curator.settings.file import write_settings
    from curator.workspace import create_workspace, delivered_side

    workspace = create_workspace(
        folder,
        positive=positive,
        negative=negative,
        recipe=recipe,
        deliver=deliver,
        catalogue_url=catalogue,
    )
    call = invocation(context)
    if deliver is None and sys.stdin.isatty() and sys.stderr.isatty() and not call.quiet:
        deliver = _asked_delivery(workspace.settings.classes)
        if deliver != "both":
            side = delivered_side(workspace.settings.classes, deliver)
            write_settings(workspace.root, {"classes.deliver": side})
    with workspace.catalogue:
        for warning in workspace.catalogue.warnings:
            call.say(warning)
        classes = workspace.settings.classes
        call.say(
            f"{workspace.root} is a workspace for `{classes.positive}` and `{classes.negative}`."
        )
        call.next_step = f"Add images: {shlex.join(['curator', '-w', str(folder), 'add'])} PATH"


def _asked_delivery(classes: ClassesSettings) -> str:
    """What a person wants to deliver; both classes if they do not say."""
    names = list(dict.fromkeys([classes.positive, classes.negative, "both", "each"]))
    question = (
        "What will you deliver? An audit of one class costs less, and certifies it alone;"
        f" `each` takes two, and bounds each class by itself ({', '.join(names)})"
    )
    try:
        # Typer brings a click of its own, which refuses the choices of another.
        while (
            answer := str(typer.prompt(question, default="both", err=True)).strip()
        ) not in names:
            typer.echo(f"`{answer}` is not one of {', '.join(names)}.", err=True)
    except typer.Abort:
        return "both"
    return answer


def config(
    context: typer.Context,
    settings: Annotated[
        list[str] | None,
        argument(
            "[KEY | KEY=VALUE]...",
            "A setting or a section to show, or a setting to change.",
            autocompletion=complete_setting,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show settings, or change them in curator.toml with its comments kept.

    A change of `duplicates` takes effect at once: near-duplicates are grouped again.

    Examples: curator config promotion; curator config promotion.promote_above=0.98
    """
    from curator.cli.intake import dissolved_groups, near_duplicates
    from curator.maintenance.config import check_model, renamed_classes, show_settings
    from curator.settings.file import (
        FILE_NAME,
        read_settings_text,
        section_models,
        setting_keys,
        write_settings,
    )

    call = invocation(context)
    root = call.root()
    arguments = settings or []
    changes = dict(entry.split("=", 1) for entry in arguments if "=" in entry)
    keys = [entry for entry in arguments if "=" not in entry]
    if changes and keys:
        raise UsageError(
            f"`{keys[0]}` has no value, and the other arguments change settings.",
            "To change a setting write KEY=VALUE, without spaces; show it with another command.",
        )
    all_keys = set(setting_keys())
    if len(keys) == 2 and keys[0] in all_keys and keys[1] not in all_keys | set(section_models()):
        raise UsageError(
            f"`{keys[1]}` is not a setting.",
            f"To change {keys[0]} write `curator config {shlex.join(['='.join(keys)])}`.",
        )
    renamed: list[str] = []
    if changes:
        read_settings_text(root / FILE_NAME)  # says why it cannot be read
        if {"classes.positive", "classes.negative"} & changes.keys():
            renamed = renamed_classes(root, changes)
        before = (root / FILE_NAME).read_bytes()
        write_settings(root, changes)
        if "classifier.model" in changes:
            try:
                check_model(root)
            except LearnError:
                with replacing(root / FILE_NAME) as stream:
                    stream.write(before)
                raise
    if "runtime.ray_address" in changes:
        from curator.runtime.ray_cluster import trust_cluster

        trust_cluster(changes["runtime.ray_address"])
    near = None
    if any(key.startswith("duplicates.") for key in changes):
        from curator.intake.near_duplicates import regroup

        # At once: whoever changes these wants other groups, not a surprise at the next round.
        with call.workspace() as workspace:
            near = regroup(workspace, progress=call.progress())
    rows = show_settings(root, list(changes) or keys)
    if json:
        emit_json(rows)
        return
    for row in rows:
        line = f"{row.key} = {row.value}"
        emit(strong(shown(line)) if row.value != row.default else shown(line))
        if keys or changes:
            emit(f"    {row.meaning} Takes {row.values}; default {row.default}.")
    for sentence in renamed:
        emit(shown(sentence))
    if near is not None:
        emit(near_duplicates(near.images, near.groups))
        if near.dissolved:
            emit(dissolved_groups(near.dissolved))
