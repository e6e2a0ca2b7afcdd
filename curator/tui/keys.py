"""Key bindings, made from the one list of actions."""

from __future__ import annotations

from collections.abc import Mapping

from textual.binding import Binding, BindingType

from curator.settings.keys import ACTIONS, KeyAction, ScreenName, find_action, key_sign


def bindings_for(place: ScreenName) -> list[BindingType]:
    """The bindings of a screen; a user's own keys are laid over them by their ids."""
    bindings: list[BindingType] = []
    for action in ACTIONS:
        if place not in action.places or action.name == "palette":
            continue
        if action.name == "reason":
            bindings += [
                Binding(key, f"reason({key})", action.label, show=False, id=f"reason-{key}")
                for key in action.keys
            ]
        else:
            keys = ",".join(action.keys)
            bindings.append(Binding(keys, action.name, action.label, show=False, id=action.name))
    return bindings


def keymap(chosen: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """A user's keys as Textual takes them: binding id and keys with commas."""
    return {name: ",".join(keys) for name, keys in chosen.items() if keys != find_action(name).keys}


def shown_keys(action: KeyAction, chosen: Mapping[str, tuple[str, ...]]) -> str:
    """The keys of an action as a person reads them."""
    if action.name == "reason":
        return "1-9"
    return " ".join(key_sign(key) for key in chosen[action.name])
