"""`POST /v1/tickets`: a caller's rights for a minute, for where a browser can send no header."""

from __future__ import annotations

from starlette.responses import Response

from services.edge.access.tickets import LIVES_S, PARAMETER, Tickets
from services.edge.problem import Problem, ProblemError
from services.edge.web.exchange import Exchange, json_response
from services.edge.web.operation import Operation, Reply
from services.edge.web.request import JSON

PATH = "/v1/tickets"
_SCHEMA = {
    "type": "object",
    "required": ["ticket", "expires_in_s"],
    "additionalProperties": False,
    "properties": {"ticket": {"type": "string"}, "expires_in_s": {"type": "number"}},
}


def operations(tickets: Tickets) -> tuple[Operation, ...]:
    """Return what can be done with tickets."""

    async def issue(exchange: Exchange) -> Response:
        if PARAMETER in exchange.request.query_params:
            # Each could be changed for the next, and outlive the key that it came from.
            detail = "A ticket is given to who shows a key or a token, not to another ticket."
            raise ProblemError(Problem(403, "TICKET_FOR_TICKET", detail))
        members = {"ticket": tickets.issue(exchange.caller), "expires_in_s": LIVES_S}
        return json_response(members, 201)

    made = Operation(
        "POST",
        PATH,
        "issueTicket",
        f"Get a ticket, which a browser may send as the parameter `{PARAMETER}` of a URL.",
        issue,
        right="",
        replies={201: Reply("The ticket, and how long it lives.", {JSON: _SCHEMA})},
    )
    return (made,)
