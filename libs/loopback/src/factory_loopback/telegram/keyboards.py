"""Keyboards: inline ones stand under their message, all others are the chat's own and are shown to people only."""

from typing import Any

from factory_loopback.errors import BotApiError, NotBuilt

from .entities import checked_link

Wire = dict[str, Any]

CALLBACK_LIMIT = 64  # bytes
OF_A_REPLY_KEYBOARD = {"keyboard", "is_persistent", "resize_keyboard", "one_time_keyboard"}
OF_ANY = {"input_field_placeholder", "selective"}


def inline(markup: Wire | None) -> Wire:
    """The part of a message that shows it; nothing where there is none or it is of another kind."""
    if not markup or "inline_keyboard" not in markup:
        return {}
    rows = [[_button(button) for button in row] for row in markup["inline_keyboard"] if row]
    return {"reply_markup": {"inline_keyboard": rows}} if rows else {}


def of_the_chat(markup: Wire | None) -> Wire | None:
    """A reply keyboard, its removal or a forced reply, as it was asked for; None where it is none of them."""
    if not markup or "inline_keyboard" in markup:
        return None
    kind = next((k for k in ("keyboard", "remove_keyboard", "force_reply") if k in markup), "")
    known = OF_ANY | (OF_A_REPLY_KEYBOARD if kind == "keyboard" else {kind})
    if extra := sorted(key for key, value in markup.items() if value and key not in known):
        raise NotBuilt(f"reply_markup with {', '.join(extra)}")
    if kind == "keyboard":
        rows = [[_key(key) for key in row] for row in markup["keyboard"] if row]
        if not rows:
            raise BotApiError(400, "Bad Request: object expected as reply markup")
        return {**markup, "keyboard": rows}
    return markup


def _key(key: Wire | str) -> Wire:
    """A key says its text in the name of who presses it."""
    key = {"text": key} if isinstance(key, str) else key
    if asks := sorted(k for k, value in key.items() if value and k not in {"text", "style"}):
        raise NotBuilt(f"a key with {', '.join(asks)}")
    if not key["text"].strip():
        raise BotApiError(400, "Bad Request: keyboard button text must be non-empty")
    return key


def _button(button: Wire) -> Wire:
    acts = set(button) - {"text", "style", "icon_custom_emoji_id"}
    if not acts:
        words = "Text buttons are unallowed in the inline keyboard"
        raise BotApiError(400, f"Bad Request: can't parse inline keyboard button: {words}")
    if len(acts) > 1 or not acts <= {"callback_data", "url", "copy_text"}:
        raise NotBuilt(f"a button with {', '.join(sorted(acts))}")
    if not 1 <= len(button.get("callback_data", "-").encode()) <= CALLBACK_LIMIT:
        raise BotApiError(400, "Bad Request: BUTTON_DATA_INVALID")
    if "url" in button:
        link = checked_link(button["url"])
        if not link:
            raise BotApiError(
                400, f"Bad Request: inline keyboard button URL '{button['url']}' is invalid: Wrong HTTP URL"
            )
        return {**button, "url": link}
    return button
