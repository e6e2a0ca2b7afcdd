"""The settings of a workspace with their values, defaults and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curator.base.text import count
from curator.base.vocabulary import CurrentLabel
from curator.settings.file import (
    FILE_NAME,
    SettingDescription,
    as_toml,
    change_settings,
    describe_setting,
    parse_settings,
    read_settings,
    read_settings_text,
    setting_keys,
    value_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingValue(SettingDescription):
    """One setting of a workspace with what it is there, written as TOML."""

    value: str


def check_model(root: Path) -> None:
    """Raises LearnError unless the model that the settings name exists.

    Imported features, code of the workspace and weights of one's own are checked where they are
    used: they may come later.
    """
    classifier = read_settings(root / FILE_NAME).classifier
    if ":" in classifier.model or classifier.weights:
        return
    # Loading it makes the small networks of the recipes known to timm.
    import curator.classifiers.networks.small_networks  # noqa: F401
    from curator.classifiers.encoders import timm_models

    timm_models.check_model(classifier.model)


def renamed_classes(root: Path, changes: Mapping[str, str]) -> list[str]:
    """What images are called if `changes` rename classes, a sentence for each class.

    Raises CatalogueError if a class would get the name of the other one while images have labels.
    """
    from curator.catalogue.counts import counts
    from curator.workspace import open_workspace

    path = root / FILE_NAME
    before = read_settings(path).classes
    settings = parse_settings(
        change_settings(read_settings_text(path), changes, str(path)), str(path)
    )
    after = settings.classes
    with open_workspace(root, settings=settings).catalogue as catalogue:
        labels = counts(catalogue).labels
    sentences = []
    for side in (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE):
        former, name, number = (
            before.name_of(side), after.name_of(side), sum(labels.get(side, {}).values())
        )  # fmt: skip
        if former != name and any(labels.values()):
            sentences.append(
                f"`{name}` is the name of the {side} class now, in place of `{former}`:"
                f" {count(number, 'image')}."
            )
    return sentences


def show_settings(root: Path, keys: Sequence[str] = ()) -> list[SettingValue]:
    """The settings of the workspace in `root`: those of `keys`, a section's, or all.

    Raises SettingsError if a key is neither a setting nor a section, naming the nearest.
    """
    settings = read_settings(root / FILE_NAME)
    rows = []
    for name in keys or [""]:
        section = [key for key in setting_keys() if not name or key.startswith(f"{name}.")]
        for key in section or [name]:
            value = as_toml(value_of(settings, key))
            rows.append(SettingValue(value=value, **asdict(describe_setting(key))))
    return rows
