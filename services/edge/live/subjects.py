"""Jobs and runs as a socket follows them: the numbered events that event streams have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from libs.values import Plan
from libs.values.answer_json import members_of, name_of
from services.edge.access.caller import Caller
from services.edge.answers.following import Follower
from services.edge.jobs.desk import Desk
from services.edge.jobs.showing import event_json, event_name
from services.edge.live import messages
from services.edge.live.messages import Subject

RIGHTS = {"job": "jobs", "run": "answers"}
"""What a caller must be allowed to follow them."""

Told = AsyncGenerator[str, None]


class Subjects:
    """What can be followed.

    Args:
        desk: the jobs service.
        follower: the orchestrator's runs.
    """

    def __init__(self, desk: Desk, follower: Follower) -> None:
        self._desk = desk
        self._follower = follower

    async def check(self, caller: Caller, subject: Subject) -> None:
        """Refuse what the caller may not follow.

        Raises:
            ProblemError: a right is missing, or there are no jobs here.
            MeshError: the job is not there, or cannot be read.
        """
        caller.require(RIGHTS[subject.kind])
        if subject.kind == "job":
            await self._desk.get(caller, subject.id)

    def follow(self, caller: Caller, subject: Subject, after: int) -> Told:
        """Yield the message of each event behind `after`, up to the last."""
        told = self._job if subject.kind == "job" else self._run
        return told(caller, subject, after)

    async def _job(self, caller: Caller, subject: Subject, after: int) -> Told:
        async with aclosing(self._desk.follow(caller, subject.id, after)) as events:
            async for each in events:
                data = event_json(each).decode()
                yield messages.event(subject, each.sequence, event_name(each), data)

    async def _run(self, caller: Caller, subject: Subject, after: int) -> Told:
        plan: Plan | None = None
        followed = self._follower.follow(caller.reader, subject.id, after)
        async with aclosing(followed) as events:
            async for each in events:
                if isinstance(each.event, Plan):
                    plan = each.event
                data = messages.encoded(members_of(each.event, plan))
                yield messages.event(subject, each.sequence, name_of(each.event), data)
