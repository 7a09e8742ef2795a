"""One question to the orchestrator, of many."""

from __future__ import annotations

from dataclasses import dataclass

from cli.cache.working import patiently
from libs.clients.answer import AnswerClient
from libs.errors import MeshError, UnauthenticatedError, UnreachableError
from libs.values import Completed, Question
from libs.values.answer_json import WholeAnswer

# What says something of the mesh and nothing of the question.
_FATAL = (UnreachableError, UnauthenticatedError)


@dataclass(frozen=True, slots=True)
class Answered:
    """How a question ended.

    Attributes:
        made_by: the run that the text is from, if no stored answer served.
    """

    made_by: str
    completed: Completed


async def ask(client: AnswerClient, question: Question) -> Answered | MeshError:
    """Ask a question; a failure that is the question's own is a value.

    Raises:
        MeshError: the mesh cannot be spoken to.
    """
    try:
        return await patiently(lambda: _answered(client, question))
    except _FATAL:
        raise
    except MeshError as error:
        return error


def refusal_of(completed: Completed) -> str:
    """Return why there is no answer, or none that is whole."""
    lost = [each.reason for each in completed.degradations if each.hop == "answer"]
    return lost[0] if lost else completed.finish_reason.name.lower()


async def _answered(client: AnswerClient, question: Question) -> Answered:
    answer = WholeAnswer()
    async with client.ask(question) as events:
        async for numbered in events:
            answer.add(numbered.event)
    if answer.plan is None or answer.completed is None:
        raise UnreachableError("the orchestrator ended an answer without its last event")
    return Answered(answer.completed.followed_run_id or answer.plan.run_id, answer.completed)
