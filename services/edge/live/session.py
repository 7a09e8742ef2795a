"""One WebSocket from its acceptance to its end: what it follows, and what it is told."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.websockets import WebSocket, WebSocketDisconnect

from libs.errors import MeshError
from services.edge.access.caller import Caller
from services.edge.live import messages
from services.edge.live.codes import CloseCode, code_of
from services.edge.live.messages import Ping, Subject, Subscribe, Unsubscribe
from services.edge.live.protocol import Cut
from services.edge.live.subjects import Subjects
from services.edge.problem import Problem, ProblemError

_LOG = logging.getLogger(__name__)
# Messages that a caller may have sent at once before it has to keep to the rate.
_BURST_S = 4.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What every socket keeps to.

    Attributes:
        subscriptions: jobs and runs that one socket may follow at a time.
        messages_per_s: messages that it may send, over the long run.
        lag_s: seconds in which what is sent must have been taken.
        idle_s: seconds that it may stay without following or saying anything.
        age_s: seconds after which it is closed, so that who it is from is asked again.
    """

    subscriptions: int = 100
    messages_per_s: float = 50.0
    lag_s: float = 10.0
    idle_s: float = 600.0
    age_s: float = 3600.0


class Session:
    """One socket.

    Nothing is queued here: a message that the socket does not take is waited with by the
    subscription that has it, and so is its source. What waits is one message for each
    subscription, besides what the connection itself holds.

    Args:
        socket: the socket, accepted.
        cut: ends it even if its peer takes nothing.
        caller: who it is from.
        subjects: what can be followed.
        terms: what it keeps to.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        socket: WebSocket,
        cut: Cut,
        caller: Caller,
        subjects: Subjects,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self._socket = socket
        self._cut = cut
        self._caller = caller
        self._subjects = subjects
        self._terms = terms
        self._clock = clock
        self._followed: dict[Subject, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._active_s = self._opened_s = clock()
        self._credit, self._credit_s = terms.messages_per_s * _BURST_S, clock()
        self._timer: asyncio.TimerHandle | None = None
        self._is_ended = False

    async def run(self) -> None:
        """Serve the socket until it is closed from either side."""
        self._set_timer()
        try:
            await self._listen()
        except WebSocketDisconnect:
            pass
        except ProblemError as error:
            await self._send(messages.error(error.problem))
            self._end(code_of(error.problem), error.problem.reason)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._leave_all()

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                raise ProblemError(Problem(400, "BAD_MESSAGE", "Messages are text."))
            self._count()
            await self._obey(text)

    async def _obey(self, text: str) -> None:
        match messages.read_message(text):
            case Ping():
                await self._send(messages.PONG)
            case Subscribe() as asked:
                await self._subscribe(asked.subject, asked.after)
            case Unsubscribe() as asked:
                await self._unsubscribe(asked.subject)

    async def _subscribe(self, subject: Subject, after: int) -> None:
        problem = self._hindrance(subject)
        if problem is not None:
            await self._send(messages.error(problem, subject))
            return
        task = asyncio.create_task(self._follow(subject, after))
        self._followed[subject] = task

    def _hindrance(self, subject: Subject) -> Problem | None:
        if subject in self._followed:
            return Problem(409, "ALREADY_SUBSCRIBED", f"This {subject.kind} is followed already.")
        if len(self._followed) >= self._terms.subscriptions:
            detail = f"A socket follows at most {self._terms.subscriptions} jobs and runs."
            return Problem(429, "TOO_MANY_SUBSCRIPTIONS", detail)
        return None

    async def _unsubscribe(self, subject: Subject) -> None:
        task = self._followed.pop(subject, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._send(messages.unsubscribed(subject))

    async def _follow(self, subject: Subject, after: int) -> None:
        """Tell all that happens to a job or a run, and how it ended."""
        last = await self._told(subject, after)
        # It may be subscribed to again as soon as it is known to be over.
        self._followed.pop(subject, None)
        self._active_s = self._clock()
        await self._send(last)

    async def _told(self, subject: Subject, after: int) -> str:
        """Tell the events, and return the message that is the last."""
        try:
            await self._subjects.check(self._caller, subject)
            await self._send(messages.subscribed(subject, after))
            follow = self._subjects.follow(self._caller, subject, after)
            async with aclosing(follow) as told:
                async for each in told:
                    await self._send(each)
        except ProblemError as error:
            return messages.error(error.problem, subject)
        except MeshError as error:
            return messages.error(Problem.of(error), subject)
        except Exception:  # noqa: BLE001 - the outer edge of a subscription
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s", incident)
            problem = Problem(500, "INTERNAL", f"Something went wrong; incident {incident}.")
            return messages.error(problem, subject)
        return messages.unsubscribed(subject)

    async def _send(self, text: str) -> None:
        """Send a message, and cut the socket off if it is not taken in time."""
        try:
            async with asyncio.timeout(self._terms.lag_s), self._one_at_a_time:
                await self._socket.send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self._end(CloseCode.TIMED_OUT, "TOO_SLOW")
        except (WebSocketDisconnect, RuntimeError, OSError):
            # It is closed: the reading side is told, and ends all.
            pass

    def _end(self, code: CloseCode, reason: str) -> None:
        """Close the socket, once: many may find at a time that it takes nothing."""
        if not self._is_ended:
            self._is_ended = True
            self._cut(code, reason)

    def _count(self) -> None:
        """Count a message that came in.

        Raises:
            ProblemError: there are too many.
        """
        now_s, rate = self._clock(), self._terms.messages_per_s
        earned = (now_s - self._credit_s) * rate
        self._credit = min(self._credit + earned, rate * _BURST_S) - 1
        self._credit_s = self._active_s = now_s
        if self._credit < 0:
            detail = f"A socket sends at most {rate:g} messages a second."
            raise ProblemError(Problem(429, "TOO_MANY_MESSAGES", detail))

    def _set_timer(self) -> None:
        """Look again when the socket may be idle or old; one timer is all that it costs."""
        now_s = self._clock()
        left_s = self._opened_s + self._terms.age_s - now_s
        if left_s <= 0:
            self._end(CloseCode.RESTART, "TOO_OLD")
            return
        idle_s = 0.0 if self._followed else now_s - self._active_s
        if idle_s >= self._terms.idle_s:
            self._end(CloseCode.TIMED_OUT, "IDLE")
            return
        loop = asyncio.get_running_loop()
        wait_s = min(left_s, self._terms.idle_s - idle_s)
        self._timer = loop.call_later(wait_s, self._set_timer)

    async def _leave_all(self) -> None:
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
