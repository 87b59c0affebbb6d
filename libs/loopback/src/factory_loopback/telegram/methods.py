"""The methods of the Bot API that are built here, each with the parameters that it honours; anything else answers 501.

Refusals carry Telegram's own words, as far as they are known, because bots look at them.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from factory_loopback.errors import BotApiError, NotBuilt

from .chats import Chat, Chats, Posted
from .entities import formatted, units
from .files import DOWNLOAD_LIMIT, PHOTO_LIMIT, THUMBNAIL_LIMIT, KeptFile, Upload, image_size, is_jpeg, is_mp4
from .keyboards import inline, of_the_chat
from .spec import ATTACHED

Wire = dict[str, Any]

TEXT_LIMIT, CAPTION_LIMIT = 4096, 1024
MEDIA = ("photo", "video", "animation", "document")
POLL_LIMIT = 50  # seconds

# The only emoji that a bot may react with (https://core.telegram.org/bots/api#reactiontypeemoji); ✅ is none of them.
REACTIONS = frozenset(
    (
        "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 "
        "🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 "
        "🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡 "
    ).split()
)


@dataclass
class Context:
    """One call: the chats it works on, its decoded arguments, the files that came with it."""

    chats: Chats
    args: Wire
    uploads: dict[str, Upload]

    @property
    def chat(self) -> Chat:
        return self.chats.chat(self.args["chat_id"])


Handler = Callable[[Context], Awaitable[Any]]


@dataclass(frozen=True)
class Method:
    """A built method and the parameters that it honours."""

    handler: Handler
    parameters: frozenset[str]


METHODS: dict[str, Method] = {}


def builds(name: str, parameters: str = "") -> Callable[[Handler], Handler]:
    """Declares that the function builds the method `name` with these parameters (blank-separated)."""

    def keep(handler: Handler) -> Handler:
        METHODS[name] = Method(handler, frozenset(parameters.split()))
        return handler

    return keep


async def carry_out(name: str, context: Context) -> Any:
    """The method's result; raises BotApiError where Telegram refuses, NotBuilt where it is not built."""
    method = METHODS.get(name)
    if not method:
        raise NotBuilt(name)
    for parameter, value in context.args.items():
        if parameter not in method.parameters and value not in (None, False, [], {}):
            raise NotBuilt(f"{name} with {parameter}")
    return await method.handler(context)


SENDING = "chat_id message_thread_id disable_notification protect_content reply_parameters reply_markup "


# The bot itself


@builds("getMe")
async def get_me(call: Context) -> Wire:
    can = {"can_join_groups": True, "can_read_all_group_messages": True, "supports_inline_queries": False}
    return {**call.chats.bot, **can}


@builds("getUpdates", "offset limit timeout allowed_updates")
async def get_updates(call: Context) -> list[Wire]:
    args = call.args
    if call.chats.webhook.hook.url:
        words = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
        raise BotApiError(409, f"Conflict: {words}")
    limit = min(max(args.get("limit") or 100, 1), 100)
    timeout = min(max(args.get("timeout") or 0, 0), POLL_LIMIT)
    return await call.chats.updates.get(args.get("offset") or 0, limit, timeout, args.get("allowed_updates"))


@builds("setWebhook", "url max_connections allowed_updates drop_pending_updates secret_token")
async def set_webhook(call: Context) -> bool:
    args = call.args
    secret, connections = args.get("secret_token") or "", args.get("max_connections") or 40
    call.chats.webhook.set(args["url"], secret, connections, args.get("allowed_updates"))
    if args.get("drop_pending_updates"):
        call.chats.updates.drop()
    return True


@builds("deleteWebhook", "drop_pending_updates")
async def delete_webhook(call: Context) -> bool:
    call.chats.webhook.set("", "", 40, None)
    if call.args.get("drop_pending_updates"):
        call.chats.updates.drop()
    return True


@builds("getWebhookInfo")
async def get_webhook_info(call: Context) -> Wire:
    return call.chats.webhook.info()


