"""The bus: a broker with the settings that lose nothing, and the one way to publish a hint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from factory_jobs import messages
from factory_jobs.job import Job
from factory_jobs.store import Errand, Store
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.errors import Error as NatsError

from . import metrics

log = structlog.get_logger()


async def _raw(message: NatsMessage) -> NatsMessage:
    """Handlers take the message as it came; the chassis decodes."""
    return message


def build_broker(url: str, *, grace: float = 20) -> NatsBroker:
    """FastStream's defaults terminate a message on an exception (T1), cancel handlers at stop (T4) and give up
    reconnecting after two minutes (T8): here nothing is acked but by hand, stop waits, and reconnecting never ends."""
    return NatsBroker(
        url,
        ack_policy=AckPolicy.MANUAL,
        apply_types=False,
        graceful_timeout=grace,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        connect_timeout=5,
        logger=None,
    )


def subscribe(
    broker: NatsBroker,
    durable: str,
    handler: Callable[[NatsMessage], Awaitable[None]],
    *,
    stream: str = messages.STREAM,
) -> None:
    """One slot: messages of this durable come one at a time, and the next when the handler has returned."""

    async def one(message: NatsMessage) -> None:
        try:
            await handler(message)
        except Exception:
            log.exception("a message broke its handler; if it was not acked it comes again")
            raise  # FastStream goes on with the next, and says nothing

    broker.subscriber(
        "factory.>",
        stream=JStream(stream, declare=False),
        durable=durable,
        pull_sub=PullSub(batch_size=1, timeout=5.0),
        decoder=_raw,
        ack_policy=AckPolicy.MANUAL,
    )(one)


def subscribe_control(broker: NatsBroker, handler: Callable[[messages.Control], Awaitable[None]]) -> None:
    """Plain NATS: tells holders at once what the row says already."""

    async def one(message: NatsMessage) -> None:
        try:
            await handler(messages.decode(message.body, messages.Control))  # type: ignore[arg-type]
        except messages.BadMessage as e:
            log.warning("bad control message", why=str(e))

    broker.subscriber("factory.control.*", decoder=_raw)(one)


class Publisher:
    """Publishes hints after the commit. What cannot be published now, the sweep publishes later."""

    def __init__(self, broker: NatsBroker, store: Store) -> None:
        self.broker, self.store = broker, store

    @property
    def connected(self) -> bool:
        """While NATS is away no hint counts as made: the row stays due, and the sweep hints as soon as NATS is back."""
        bus = self.broker.config.connection_state
        return bool(bus) and bus.connection.is_connected

    async def hint(self, job: Job, *, counted: bool = False) -> bool:
        """`counted`: the statement that gave this row has counted the hint (see `Store.apply`)."""
        if not self.connected or job.stopped:
            return False
        hint_no = job.hint_no if counted else await self.store.mark_hinted(job)
        if hint_no is None:
            return False
        replay = job.replay_of is not None
        subject = messages.job_subject(job.state, job.node, job.id, replay=replay)
        message = messages.hint_of(job, datetime.now(UTC))
        return await self._publish("job", subject, message, f"{job.id}.{job.seq}.{hint_no}", replay)

    async def errand(self, errand: Errand) -> bool:
        if not self.connected:
            return False
        hint_no = await self.store.mark_errand_hinted(errand)
        if hint_no is None:
            return False
        subject = messages.errand_subject(errand.kind, errand.node, errand.job_id, replay=errand.replay)
        message = messages.errand_hint_of(errand, datetime.now(UTC))
        message_id = f"{errand.job_id}.e{errand.id}.{hint_no}"
        return await self._publish("errand", subject, message, message_id, errand.replay)

    async def control(self, job: Job) -> None:
        if not self.connected:
            return  # the renewal finds it
        message = messages.Control(job_id=job.id, epoch=job.lease_epoch, state=job.state)
        try:
            await self.broker.publish(messages.encode(message), messages.control_subject(job.id))
        except (NatsError, OSError) as e:
            log.warning("control not sent; the renewal will find it", job_id=job.id, why=repr(e))

    async def _publish(self, kind: str, subject: str, message: Any, message_id: str, replay: bool) -> bool:
        try:
            await self.broker.publish(
                messages.encode(message),
                subject,
                stream=messages.stream(replay),  # without it a lost message would be silent (T6)
                headers={"Nats-Msg-Id": message_id},
                timeout=5,
            )
        except (NatsError, OSError, TimeoutError) as e:
            metrics.HINTS.labels(kind, "failed").inc()
            log.warning("hint not published; the sweep will", subject=subject, why=repr(e))
            return False
        metrics.HINTS.labels(kind, "published").inc()
        return True
