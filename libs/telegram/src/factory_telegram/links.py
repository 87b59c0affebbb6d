"""Addresses of messages: https://t.me/… where Telegram has one (https://core.telegram.org/api/links#message-links)."""

SUPERGROUP = -1_000_000_000_000  # ids of supergroups and channels lie below


def message_link(
    chat_id: int, message_id: int, username: str | None = None, thread_id: int | None = None
) -> str | None:
    """The message's address; None in basic groups and private chats, which have none (quote an excerpt there).

    `username` is the chat's, for public ones; without it only members can open the link. `thread_id` is the topic.
    """
    if chat_id >= SUPERGROUP:
        return None
    where = username.removeprefix("@") if username else f"c/{SUPERGROUP - chat_id}"
    return f"https://t.me/{where}/{f'{thread_id}/' if thread_id else ''}{message_id}"
