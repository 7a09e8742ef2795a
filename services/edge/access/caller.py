"""Who a request is from, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from libs.values import Reader
from services.edge.access.quota import UNLIMITED, Quota
from services.edge.problem import Problem, ProblemError

ALL = "*"
RIGHTS = frozenset({"answers", "documents.read", "documents.write", "jobs"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that is known.

    Attributes:
        tenant_id: whose documents, answers and jobs they may use.
        name: the key's or the subject's name, for spans and logs; never a secret.
        rights: what they may do, of `RIGHTS`; `*` is everything.
        document_scopes: the document scopes that a request may name; `*` is any.
        quota: what they may have, besides what their tenant may.
    """

    tenant_id: str
    name: str
    rights: frozenset[str]
    document_scopes: frozenset[str]
    quota: Quota = UNLIMITED

    def may(self, right: str) -> bool:
        """Return whether this caller has a right."""
        return right in self.rights or ALL in self.rights

    def require(self, right: str) -> None:
        """Refuse what this caller may not do.

        Raises:
            ProblemError: the right is missing.
        """
        if not self.may(right):
            raise ProblemError(Problem(403, "MISSING_RIGHT", f"This needs the right {right}."))

    def may_name(self, scope: str) -> bool:
        """Return whether a document scope is open, or one of this caller's."""
        return not scope or scope in self.document_scopes or ALL in self.document_scopes

    @property
    def reader(self) -> Reader:
        """Which runs this caller may read, end and judge."""
        return Reader(self.tenant_id, self.document_scopes)

    def check_scope(self, scope: str) -> None:
        """Refuse a document scope that is not this caller's.

        Raises:
            ProblemError: the scope may not be named.
        """
        if not self.may_name(scope):
            problem = Problem(403, "SCOPE_NOT_ALLOWED", f"scope: {scope} is not yours.", "scope")
            raise ProblemError(problem)


def anyone(tenant_id: str) -> Caller:
    """Return the caller that everyone is where nobody is asked: one tenant, all rights."""
    return Caller(tenant_id, "anyone", frozenset({ALL}), frozenset({ALL}))
