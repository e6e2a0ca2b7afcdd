"""What the shell offers when the Tab key is pressed after `curator ...`.

Completion must be quick and must never fail: nothing here opens a catalogue.
"""

from __future__ import annotations


def recipe_names(incomplete: str) -> list[str]:
    """The recipes that come with curator."""
    from curator.base.files import resource_folder

    files = resource_folder("seeds").glob("*/curator.toml")
    return sorted(file.parent.name for file in files if file.parent.name.startswith(incomplete))


def setting_keys(incomplete: str) -> list[tuple[str, str]]:
    """The dotted keys of all settings, each with its documentation."""
    from curator.settings import file as settings_file

    return [
        (key, settings_file.describe_setting(key).meaning)
        for key in settings_file.setting_keys()
        if key.startswith(incomplete)
    ]


def queue_names(incomplete: str) -> list[tuple[str, str]]:
    """The queues, each with what it is for."""
    from curator.review.queues import QUEUES

    return [(name, text) for name, text in QUEUES.items() if name.startswith(incomplete)]
