"""The stream and the consumers, made in one place: by add or update, with a check that they are as they should be.

nats-py's `pull_subscribe` ignores a changed configuration of a durable that exists (trap T5), so subscribers never
declare anything; and a wiped server is found by asking, since subscribers hear nothing of it (T7).
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from factory_jobs import messages
from factory_jobs.machine import Role
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

log = structlog.get_logger()


def stream_config(*, replay: bool = False) -> StreamConfig:
    return StreamConfig(
        name=messages.stream(replay),
        subjects=list(messages.REPLAY_SUBJECTS if replay else messages.SUBJECTS),
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        max_age=float(messages.KEEP),
        duplicate_window=messages.DUPLICATES,
    )


def consumer_config(durable: str, filters: Iterable[str]) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=durable,
        filter_subjects=sorted(filters),
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=messages.ACK_WAIT,
        max_deliver=messages.MAX_DELIVER,
        max_ack_pending=messages.MAX_ACK_PENDING,
    )


class Provisioner:
    """Keeps the stream and the consumers of a role, or of a listener's name, as they should be.

    Who listens to nothing (None) has the stream alone: a consumer that nobody reads looks like work that nobody does.
    """

    def __init__(
        self, js: JetStreamContext, role: Role | str | None, node: str | None, *, replay: bool = False
    ) -> None:
        self.js, self.stream = js, stream_config(replay=replay)
        self.consumers: dict[str, list[str]] = {}
        if role in set(Role):
            role = Role(role)
            self.consumers[messages.durable(role, node)] = messages.filters(role, node, replay=replay)
            if errands := messages.errand_filters(role, node, replay=replay):
                self.consumers[messages.durable(role, node) + "-errands"] = errands
        elif role is not None:
            self.consumers[role] = list(messages.REPLAY_SUBJECTS) if replay else ["factory.job.>"]

    async def ensure(self) -> bool:
        """True where the stream had to be made: then every hint has to be made again. Raises nats.errors.Error."""
        made = await self._stream()
        for durable, filters in self.consumers.items():
            await self._consumer(consumer_config(durable, filters))
        return made

    async def _stream(self) -> bool:
        wanted, name = self.stream, str(self.stream.name)
        try:
            now = (await self.js.stream_info(name)).config
        except NotFoundError:
            await self.js.add_stream(wanted)
            log.info("stream made", stream=name)
            return True
        if (sorted(now.subjects or []), now.max_age) != (sorted(wanted.subjects or []), wanted.max_age):
            await self.js.update_stream(wanted)
            log.warning("stream had drifted", stream=name)
        return False

    async def _consumer(self, wanted: ConsumerConfig) -> None:
        assert wanted.durable_name
        stream = str(self.stream.name)
        try:
            now = (await self.js.consumer_info(stream, wanted.durable_name)).config
        except NotFoundError:
            await self.js.add_consumer(stream, wanted)
            log.info("consumer made", consumer=wanted.durable_name)
            return
        if _fixed(now) != _fixed(wanted):  # the server updates no such thing: made anew, it gives all hints again
            await self.js.delete_consumer(stream, wanted.durable_name)
        elif _adjustable(now) == _adjustable(wanted):
            return
        await self.js.add_consumer(stream, wanted)  # creates or updates
        log.warning("consumer had drifted", consumer=wanted.durable_name)


def _fixed(config: ConsumerConfig) -> tuple[object, ...]:
    return config.ack_policy, config.deliver_policy, config.deliver_subject


def _adjustable(config: ConsumerConfig) -> tuple[object, ...]:
    filters = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
    return sorted(filters), config.ack_wait, config.max_deliver, config.max_ack_pending
