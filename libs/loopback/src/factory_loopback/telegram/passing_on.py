"""Messages that are passed on: forwarded with where they come from, or copied as if they were the bot's own."""

from factory_loopback.errors import BotApiError

from .chats import Posted
from .methods import MEDIA, SENDING, Context, Wire, builds, caption, own_part, post

SERVICE = ("forum_topic_created", "forum_topic_edited", "forum_topic_closed", "forum_topic_reopened")


@builds("forwardMessage", "chat_id message_thread_id from_chat_id message_id disable_notification protect_content")
async def forward_message(call: Context) -> Wire:
    source = _source(call, "forward")
    origin = {"type": "user", "date": source.wire["date"], "sender_user": source.wire["from"]}
    return post(call, {**_content(source), "forward_origin": source.wire.get("forward_origin", origin)})


@builds("copyMessage", SENDING + "from_chat_id message_id caption parse_mode caption_entities")
async def copy_message(call: Context) -> Wire:
    source = _source(call, "copy")
    content = _content(source)
    if "caption" in call.args and any(kind in content for kind in MEDIA):
        content = {k: v for k, v in content.items() if k not in ("caption", "caption_entities")} | caption(call.args)
    return {"message_id": post(call, content | own_part(call.args))["message_id"]}


def _source(call: Context, what: str) -> Posted:
    call.chats.chat(call.args["chat_id"])  # where to: looked at first, as Telegram does
    source = call.chats.message(call.chats.chat(call.args["from_chat_id"]).id, call.args["message_id"])
    if not source:
        raise BotApiError(400, f"Bad Request: message to {what} not found")
    if source.wire.get("has_protected_content") or any(part in source.wire for part in SERVICE):
        raise BotApiError(400, f"Bad Request: message can't be {'forwarded' if what == 'forward' else 'copied'}")
    return source


def _content(source: Posted) -> Wire:
    """What it says, without its keyboard, its thread and its past."""
    left = {"message_id", "date", "from", "reply_markup", "message_thread_id", "is_topic_message", "edit_date"}
    left |= {"media_group_id", "forward_origin"}
    return {key: value for key, value in source.wire.items() if key not in left}
