"""`POST /v1/answers`: one question, answered whole or as a stream of events."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from opentelemetry.trace import Span, Status, StatusCode
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from libs.budget import Budget, spending
from libs.clients.answer import AnswerClient
from libs.errors import BudgetExhaustedError, MeshError, OverloadedError, UnreachableError
from libs.telemetry import context_of, names, span
from libs.values import AnswerEvent, Completed, Question, TextDelta
from libs.values.answer_json import WholeAnswer, members_of, name_of
from services.edge import sse
from services.edge.body import AskBody
from services.edge.metrics import EdgeMetrics
from services.edge.presence import CallerLeftError, while_present
from services.edge.problem import Problem, ProblemError
from services.edge.request import JSON, check_content_type, check_host, form_of, read_body
from services.edge.sse import EventStream

PATH = "/v1/answers"
_LOG = logging.getLogger(__name__)
_CALLER_LEFT = 499
_SERVER_ERROR = 500
_RETRY_AFTER_S = 1.0
# A first text that is due at once is still asked for: what there is then is up to the plan.
_LEAST_PATIENCE_S = 0.001


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every question.

    Attributes:
        tenant: who asks.
        hosts: the names by which this server may be called; None means any.
        max_body_bytes: longest body.
        body_timeout_s: seconds in which it must have come.
        max_deadline_s: seconds that an answer may take at most.
        ping_every_s: seconds of silence in a stream that are too long.
        max_concurrency: questions answered at once.
    """

    tenant: str
    hosts: frozenset[str] | None
    max_body_bytes: int
    body_timeout_s: float
    max_deadline_s: float
    ping_every_s: float
    max_concurrency: int


@dataclass(slots=True)
class _Exchange:
    """One request on its way: what is known of it so far."""

    request: Request
    stream: EventStream
    arrived_s: float
    form: str = JSON
    status: int = 200


