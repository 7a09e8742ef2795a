"""`POST /v1/chat/completions`: the door for clients that were made for OpenAI's API."""

from __future__ import annotations

import math
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response

from libs.clients.answer import AnswerClient
from libs.values import AnswerEvent, Question
from services.edge.access.quotas import Quotas
from services.edge.answers.answering import Answering, Pace
from services.edge.answers.headers import SAYS, headers_of
from services.edge.answers.preferences import Preferences
from services.edge.chat.body import ChatBody
from services.edge.chat.refusals import OPENAI
from services.edge.chat.saying import Saying
from services.edge.chat.shapes import CHUNKS, COMPLETION
from services.edge.chat.telling import Telling
from services.edge.problem import Problem, ProblemError
from services.edge.web import sse
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.metrics import EdgeMetrics
from services.edge.web.operation import Operation, Reply
from services.edge.web.request import JSON

PATH = "/v1/chat/completions"
# In which OpenAI's clients for Python and for Node say how many seconds they wait.
_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")


class Chatting:
    """Takes chat completions and asks their questions of the orchestrator.

    Args:
        client: the orchestrator.
        pace: how long an answer may take.
        metrics: where answers are counted.
        clock: seconds that only go forward.
        now: seconds since 1970.
        quotas: where the tokens of answers are counted; None counts none.
    """

    def __init__(
        self,
        client: AnswerClient,
        pace: Pace,
        metrics: EdgeMetrics,
        clock: Callable[[], float],
        now: Callable[[], float],
        quotas: Quotas | None = None,
    ) -> None:
        self._answering = Answering(client, pace, metrics, clock, quotas)
        self._pace = pace
        self._now = now

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        content = {JSON: COMPLETION, sse.MEDIA_TYPE: CHUNKS}
        complete = Operation(
            "POST",
            PATH,
            "createChatCompletion",
            "Answer the last message, as OpenAI's API does.",
            self._complete,
            right="answers",
            replies={200: Reply("The answer.", content, SAYS)},
            body=ChatBody,
            forms=(JSON, sse.MEDIA_TYPE),
            refusals=(404,),
            manner=OPENAI,
            is_stream=True,
        )
        return (complete,)

    async def _complete(self, exchange: Exchange) -> Response | None:
        exchange.form = JSON  # until the body says otherwise; `Accept` does not count
        preferences = Preferences.of(exchange.request.headers)
        body = await exchange.json(ChatBody)
        asked = body.asked()
        exchange.caller.check_scope(asked.scope)
        question = asked.question_of(
            exchange.caller.tenant_id,
            self._answering.patience_s(exchange, asked.budget_ms),
            preferences.cache_control,
        )
        deadline_s = self._deadline_s(asked.deadline_ms, exchange.request.headers, preferences)
        saying = Saying(body.model, int(self._now()), body.unused(), wants_usage=body.wants_usage)
        work = self._streamed if body.stream else self._whole
        return await exchange.while_here(work(exchange, question, deadline_s, saying))

    async def _whole(
        self, exchange: Exchange, question: Question, deadline_s: float | None, saying: Saying
    ) -> Response:
        async def take(numbered: AnswerEvent) -> None:
            saying.answer.add(numbered.event)

        completed = await self._answering.run(exchange, question, deadline_s, take)
        headers = headers_of(saying.answer.plan, completed)
        return json_response(saying.completion(completed), headers=headers)

    async def _streamed(
        self, exchange: Exchange, question: Question, deadline_s: float | None, saying: Saying
    ) -> None:
        exchange.form, stream = sse.MEDIA_TYPE, exchange.stream
        async with stream.kept_awake(self._pace.ping_every_s):
            tell = Telling(stream, saying).tell
            await self._answering.run(exchange, question, deadline_s, tell)
        await stream.end()

    def _deadline_s(
        self, deadline_ms: float | None, headers: Headers, preferences: Preferences
    ) -> float | None:
        """Return in how many seconds the answer must end; None leaves it to the policy.

        The clients always send their timeout. Of their own accord they wait for ten minutes:
        what is longer than any answer takes says nothing.
        """
        most_s = self._pace.max_deadline_s
        if deadline_ms is not None:
            if deadline_ms > most_s * 1e3:
                problem = f"hasten.deadline_ms: must be at most {most_s * 1e3:g}"
                raise ProblemError(Problem(400, "INVALID_FIELD", problem, "deadline_ms"))
            return deadline_ms / 1e3
        waits_s = [each for each in map(_seconds, map(headers.get, _TIMEOUTS)) if each < most_s]
        if preferences.wait_s is not None:
            waits_s.append(min(preferences.wait_s, most_s))
        return min(waits_s, default=None)


def _seconds(text: str | None) -> float:
    """Return the seconds that a header says; what is no length of time is endless."""
    try:
        seconds = float(text or "inf")
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf
