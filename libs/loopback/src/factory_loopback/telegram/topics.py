"""The topics of a forum: each is a thread that begins with a message of its own, whose id is the thread's.

https://core.telegram.org/bots/api#createforumtopic. What is known of a topic is what its service messages say.
"""

from factory_loopback.errors import BotApiError

from .chats import Chat, Posted
from .methods import Context, Wire, builds

BLUE = 7322096  # the first of the six colours that an icon may have
COLOURS = (BLUE, 16766590, 13338331, 9367192, 16749490, 16478047)


@builds("createForumTopic", "chat_id name icon_color")
async def create_forum_topic(call: Context) -> Wire:
    chat, colour = _forum(call), call.args.get("icon_color") or BLUE
    if colour not in COLOURS:
        raise BotApiError(400, "Bad Request: invalid forum topic icon color specified")
    topic = {"name": _name(call.args["name"]), "icon_color": colour}
    posted = _say(call, chat, chat.last_id + 1, {"forum_topic_created": topic})
    return {"message_thread_id": posted.message_id, **topic}


@builds("editForumTopic", "chat_id message_thread_id name")
async def edit_forum_topic(call: Context) -> bool:
    chat, thread = _forum(call), _messages(call)
    name = _name(call.args.get("name") or "")
    if name == _name_of(thread):
        raise BotApiError(400, "Bad Request: TOPIC_NOT_MODIFIED")
    _say(call, chat, call.args["message_thread_id"], {"forum_topic_edited": {"name": name}})
    return True


@builds("closeForumTopic", "chat_id message_thread_id")
async def close_forum_topic(call: Context) -> bool:
    return _opened(call, False)


@builds("reopenForumTopic", "chat_id message_thread_id")
async def reopen_forum_topic(call: Context) -> bool:
    return _opened(call, True)


@builds("deleteForumTopic", "chat_id message_thread_id")
async def delete_forum_topic(call: Context) -> bool:
    _forum(call)
    for posted in _messages(call):
        call.chats.delete(posted)
    return True


def _opened(call: Context, wanted: bool) -> bool:
    chat, thread = _forum(call), _messages(call)
    turns = [p for p in thread if {"forum_topic_closed", "forum_topic_reopened"} & set(p.wire)]
    if wanted is (not turns or "forum_topic_reopened" in turns[-1].wire):
        raise BotApiError(400, "Bad Request: TOPIC_NOT_MODIFIED")
    turn = "forum_topic_reopened" if wanted else "forum_topic_closed"
    _say(call, chat, call.args["message_thread_id"], {turn: {}})
    return True


def _forum(call: Context) -> Chat:
    if not call.chat.forum:
        raise BotApiError(400, "Bad Request: the chat is not a forum")
    return call.chat


def _messages(call: Context) -> list[Posted]:
    thread = call.args["message_thread_id"]
    found = [p for p in call.chats.shown(call.chat.id) if p.wire.get("message_thread_id") == thread]
    if not found:
        raise BotApiError(400, "Bad Request: message thread not found")
    return found


def _name_of(thread: list[Posted]) -> str:
    named = [p.wire.get("forum_topic_edited") or p.wire.get("forum_topic_created") or {} for p in thread]
    return next((facts["name"] for facts in reversed(named) if facts.get("name")), "")


def _name(name: str) -> str:
    if not 1 <= len(name) <= 128:
        raise BotApiError(400, "Bad Request: topic name must be 1-128 characters long")
    return name


def _say(call: Context, chat: Chat, thread: int, content: Wire) -> Posted:
    return call.chats.post(
        chat, call.chats.bot, {"message_thread_id": thread, "is_topic_message": True, **content}, silent=True
    )