@builds("setMyCommands", "commands scope")
async def set_my_commands(call: Context) -> bool:
    commands = call.args["commands"]
    if len(commands) > 100:
        raise BotApiError(400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"].removeprefix("/")):
            raise BotApiError(400, "Bad Request: BOT_COMMAND_INVALID")
        if not 1 <= len(command["description"]) <= 256:
            raise BotApiError(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID")
    call.chats.set_commands(_scope(call), commands)
    return True


@builds("getMyCommands", "scope")
async def get_my_commands(call: Context) -> list[Wire]:
    return call.chats.scoped_commands(_scope(call))


@builds("deleteMyCommands", "scope")
async def delete_my_commands(call: Context) -> bool:
    call.chats.set_commands(_scope(call), [])
    return True


def _scope(call: Context) -> Wire:
    scope = call.args.get("scope") or {"type": "default"}
    return {**scope, "chat_id": call.chats.chat(scope["chat_id"]).id} if "chat_id" in scope else scope


# Texts


@builds("sendMessage", SENDING + "text parse_mode entities link_preview_options")
async def send_message(call: Context) -> Wire:
    return post(call, _text(call) | own_part(call.args))


@builds("editMessageText", "chat_id message_id text parse_mode entities link_preview_options reply_markup")
async def edit_message_text(call: Context) -> Wire:
    posted = _own(call)
    content = _text(call) | own_part(call.args)  # first, as Telegram does: a text that cannot be parsed is said as such
    if "text" not in posted.wire:
        raise BotApiError(400, "Bad Request: there is no text in the message to edit")
    return _edited(call, posted, {"entities": None, "reply_markup": None, "link_preview_options": None, **content})


@builds("editMessageCaption", "chat_id message_id caption parse_mode caption_entities reply_markup")
async def edit_message_caption(call: Context) -> Wire:
    posted = _own(call)
    content = caption(call.args) | own_part(call.args)
    if not any(kind in posted.wire for kind in MEDIA):
        raise BotApiError(400, "Bad Request: there is no caption in the message to edit")
    return _edited(call, posted, {"caption": None, "caption_entities": None, "reply_markup": None, **content})


@builds("editMessageMedia", "chat_id message_id media reply_markup")
async def edit_message_media(call: Context) -> Wire:
    """The file, the caption and the keyboard of a message that has a file; of an album it stays a photo or a video."""
    posted = _own(call)
    content = _item(call, call.args["media"]) | own_part(call.args)
    if not any(kind in posted.wire for kind in MEDIA):
        raise BotApiError(400, "Bad Request: there is no media in the message to edit")
    if "media_group_id" in posted.wire and ("document" in posted.wire) is not ("document" in content):
        raise NotBuilt("editMessageMedia of an album to another kind")
    bare = dict.fromkeys((*MEDIA, "caption", "caption_entities", "reply_markup"))
    return _edited(call, posted, {**bare, **content})


@builds("editMessageReplyMarkup", "chat_id message_id reply_markup")
async def edit_message_reply_markup(call: Context) -> Wire:
    return _edited(call, _own(call), {"reply_markup": None, **own_part(call.args)})


@builds("deleteMessage", "chat_id message_id")
async def delete_message(call: Context) -> bool:
    posted = call.chats.message(call.chat.id, call.args["message_id"])
    if not posted:
        raise BotApiError(400, "Bad Request: message to delete not found")
    call.chats.delete(posted)
    return True


@builds("deleteMessages", "chat_id message_ids")
async def delete_messages(call: Context) -> bool:
    """Those that are there; what is gone already is passed over."""
    if not 1 <= len(call.args["message_ids"]) <= 100:
        raise BotApiError(400, "Bad Request: too many message identifiers specified")
    for message_id in call.args["message_ids"]:
        if posted := call.chats.message(call.chat.id, message_id):
            call.chats.delete(posted)
    return True


# Files


@builds(
    "sendVideo",
    SENDING + "video duration width height thumbnail caption parse_mode caption_entities supports_streaming",
)
async def send_video(call: Context) -> Wire:
    return post(call, _video(call, call.args, "video") | caption(call.args) | own_part(call.args))


@builds("sendAnimation", SENDING + "animation duration width height thumbnail caption parse_mode caption_entities")
async def send_animation(call: Context) -> Wire:
    return post(call, _animation(call, call.args, "animation") | caption(call.args) | own_part(call.args))


@builds("sendPhoto", SENDING + "photo caption parse_mode caption_entities")
async def send_photo(call: Context) -> Wire:
    return post(call, _photo(call, call.args["photo"]) | caption(call.args) | own_part(call.args))


@builds(
    "sendDocument",
    SENDING + "document thumbnail caption parse_mode caption_entities disable_content_type_detection",
)
async def send_document(call: Context) -> Wire:
    return post(call, _document(call, call.args, "document") | caption(call.args) | own_part(call.args))


@builds("sendMediaGroup", "chat_id message_thread_id disable_notification protect_content reply_parameters media")
async def send_media_group(call: Context) -> list[Wire]:
    media = call.args["media"]
    kinds = {item["type"] for item in media}
    if not 2 <= len(media) <= 10:
        raise BotApiError(400, "Bad Request: wrong number of messages in an album: 2 to 10 are allowed")
    if len(kinds) > 1 and not kinds <= {"photo", "video"}:
        raise BotApiError(400, "Bad Request: documents and audio can't be mixed with other media in an album")
    contents = [_album_item(call, item) for item in media]  # all of them before the first is shown
    group = str(call.chat.last_id + 1).rjust(17, "1")
    return [post(call, {**content, "media_group_id": group}) for content in contents]


@builds("getFile", "file_id")
async def get_file(call: Context) -> Wire:
    kept = call.chats.files.by_id(call.args["file_id"])
    if kept.file_size > DOWNLOAD_LIMIT:
        raise BotApiError(400, "Bad Request: file is too big")
    return {**_sized(kept), "file_path": kept.path}


# Around the messages


@builds("answerCallbackQuery", "callback_query_id text show_alert url cache_time")
async def answer_callback_query(call: Context) -> bool:
    if units(call.args.get("text") or "") > 200:
        raise BotApiError(400, "Bad Request: MESSAGE_TOO_LONG")
    press = call.chats.presses.pop(call.args["callback_query_id"], None)
    if not press or press.done():
        words = "query is too old and response timeout expired or query ID is invalid"
        raise BotApiError(400, f"Bad Request: {words}")
    press.set_result(call.args)
    return True


@builds("setMessageReaction", "chat_id message_id reaction is_big")
async def set_message_reaction(call: Context) -> bool:
    posted = call.chats.message(call.chat.id, call.args["message_id"])
    if not posted:
        raise BotApiError(400, "Bad Request: message to react not found")
    reactions = call.args.get("reaction") or []
    if len(reactions) > 1:
        raise BotApiError(400, "Bad Request: REACTIONS_TOO_MANY")
    if any(r["type"] != "emoji" for r in reactions):
        raise NotBuilt("setMessageReaction with custom or paid reactions")
    if any(r["emoji"] not in REACTIONS for r in reactions):
        raise BotApiError(400, "Bad Request: REACTION_INVALID")
    posted.reactions[str(call.chats.bot["id"])] = [r["emoji"] for r in reactions]
    call.chats.save(posted)
    return True


@builds("pinChatMessage", "chat_id message_id disable_notification")
async def pin_chat_message(call: Context) -> bool:
    if not call.chats.message(call.chat.id, call.args["message_id"]):
        raise BotApiError(400, "Bad Request: message to pin not found")
    call.chats.pin(call.chat, call.args["message_id"])
    return True


@builds("unpinChatMessage", "chat_id message_id")
async def unpin_chat_message(call: Context) -> bool:
    """The one that is named, or the one that is pinned; a chat here has one at a time."""
    if call.chat.pinned is None or call.args.get("message_id") not in (None, call.chat.pinned):
        raise BotApiError(400, "Bad Request: message to unpin not found")
    call.chats.pin(call.chat, None)
    return True


@builds("unpinAllChatMessages", "chat_id")
async def unpin_all_chat_messages(call: Context) -> bool:
    call.chats.pin(call.chat, None)
    return True


@builds("sendChatAction", "chat_id message_thread_id action")
async def send_chat_action(call: Context) -> bool:
    known = "typing upload_photo record_video upload_video record_voice upload_voice upload_document choose_sticker "
    if call.args["action"] not in (known + "find_location record_video_note upload_video_note").split():
        raise BotApiError(400, "Bad Request: wrong parameter action in request")
    _thread(call)
    call.chats.act(call.chat, call.args["action"])
    return True


@builds("getChat", "chat_id")
async def get_chat(call: Context) -> Wire:
    chat = call.chat
    gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
    pinned = call.chats.message(chat.id, chat.pinned) if chat.pinned else None
    return {
        **chat.wire,
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": dict.fromkeys(gifts, False),
        **({"pinned_message": call.chats.present(pinned)} if pinned else {}),
    }


@builds("getChatMember", "chat_id user_id")
async def get_chat_member(call: Context) -> Wire:
    """The first user owns every group, the bot is its administrator, all others are members."""
    chat, user_id = call.chat, call.args["user_id"]
    if user_id == call.chats.bot["id"]:
        user = call.chats.bot
        if chat.kind != "private":
            return {"status": "administrator", "user": user, "can_be_edited": False, **_rights()}
    elif user_id not in call.chats.users or (chat.kind == "private" and chat.id != user_id):
        raise BotApiError(400, "Bad Request: member not found")
    else:
        user = call.chats.users[user_id]
        if chat.kind != "private" and user_id == next(iter(call.chats.users)):
            return {"status": "creator", "user": user, "is_anonymous": False}
    return {"status": "member", "user": user}


def _rights() -> Wire:
    has = "can_manage_chat can_delete_messages can_pin_messages can_manage_topics"
    lacks = (
        "is_anonymous can_manage_video_chats can_restrict_members can_promote_members can_change_info can_invite_users "
        "can_post_stories can_edit_stories can_delete_stories can_send_welcome_messages"
    )
    return {right: right in has.split() for right in f"{has} {lacks}".split()}


# Pieces of a message


def post(call: Context, content: Wire) -> Wire:
    """Posts in the name of the bot, in the thread and as the reply that the call asks for."""
    chat = call.chat
    thread = _thread(call)
    protected = {"has_protected_content": True} if call.args.get("protect_content") else {}
    silent = bool(call.args.get("disable_notification"))
    content = {**thread, **content, **protected}
    keyboard = of_the_chat(call.args.get("reply_markup"))
    reply_to = _reply_to(call, chat)
    posted = call.chats.post(chat, call.chats.bot, content, reply_to, silent=silent, keyboard=keyboard)
    return call.chats.present(posted)


def own_part(args: Wire) -> Wire:
    """The keyboard under the message itself."""
    return inline(args.get("reply_markup"))


def _edited(call: Context, posted: Posted, content: Wire) -> Wire:
    if not call.chats.change(posted, content):
        words = (
            "specified new message content and reply markup are exactly the same as a current content and reply markup"
        )
        raise BotApiError(400, f"Bad Request: message is not modified: {words} of the message")
    return call.chats.present(posted)


def _own(call: Context) -> Posted:
    """The bot's own message that is to be edited."""
    if "chat_id" not in call.args or "message_id" not in call.args:
        raise BotApiError(400, "Bad Request: message identifier is not specified")
    posted = call.chats.message(call.chat.id, call.args["message_id"])
    if not posted:
        raise BotApiError(400, "Bad Request: message to edit not found")
    if posted.wire["from"]["id"] != call.chats.bot["id"]:
        raise BotApiError(400, "Bad Request: message can't be edited")
    return posted


def _thread(call: Context) -> Wire:
    thread = call.args.get("message_thread_id")
    if not thread:
        return {}
    known = {posted.wire.get("message_thread_id") for posted in call.chats.shown(call.chat.id)}
    if not call.chat.forum or thread not in known:
        raise BotApiError(400, "Bad Request: message thread not found")
    return {"message_thread_id": thread, "is_topic_message": True}


def _reply_to(call: Context, chat: Chat) -> int | None:
    parameters = call.args.get("reply_parameters")
    if not parameters:
        return None
    known = {
        "message_id",
        "allow_sending_without_reply",
        "chat_id",
        "quote_parse_mode",
    }  # aiogram always sends the last
    if extra := set(parameters) - known:
        raise NotBuilt(f"reply_parameters with {min(extra)}")
    if call.chats.chat(parameters.get("chat_id") or chat.id) != chat:
        raise NotBuilt("a reply to a message of another chat")
    if call.chats.message(chat.id, parameters["message_id"]):
        return parameters["message_id"]
    if parameters.get("allow_sending_without_reply"):
        return None
    raise BotApiError(400, "Bad Request: message to be replied not found")


def _text(call: Context) -> Wire:
    text, entities = formatted(call.args["text"], call.args.get("parse_mode"), call.args.get("entities"))
    if not text:
        raise BotApiError(400, "Bad Request: message text is empty")
    if units(text) > TEXT_LIMIT:
        raise BotApiError(400, "Bad Request: message is too long")
    preview = {"link_preview_options": options} if (options := call.args.get("link_preview_options")) else {}
    return {"text": text, **({"entities": entities} if entities else {}), **preview}


def caption(args: Wire) -> Wire:
    text, entities = formatted(args.get("caption") or "", args.get("parse_mode"), args.get("caption_entities"))
    if units(text) > CAPTION_LIMIT:
        raise BotApiError(400, "Bad Request: message caption is too long")
    return {**({"caption": text} if text else {}), **({"caption_entities": entities} if entities else {})}


# Files of a message


def _kept(call: Context, value: str, folder: str, limit: int | None = None) -> KeptFile:
    """The file behind `attach://name` or a file_id."""
    if value.startswith(("http://", "https://")):
        raise NotBuilt("a file by URL")
    if not value.startswith(ATTACHED):
        return call.chats.files.by_id(value)
    upload = _attached(call, value)
    if not upload.data:
        raise BotApiError(400, "Bad Request: file must be non-empty")
    if limit and len(upload.data) > limit:
        words = f"file of size {len(upload.data)} bytes is too big for a photo; the maximum size is {limit} bytes"
        raise BotApiError(400, f"Bad Request: {words}")
    return call.chats.files.keep(folder, upload)


def _attached(call: Context, value: str) -> Upload:
    upload = call.uploads.get(value.removeprefix(ATTACHED))
    if not upload:
        raise BotApiError(400, f"Bad Request: there is no file in the request for {value}")
    return upload


def _sized(kept: KeptFile) -> Wire:
    return {"file_id": kept.file_id, "file_unique_id": kept.file_unique_id, "file_size": kept.file_size}


def _named(kept: KeptFile) -> Wire:
    return {**_sized(kept), "file_name": kept.name, "mime_type": kept.mime_type}


def _photo(call: Context, value: str) -> Wire:
    kept = _kept(call, value, "photos", PHOTO_LIMIT)
    if not kept.width:
        raise BotApiError(400, "Bad Request: IMAGE_PROCESS_FAILED")
    if kept.width + kept.height > 10_000 or max(kept.width, kept.height) > 20 * min(kept.width, kept.height):
        raise BotApiError(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")
    return {"photo": [{**_sized(kept), "width": kept.width, "height": kept.height}]}


def _video(call: Context, args: Wire, key: str) -> Wire:
    """A video, or a document where the file is no MP4, as Telegram does it."""
    kept = _kept(call, args[key], "videos")
    if not is_mp4(call.chats.files.on_disk(kept).read_bytes()[:12]):
        return {"document": _named(kept)}
    size = {name: args.get(name) or 0 for name in ("width", "height", "duration")}
    return {"video": {**_named(kept), **size, **_thumbnail(call, args)}}


def _animation(call: Context, args: Wire, key: str) -> Wire:
    """A GIF or a silent MP4 that plays by itself; older bots find it as a document too. Anything else is a document."""
    kept = _kept(call, args[key], "animations")
    start = call.chats.files.on_disk(kept).read_bytes()[:12]
    if not is_mp4(start) and start[:6] not in (b"GIF87a", b"GIF89a"):
        return {"document": _named(kept)}
    size = {name: args.get(name) or getattr(kept, name, 0) for name in ("width", "height", "duration")}
    thumbnail = _thumbnail(call, args)
    return {"animation": {**_named(kept), **size, **thumbnail}, "document": {**_named(kept), **thumbnail}}


def _document(call: Context, args: Wire, key: str) -> Wire:
    return {"document": {**_named(_kept(call, args[key], "documents")), **_thumbnail(call, args)}}


def _thumbnail(call: Context, args: Wire) -> Wire:
    """Telegram ignores a thumbnail that is no JPEG, over 200 kB or over 320 pixels."""
    if not args.get("thumbnail"):
        return {}
    upload = _attached(call, args["thumbnail"])
    size = image_size(upload.data)
    if not is_jpeg(upload.data) or len(upload.data) >= THUMBNAIL_LIMIT or not size or max(size) > 320:
        return {}
    kept = call.chats.files.keep("thumbnails", upload)
    return {"thumbnail": {**_sized(kept), "width": kept.width, "height": kept.height}}


def _album_item(call: Context, item: Wire) -> Wire:
    if item["type"] not in ("photo", "video", "document"):
        raise NotBuilt(f"{item['type']} in an album")
    return _item(call, item)


def _item(call: Context, item: Wire) -> Wire:
    """An InputMedia as the parts of a message."""
    built = "type media caption parse_mode caption_entities width height duration supports_streaming thumbnail".split()
    for parameter, value in item.items():
        if parameter not in built and value:
            raise NotBuilt(f"a {item['type']} with {parameter}")
    if item["type"] == "photo":
        return _photo(call, item["media"]) | caption(item)
    if item["type"] == "video":
        return _video(call, item, "media") | caption(item)
    if item["type"] == "document":
        return _document(call, item, "media") | caption(item)
    if item["type"] == "animation":
        return _animation(call, item, "media") | caption(item)
    raise NotBuilt(f"{item['type']} as media")
