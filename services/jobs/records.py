"""Jobs in Redis: one record each, with its events beside it, changed together or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.errors import DependencyUnavailableError, EventLogUnavailableError, JobNotFoundError
from libs.eventlog import EventLog
from libs.values.jobs import JobEvent, JobItem, JobState
from services.jobs import scripts
from services.jobs.record import Change, Record

# Where each change is told of: the name of the job, and where it is then (`_place`).
CHANNEL = "hasten:jobs:changes"
_WAITING, _RUNNING = "hasten:jobs:waiting", "hasten:jobs:running"
# Events that are read at once: with items of at most 1 MiB, well within a message.
_PAGE = 16
# Ids begin with the time, so that the newest is the last by its name.
_ID = "job-{:012x}"
# Longer than any job is kept.
_OLDEST_S = 60 * 86_400.0


class Outcome(Enum):
    """What became of a change."""

    STALE = 0
    DONE = 1
    THERE_ALREADY = 2
    NO_ROOM = 3


@dataclass(frozen=True, slots=True)
class Codec:
    """How an event becomes bytes and comes back; the wire's business."""

    encode: Callable[[JobEvent], bytes]
    decode: Callable[[bytes], JobEvent]


@dataclass(frozen=True, slots=True)
class Creation:
    """A job to be kept.

    Attributes:
        record: as it is to be.
        input: what its kind is given, JSON text.
        events: the first of its log.
        key: what names its submission; empty if nothing does.
        digest: of what was submitted.
        unfinished_count: the tenant's unfinished jobs that there may be beside it.
    """

    record: Record
    input: bytes
    events: Sequence[JobEvent]
    key: str
    digest: str
    unfinished_count: int


@dataclass(frozen=True, slots=True)
class Kept:
    """The job that a submission stands for; an empty `job_id` if there was no room.

    Attributes:
        job_id: the job.
        digest: of what was submitted.
        full: of what there was no room: `jobs` or `bytes`.
    """

    job_id: str
    digest: str
    full: str = ""


@dataclass(frozen=True, slots=True)
class Strays:
    """Names of jobs that nobody seems to look after."""

    overdue: tuple[str, ...]
    silent: tuple[str, ...]


def id_at(unix_s: float) -> str:
    """Return the first of the ids of jobs that are submitted at a time."""
    return _ID.format(int(unix_s * 1000))


