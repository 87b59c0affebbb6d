"""The bot's hand: which buttons it lays out how, and what a broken configuration is told."""

from pathlib import Path

import pytest
from factory_chassis import settings as chassis_settings
from factory_notifier.app import build_app
from factory_notifier.chat import _keyboard, _reply
from factory_notifier.settings import Settings
from factory_telegram.words import Button, Wanted


def test_buttons_come_in_rows_of_three():
    """Those with a link open it, the others send their data."""
    buttons = (*(Button(f"b{n}", data=f"v1:j:a:{n}") for n in range(4)), Button("open", url="https://f.example"))
    keyboard = _keyboard(Wanted(kind="status", text="x", buttons=buttons))

    assert keyboard is not None
    assert [[b.text for b in row] for row in keyboard.inline_keyboard] == [["b0", "b1", "b2"], ["b3", "open"]]
    last = keyboard.inline_keyboard[1][1]
    assert (last.url, last.callback_data) == ("https://f.example", None)
    assert keyboard.inline_keyboard[0][0].callback_data == "v1:j:a:0"
    assert _keyboard(Wanted(kind="status", text="x")) is None


def test_a_reply_to_a_message_that_is_gone_is_still_sent():
    """The chat is told all the same."""
    reply = _reply(7)
    assert reply is not None and reply.allow_sending_without_reply
    assert _reply(None) is None


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "FACTORY_TELEGRAM_TOKEN: notifier needs the bot's token"),
        ({"FACTORY_TELEGRAM_TOKEN": "42:x", "FACTORY_EDIT_EVERY": "-1"}, "FACTORY_EDIT_EVERY: "),
    ],
)
def test_a_broken_configuration_names_the_variable(environ: dict[str, str], problem: str, tmp_path: Path):
    """Before anything is connected."""
    with pytest.raises(chassis_settings.BadSettings) as e:
        build_app(chassis_settings.read(Settings, environ | {"FACTORY_NODE_DIR": str(tmp_path)}))
    assert any(p.startswith(problem) for p in e.value.problems), e.value.problems
