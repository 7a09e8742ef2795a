"""The OpenAPI document says what the operations are."""

from pydantic import BaseModel
from starlette.responses import Response

from services.edge.web.exchange import Exchange
from services.edge.web.openapi import document_of
from services.edge.web.operation import Operation, Parameter, Reply


class Wish(BaseModel):
    text: str


async def nothing(exchange: Exchange) -> Response | None:
    return None


GRANT = Operation(
    "POST",
    "/v1/wishes/{wish}",
    "grantWish",
    "Grant a wish.",
    nothing,
    right="answers",
    replies={201: Reply("Granted.", {"application/json": Wish}, {"Location": "Where it is."})},
    body=Wish,
    parameters=(Parameter("wish", "path", "Which one."), Parameter("wait", "query", "How long.")),
    refusals=(404,),
)


def test_an_operation_stands_under_its_path_and_method() -> None:
    document = document_of([GRANT])
    made = document["paths"]["/v1/wishes/{wish}"]["post"]
    assert made["operationId"] == "grantWish"
    assert [each["required"] for each in made["parameters"]] == [True, False]
    content = made["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Wish"}
    assert document["components"]["schemas"]["Wish"]["required"] == ["text"]


def test_every_refusal_is_a_problem() -> None:
    responses = document_of([GRANT])["paths"]["/v1/wishes/{wish}"]["post"]["responses"]
    assert set(responses) >= {"201", "400", "404", "413", "415", "429", "503"}
    assert list(responses["404"]["content"]) == ["application/problem+json"]
    assert responses["201"]["headers"]["Location"]["schema"] == {"type": "string"}