class Records:
    """The jobs of all tenants."""

    def __init__(self, redis: Redis, codec: Codec, *, tenant_bytes: int) -> None:
        """Keep jobs in `redis`.

        Args:
            redis: a client.
            codec: gives their events in the log.
            tenant_bytes: what inputs, items and results of one tenant's jobs may take.
        """
        self._redis: Any = redis
        self._codec = codec
        self._tenant_bytes = tenant_bytes
        # Its own writers are not used: events are appended by the scripts here.
        self._log = EventLog(redis, kind="job", ttl_s=1.0)
        self._create = redis.register_script(scripts.CREATE)
        self._commit = redis.register_script(scripts.COMMIT)
        self._beat = redis.register_script(scripts.BEAT)
        self._stray = redis.register_script(scripts.STRAY)

    async def create(self, creation: Creation) -> Kept:
        """Keep a job, unless its submission stands for one that is kept.

        Raises:
            DependencyUnavailableError: Redis does not answer; the job may be kept.
        """
        record = creation.record
        tenant_id, job = record.tenant_id, record.job
        keys = [
            *(_of_tenant(tenant_id, part) for part in ("all", "unfinished")),
            _WAITING,
            *self._of_job(tenant_id, job.job_id),
            *_sizes_of(tenant_id),
        ]
        if creation.key:
            keys.append(_of_key(tenant_id, creation.key))
        item_keys = [each.event.key for each in creation.events if isinstance(each.event, JobItem)]
        args: list[Any] = [
            job.job_id,
            record.name,
            creation.digest,
            _ms(job.expires_at_s - job.created_at_s),
            creation.unfinished_count,
            id_at(job.created_at_s - _OLDEST_S),
            job.revision,
            record.to_json(),
            self._tenant_bytes,
            creation.input,
            len(item_keys),
            *item_keys,
            *map(self._codec.encode, creation.events),
        ]
        with _answering():
            job_id, digest = await self._create(keys=keys, args=args)
        named = bytes(job_id).decode()
        if named.startswith(":"):
            return Kept("", "", named[1:])
        return Kept(named, bytes(digest).decode())

    async def load(self, tenant_id: str, job_id: str) -> Record:
        """Return a job.

        Raises:
            JobNotFoundError: the tenant has none of that id.
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            data = await self._redis.hget(_of_record(tenant_id, job_id), "record")
        if data is None:
            raise JobNotFoundError(f"job {job_id} is not known, or has expired", job_id=job_id)
        return Record.from_json(data)

    async def load_input(self, tenant_id: str, job_id: str) -> bytes:
        """Return what the job's kind is given; empty once nobody needs it.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            return await self._redis.hget(_of_record(tenant_id, job_id), "input") or b""

    async def commit(self, change: Change, *, now_s: float) -> Outcome:
        """Make a change, if the job still is what it is made from.

        Raises:
            DependencyUnavailableError: Redis does not answer; the change may be made.
        """
        after, job = change.after, change.after.job
        ends_now = job.state.has_ended and not change.before.job.state.has_ended
        args = [
            job.job_id,
            after.name,
            change.before.job.revision,
            job.revision,
            after.to_json(),
            job.attempt if job.state is JobState.RUNNING else "",
            change.item_key,
            _ms(after.ttl_s) if ends_now else 0,
            _place(after),
            _ms(max(0.0, after.due_s - now_s)),
            CHANNEL,
            self._tenant_bytes if _adds(change) else 0,
            *map(self._codec.encode, change.events),
        ]
        keys = [
            *(_of_tenant(after.tenant_id, part) for part in ("unfinished", "dead")),
            _WAITING,
            _RUNNING,
            *self._of_job(after.tenant_id, job.job_id),
            *_sizes_of(after.tenant_id),
        ]
        with _answering():
            return Outcome(await self._commit(keys=keys, args=args))

    async def beat(self, held: Sequence[tuple[Record, int]]) -> list[bool]:
        """Give a sign of life for each job that an attempt holds.

        Returns:
            For each whether it is still held.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for record, attempt in held:
                    keys = [_of_record(record.tenant_id, record.job.job_id), _RUNNING]
                    await self._beat(keys=keys, args=[attempt, record.name], client=pipeline)
                return [bool(each) for each in await pipeline.execute()]

    async def last_beat(self, record: Record) -> float | None:
        """Return a number that changes with each sign of life; None if the job does not run.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            score: float | None = await self._redis.zscore(_RUNNING, record.name)
        return score

    async def strays(
        self,
        *,
        overdue_s: float,
        silent_s: float,
        overdue_count: int,
        silent_count: int,
        offset: int = 0,
    ) -> Strays:
        """Return jobs that should have been taken long ago, or whose worker is silent.

        Args:
            overdue_s: seconds that a job may be due without being taken.
            silent_s: seconds that a worker may give no sign of life.
            overdue_count: names of the former at most.
            silent_count: names of the latter at most.
            offset: overdue ones that are passed over.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        args = [_ms(overdue_s), _ms(silent_s), overdue_count, silent_count, offset]
        with _answering():
            overdue, silent = await self._stray(keys=[_WAITING, _RUNNING], args=args)
        return Strays(_names(overdue), _names(silent))

    async def forget(self, tenant_id: str, job_id: str) -> None:
        """Leave no trace of a job whose record is gone.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zrem(_WAITING, f"{tenant_id}/{job_id}")
                pipeline.zrem(_RUNNING, f"{tenant_id}/{job_id}")
                pipeline.srem(_of_tenant(tenant_id, "unfinished"), job_id)
                for part in ("all", "dead"):
                    pipeline.zrem(_of_tenant(tenant_id, part), job_id)
                await pipeline.execute()

    async def unfinished_count(self, tenant_id: str) -> int:
        """Return how many jobs of a tenant have not ended.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        with _answering():
            return int(await self._redis.scard(_of_tenant(tenant_id, "unfinished")))

    async def newest(
        self, tenant_id: str, *, before: str, count: int, dead: bool
    ) -> list[tuple[str, Record | None]]:
        """Return a tenant's jobs, the newest first; None for one that has expired.

        Args:
            tenant_id: whose.
            before: the id above which nothing is returned; empty begins with the newest.
            count: how many.
            dead: only dead letters.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        key, highest = _of_tenant(tenant_id, "dead" if dead else "all"), f"({before}"
        with _answering():
            found = await self._redis.zrevrangebylex(
                key, highest if before else "+", "-", start=0, num=count
            )
            ids = _names(found)
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job_id in ids:
                    pipeline.hget(_of_record(tenant_id, job_id), "record")
                rows = await pipeline.execute()
        return [
            (job_id, None if row is None else Record.from_json(row))
            for job_id, row in zip(ids, rows, strict=True)
        ]

    async def events(
        self, tenant_id: str, job_id: str, after: int = 0, most: int = _PAGE
    ) -> list[JobEvent]:
        """Return the first of the events behind number `after`; none if there are no more.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        try:
            rows = await self._log.read(tenant_id, job_id, after, most)
        except EventLogUnavailableError as error:
            raise _unavailable(error) from error
        return [self._codec.decode(data) for _, data in rows]

    async def items(self, tenant_id: str, job_id: str) -> AsyncIterator[JobItem]:
        """Yield what the job has delivered, in order.

        Raises:
            DependencyUnavailableError: Redis does not answer.
        """
        after = 0
        while events := await self.events(tenant_id, job_id, after):
            for each in events:
                if isinstance(each.event, JobItem):
                    yield each.event
            after = events[-1].sequence

    def _of_job(self, tenant_id: str, job_id: str) -> list[str]:
        record = _of_record(tenant_id, job_id)
        return [record, self._log.key(tenant_id, job_id), record.replace(":record", ":items")]


def _adds(change: Change) -> bool:
    """Return whether a change keeps more than a word: an item or a result."""
    return bool(change.item_key) or change.after.job.state is JobState.SUCCEEDED


def _sizes_of(tenant_id: str) -> tuple[str, str]:
    return _of_tenant(tenant_id, "sizes"), _of_tenant(tenant_id, "ends")


def _place(record: Record) -> str:
    job = record.job
    if job.state is JobState.QUEUED:
        return "waiting"
    if job.state is JobState.RUNNING:
        return "running"
    return "dead" if job.dead_letter else "ended"


def _of_record(tenant_id: str, job_id: str) -> str:
    return f"hasten:job:{{{tenant_id}/{job_id}}}:record"


def _of_tenant(tenant_id: str, part: str) -> str:
    return f"hasten:jobs:{{{tenant_id}}}:{part}"


def _of_key(tenant_id: str, key: str) -> str:
    return _of_tenant(tenant_id, f"key:{hashlib.sha256(key.encode()).hexdigest()}")


def _names(found: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(bytes(each).decode() for each in found)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what goes wrong with Redis inside into an error of the mesh."""
    try:
        yield
    except RedisError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> DependencyUnavailableError:
    kind = type(error).__name__
    return DependencyUnavailableError(
        f"jobs cannot be read or written now ({kind})", retry_after_s=1.0
    )
