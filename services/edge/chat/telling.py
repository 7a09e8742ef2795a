"""From the events of a run to the chunks of a chat completion."""

from __future__ import annotations

from libs.values import AnswerEvent, Completed, Plan, Revised, SectionText, TextDelta
from services.edge.answers.headers import headers_of
from services.edge.chat.saying import Saying
from services.edge.problem import Problem, ProblemError
from services.edge.web.sse import EventStream


class Telling:
    """Tells a stream the text of one run.

    OpenAI's protocol cannot take text back. When text that was told is withdrawn, nothing is
    told until the new text has caught up with it; if it never does, the stream fails.
    """

    def __init__(self, stream: EventStream, saying: Saying) -> None:
        self._stream = stream
        self._saying = saying
        self._told = ""
        self._anew: str | None = None

    async def tell(self, numbered: AnswerEvent) -> None:
        """Tell the next event.

        Raises:
            ProblemError: what was told is not the answer.
            ReaderTooSlowError: the reader was cut off.
        """
        event = numbered.event
        self._saying.answer.add(event)
        match event:
            case TextDelta(text) | SectionText(_, text):
                await self._tell_text(text)
            case Revised():
                self._anew = ""
            case Plan():
                self._stream.headers.update(headers_of(event, None))
            case Completed():
                await self._end(event)

    async def _tell_text(self, text: str) -> None:
        if self._anew is not None:
            self._anew += text
            if not self._anew.startswith(self._told):
                return
            text, self._anew = self._anew.removeprefix(self._told), None
        if text:
            is_first = not self._told
            self._told += text
            data = (self._saying.first() if is_first else b"") + self._saying.text(text)
            await self._stream.write(data, urgent=is_first)

    async def _end(self, completed: Completed) -> None:
        if self._anew is not None and self._anew != self._told:
            # The run was read to its end, so that another try finds its answer stored.
            detail = "The text so far is withdrawn, and another was written; ask again for it."
            raise ProblemError(Problem(503, "ANSWER_REVISED", detail))
        if not self._stream.is_started:
            plan = self._saying.answer.plan
            self._stream.headers.update(headers_of(plan, completed))
        begin = b"" if self._told else self._saying.first()
        await self._stream.write(begin + self._saying.end(completed), urgent=True)
