"""`POST /v1/answers`: one question, answered whole or as a stream of events."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from libs.clients.answer import AnswerClient
from libs.values import AnswerEvent, Question
from libs.values.answer_json import WholeAnswer
from services.edge.access.quotas import Quotas
from services.edge.answers.answering import Answering, Pace
from services.edge.answers.body import AskBody
from services.edge.answers.headers import SAYS, headers_of
from services.edge.answers.preferences import Preferences
from services.edge.answers.relay import Relay
from services.edge.answers.shapes import ANSWER
from services.edge.problem import Problem, ProblemError
from services.edge.web import sse
from services.edge.web.draining import OpenStreams
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.request import JSON

PATH = "/v1/answers"
_HEADERS = (
    Parameter("Prefer", "header", "`wait=N`: the deadline in seconds, where the body has none."),
    Parameter(
        "Cache-Control",
        "header",
        "`no-cache`, `no-store` or `only-if-cached`, where the body has no `cache_control`.",
    ),
)


class Asking:
    """Takes questions over HTTP and asks them of the orchestrator.

    Args:
        client: the orchestrator.
        pace: how long an answer may take.
        metrics: where answers are counted.
        clock: seconds that only go forward.
        quotas: where the tokens of answers are counted; None counts none.
        streams: told when this process ends.
    """

    def __init__(
        self,
        client: AnswerClient,
        pace: Pace,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
        quotas: Quotas | None = None,
        streams: OpenStreams | None = None,
    ) -> None:
        self._answering = Answering(client, pace, metrics, clock, quotas)
        self._pace = pace
        self._streams = streams or OpenStreams()

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        reply = Reply("The answer.", {JSON: ANSWER, sse.MEDIA_TYPE: sse.SCHEMA}, SAYS)
        ask = Operation(
            "POST",
            PATH,
            "askQuestion",
            "Answer a question, whole or as a stream of events.",
            self._answer,
            right="answers",
            replies={200: reply},
            body=AskBody,
            parameters=_HEADERS,
            forms=(JSON, sse.MEDIA_TYPE),
            refusals=(404,),
        )
        return (ask,)

    async def _answer(self, exchange: Exchange) -> Response | None:
        preferences = Preferences.of(exchange.request.headers)
        asked = await exchange.json(AskBody)
        exchange.caller.check_scope(asked.scope)
        question = asked.question_of(
            exchange.caller.tenant_id,
            self._answering.patience_s(exchange, asked.budget_ms),
            preferences.cache_control,
        )
        deadline_s = self._deadline_s(asked)
        if deadline_s is None and preferences.wait_s is not None:
            deadline_s = min(preferences.wait_s, self._pace.max_deadline_s)
            exchange.stream.headers["Preference-Applied"] = f"wait={deadline_s:g}"
        work = self._streamed if exchange.form == sse.MEDIA_TYPE else self._whole
        return await exchange.while_here(work(exchange, question, deadline_s))

    async def _whole(
        self, exchange: Exchange, question: Question, deadline_s: float | None
    ) -> Response:
        async def take(numbered: AnswerEvent) -> None:
            answer.add(numbered.event)

        answer = WholeAnswer()
        completed = await self._answering.run(exchange, question, deadline_s, take)
        headers = exchange.stream.headers | headers_of(answer.plan, completed)
        return json_response(answer.members(completed), headers=headers)

    async def _streamed(
        self, exchange: Exchange, question: Question, deadline_s: float | None
    ) -> None:
        stream = exchange.stream
        stream.retry_ms = self._pace.retry_ms if question.resumable else 0
        with self._streams.told(stream):
            async with stream.kept_awake(self._pace.ping_every_s):
                with Relay(stream) as relay:
                    await self._answering.run(exchange, question, deadline_s, relay.tell)
        await stream.end()

    def _deadline_s(self, asked: AskBody) -> float | None:
        if asked.deadline_ms is None:
            return None
        if asked.deadline_ms > self._pace.max_deadline_s * 1e3:
            problem = f"deadline_ms: must be at most {self._pace.max_deadline_s * 1e3:g}"
            raise ProblemError(Problem(400, "INVALID_FIELD", problem, "deadline_ms"))
        return asked.deadline_ms / 1e3
