"""`GET /v1/models`: policies as the models that OpenAI's clients choose from."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from services.edge.chat.body import MODEL, policy_of
from services.edge.chat.refusals import OPENAI
from services.edge.chat.shapes import MODEL as MODEL_SHAPE
from services.edge.chat.shapes import MODELS
from services.edge.problem import Problem, ProblemError
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.operation import Operation, Parameter, Reply
from services.edge.web.request import JSON

_PATH = "/v1/models"


class Models:
    """Names what can be asked.

    Args:
        policies: that are shown; others may be asked for all the same.
        created_s: since when they are there, in seconds since 1970.
    """

    def __init__(self, policies: tuple[str, ...], created_s: int) -> None:
        self._names = (MODEL, *(f"{MODEL}:{each}" for each in policies))
        self._created_s = created_s

    def operations(self) -> tuple[Operation, ...]:
        """Return what this can do."""
        name = Parameter("model", "path", f"`{MODEL}`, or `{MODEL}:<policy>`.")
        listed = Operation(
            "GET",
            _PATH,
            "listModels",
            "List the policies, as models.",
            self._list,
            right="answers",
            replies={200: Reply("The models.", {JSON: MODELS})},
            manner=OPENAI,
        )
        one = Operation(
            "GET",
            _PATH + "/{model}",
            "getModel",
            "Look at a model.",
            self._get,
            right="answers",
            replies={200: Reply("The model.", {JSON: MODEL_SHAPE})},
            parameters=(name,),
            refusals=(404,),
            manner=OPENAI,
        )
        return (listed, one)

    async def _list(self, _: Exchange) -> Response:
        return json_response(
            {"object": "list", "data": [self._model(each) for each in self._names]}
        )

    async def _get(self, exchange: Exchange) -> Response:
        name = exchange.path("model")
        policy_of(name)
        if name not in self._names:
            detail = f"The model {name!r} does not exist."
            raise ProblemError(Problem(404, "MODEL_NOT_FOUND", detail, "model"))
        return json_response(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created_s, "owned_by": "hasten"}
