"""`/v1/runs/{run}`: answers that outlive their connection are followed, ended and judged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from libs.clients.answer import AnswerClient
from libs.errors import BudgetExhaustedError, MeshError, RunNotFoundError
from libs.values import AnswerEvent, Verdict
from libs.values.answer_json import WholeAnswer
from services.edge.answers.answering import EVENTS_PATH, Pace, resumable_at
from services.edge.answers.body import VerdictBody
from services.edge.answers.following import Follower
from services.edge.answers.relay import Relay
from services.edge.answers.shapes import RUN
from services.edge.web import sse
from services.edge.web.draining import OpenStreams
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.query import AFTER, LAST_EVENT_ID, after_of
from services.edge.web.request import JSON

_PATH = "/v1/runs/{run}"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RUN = Parameter("run", "path", "The run, as `plan.run_id` or `X-Run-Id` names it.")
_CALL_S = 10.0


class Running:
    """Lets callers follow, look at, end and judge their runs, from any replica.

    Args:
        client: the orchestrator.
        pace: how long a stream may last.
        clock: seconds that only go forward.
        streams: told when this process ends.
    """

    def __init__(
        self,
        client: AnswerClient,
        pace: Pace,
        clock: Callable[[], float],
        streams: OpenStreams | None = None,
    ) -> None:
        self._client = client
        self._follower = Follower(client, clock)
        self._pace = pace
        self._streams = streams or OpenStreams()

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        state = Reply("What there is of the answer.", {JSON: RUN})
        events = Reply("The events after the one that was seen.", {sse.MEDIA_TYPE: sse.SCHEMA})
        over = Reply("The last event was seen: there is no more.")
        stopping = Reply("Whether there was something to end.", {JSON: _flag("stopping")})
        removed = Reply("Whether a stored answer was removed.", {JSON: _flag("removed")})
        return (
            _operation("GET", _PATH, "getRun", "Look at a run.", self._state, {200: state}),
            _operation(
                "GET",
                EVENTS_PATH,
                "followRun",
                "Follow a run, from any event on.",
                self._events,
                {200: events, 204: over},
                parameters=(_RUN, AFTER, LAST_EVENT_ID),
                forms=(sse.MEDIA_TYPE,),
            ),
            _operation(
                "POST", f"{_PATH}/stop", "stopRun", "End a run.", self._stop, {200: stopping}
            ),
            _operation(
                "POST",
                f"{_PATH}/feedback",
                "judgeRun",
                "Say whether an answer was good; a bad one is not given again.",
                self._judge,
                {200: removed},
                body=VerdictBody,
            ),
        )

    async def _state(self, exchange: Exchange) -> Response:
        run_id = _run_of(exchange)
        seen = await exchange.while_here(self._follower.snapshot(exchange.caller.reader, run_id))
        return json_response(_members(run_id, seen))

    async def _events(self, exchange: Exchange) -> Response | None:
        run_id, after = _run_of(exchange), after_of(exchange.request)
        await exchange.while_here(self._streamed(exchange, run_id, after))
        if not exchange.stream.begun:
            # An EventSource comes again after each end, until it is told that there is no more.
            return Response(status_code=204)
        await exchange.stream.end()
        return None

    async def _streamed(self, exchange: Exchange, run_id: str, after: int) -> None:
        stream = exchange.stream
        stream.retry_ms = self._pace.retry_ms
        stream.headers["X-Run-Id"] = run_id
        with self._streams.told(stream):
            async with stream.kept_awake(self._pace.ping_every_s):
                try:
                    async with asyncio.timeout(self._pace.max_deadline_s):
                        await self._relayed(exchange, run_id, after)
                except TimeoutError as error:
                    over = BudgetExhaustedError("no stream lasts longer")
                    raise resumable_at(run_id, over) from error
                except MeshError as error:
                    if not stream.begun or isinstance(error, RunNotFoundError):
                        raise
                    raise resumable_at(run_id, error) from error

    async def _relayed(self, exchange: Exchange, run_id: str, after: int) -> None:
        reader = exchange.caller.reader
        with Relay(exchange.stream) as relay:
            async with aclosing(self._follower.follow(reader, run_id, after)) as events:
                async for numbered in events:
                    await relay.tell(numbered)

    async def _stop(self, exchange: Exchange) -> Response:
        run_id, reader = _run_of(exchange), exchange.caller.reader
        stopping = await exchange.while_here(
            self._client.stop(reader.tenant_id, run_id, scopes=reader.scopes, limit_s=_CALL_S)
        )
        return json_response({"stopping": stopping})

    async def _judge(self, exchange: Exchange) -> Response:
        run_id, reader = _run_of(exchange), exchange.caller.reader
        verdict = Verdict[(await exchange.json(VerdictBody)).verdict.upper()]
        removed = await exchange.while_here(
            self._client.report(
                reader.tenant_id, run_id, verdict, scopes=reader.scopes, limit_s=_CALL_S
            )
        )
        return json_response({"removed": removed})


def _operation(
    method: str, path: str, name: str, summary: str, handle: Any, replies: Any, **more: Any
) -> Operation:
    given = {"parameters": (_RUN,), "refusals": (404,)} | more
    return Operation(method, path, name, summary, handle, "answers", replies, **given)


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def _run_of(exchange: Exchange) -> str:
    run_id = exchange.path("run")
    if not _NAME.fullmatch(run_id):
        raise RunNotFoundError(f"run_id: {run_id!r} is not known, or has expired")
    return run_id


def _members(run_id: str, seen: list[AnswerEvent]) -> dict[str, Any]:
    """Return the state of a run as one JSON object; an answer that goes on has no end yet."""
    answer = WholeAnswer()
    for numbered in seen:
        answer.add(numbered.event)
    last = {"run_id": run_id, "last_event_id": seen[-1].sequence if seen else 0}
    if answer.completed is not None:
        return {"state": "ended", **answer.members(answer.completed), **last}
    return {"state": "running", **answer.members_so_far(), **last}
