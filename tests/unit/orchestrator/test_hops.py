import pytest

from libs.errors import BudgetExhaustedError, DependencyUnavailableError, MeshError
from libs.values.retrieval import PassageList, SearchStage
from services.orchestrator.hops import _cut_short

LATE = BudgetExhaustedError("too late", hop="retrieval")
GONE = DependencyUnavailableError("gone", retry_after_s=1.0)


@pytest.mark.parametrize(
    ("error", "stage", "outcome"),
    [
        (LATE, SearchStage.LEXICAL, "TIMED_OUT"),
        (LATE, SearchStage.FUSED, "NOT_RERANKED"),
        (GONE, SearchStage.FUSED, "DEPENDENCY_UNAVAILABLE"),
    ],
)
def test_a_search_that_breaks_off_says_what_its_list_lacks(
    error: MeshError, stage: SearchStage, outcome: str
) -> None:
    assert _cut_short(error, PassageList((), stage, 1, "store")) == outcome