class AnswersEndpoint:
    """Takes questions over HTTP and asks them of the orchestrator; an ASGI application.

    Args:
        client: the orchestrator.
        rules: what holds for every question.
        metrics: where questions are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        client: AnswerClient,
        rules: Rules,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request from its arrival to the end of its answer."""
        request = Request(scope, receive)
        exchange = _Exchange(request, EventStream(send), self._clock())
        attributes = {
            "http.request.method": "POST",
            "http.route": PATH,
            names.TENANT_ID: self._rules.tenant,
        }
        parent = context_of(request.headers.get(names.TRACEPARENT))
        self._in_flight += 1
        try:
            with span(f"POST {PATH}", attributes, parent) as made:
                problem = await self._attempt(exchange, send)
                if problem is not None:
                    await self._refuse(exchange, problem, send)
                _describe(made, exchange, problem)
        finally:
            self._in_flight -= 1
            took_s = self._clock() - exchange.arrived_s
            self._metrics.request(exchange.form, exchange.status, took_s)

    async def _attempt(self, exchange: _Exchange, send: Send) -> Problem | None:
        """Answer, or return why there is no answer."""
        try:
            await self._answer(exchange, send)
        except CallerLeftError:
            exchange.status = _CALLER_LEFT
        except ProblemError as error:
            return error.problem
        except MeshError as error:
            return Problem.of(error)
        except Exception:  # noqa: BLE001 - the outer edge of a request
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s", incident)
            return Problem(500, "INTERNAL", f"Something went wrong; incident {incident}.")
        return None

    async def _refuse(self, exchange: _Exchange, problem: Problem, send: Send) -> None:
        """Say why there is no answer, in the form that is still possible."""
        if exchange.stream.begun:
            await exchange.stream.write(sse.frame("error", problem.members()))
            await exchange.stream.end()
            return
        exchange.status = problem.status
        request = exchange.request
        await problem.response()(request.scope, request.receive, send)

    async def _answer(self, exchange: _Exchange, send: Send) -> None:
        request, rules = exchange.request, self._rules
        check_host(request, rules.hosts)
        check_content_type(request)
        exchange.form = form_of(request)
        self._admit()
        raw = await read_body(
            request, max_bytes=rules.max_body_bytes, timeout_s=rules.body_timeout_s
        )
        asked = AskBody.read(raw)
        work = self._streamed if exchange.form == sse.MEDIA_TYPE else self._whole
        response = await while_present(request.receive, work(exchange, asked))
        if response is not None:
            await response(request.scope, request.receive, send)

    def _admit(self) -> None:
        if self._in_flight > self._rules.max_concurrency:
            raise OverloadedError("too many questions", retry_after_s=_RETRY_AFTER_S)

    async def _whole(self, exchange: _Exchange, asked: AskBody) -> Response:
        async def take(numbered: AnswerEvent) -> None:
            answer.add(numbered.event)

        answer = WholeAnswer()
        completed = await self._run(exchange, asked, take)
        body = json.dumps(answer.members(completed), ensure_ascii=False).encode()
        return Response(body, headers={"Cache-Control": "no-store"}, media_type=JSON)

    async def _streamed(self, exchange: _Exchange, asked: AskBody) -> None:
        async def take(numbered: AnswerEvent) -> None:
            answer.add(numbered.event)
            members = members_of(numbered.event, answer.plan)
            await stream.write(sse.frame(name_of(numbered.event), members, numbered.sequence))

        answer, stream = WholeAnswer(), exchange.stream
        async with stream.kept_awake(self._rules.ping_every_s):
            await self._run(exchange, asked, take)
        await stream.end()

    async def _run(
        self, exchange: _Exchange, asked: AskBody, take: Callable[[AnswerEvent], Awaitable[None]]
    ) -> Completed:
        """Ask, hand over each event, and return the last.

        Raises:
            MeshError: the orchestrator refused, failed or broke off.
        """
        question, budget = self._question(exchange, asked)
        try:
            with spending(budget):
                async with asyncio.timeout(self._rules.max_deadline_s):
                    completed = await self._follow(exchange, question, take)
        except TimeoutError as error:
            raise BudgetExhaustedError("no answer takes longer") from error
        self._metrics.answer(completed)
        return completed

    async def _follow(
        self,
        exchange: _Exchange,
        question: Question,
        take: Callable[[AnswerEvent], Awaitable[None]],
    ) -> Completed:
        completed, has_text = None, False
        async with self._client.ask(question) as events:
            async for numbered in events:
                await take(numbered)
                if isinstance(numbered.event, TextDelta) and not has_text:
                    has_text = True
                    self._metrics.first_text(exchange.form, self._clock() - exchange.arrived_s)
                if isinstance(numbered.event, Completed):
                    completed = numbered.event
        if completed is None:
            raise UnreachableError("the answer ended without its last event")
        return completed

    def _question(self, exchange: _Exchange, asked: AskBody) -> tuple[Question, Budget | None]:
        """Return the question, and the budget if it has a deadline; time counts from arrival."""
        first_text_by_s, budget = None, None
        if asked.budget_ms is not None:
            due_s = exchange.arrived_s + asked.budget_ms / 1e3
            first_text_by_s = max(_LEAST_PATIENCE_S, due_s - self._clock())
        if asked.deadline_ms is not None:
            deadline_s = asked.deadline_ms / 1e3
            if deadline_s > self._rules.max_deadline_s:
                problem = f"deadline_ms: must be at most {self._rules.max_deadline_s * 1e3:g}"
                raise ProblemError(Problem(400, "INVALID_FIELD", problem, "deadline_ms"))
            end_by_s = exchange.arrived_s + deadline_s
            budget = Budget(end_by_s, end_by_s, self._clock)
        return asked.question_of(self._rules.tenant, first_text_by_s), budget


def _describe(made: Span, exchange: _Exchange, problem: Problem | None) -> None:
    made.set_attribute("http.response.status_code", exchange.status)
    if problem is not None:
        made.set_attribute(names.ERROR_TYPE, problem.reason)
        if problem.status >= _SERVER_ERROR:
            made.set_status(Status(StatusCode.ERROR))
