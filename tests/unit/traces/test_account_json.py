import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.values import Account, HopAccount, Piece, PieceKind
from libs.values.account_json import account_from_json, account_to_json

seconds = st.floats(0, 1e4, allow_nan=False)
pieces = st.builds(Piece, st.text(), st.sampled_from(PieceKind), seconds, seconds)
hops = st.builds(HopAccount, st.text(), *[seconds] * 7, st.text(), st.text())
accounts = st.builds(
    Account,
    seconds,
    st.none() | seconds,
    st.lists(pieces, max_size=4).map(tuple),
    st.lists(hops, max_size=4).map(tuple),
)


@settings(deadline=None)  # a busy machine proves nothing
@given(account=accounts)
def test_an_account_comes_back_as_it_was(account: Account) -> None:
    assert account_from_json(account_to_json(account)) == account


def test_kinds_are_the_numbers_of_the_contract() -> None:
    piece = Piece("generation", PieceKind.MODEL, 0.0, 1.0)
    assert '"kind":4' in account_to_json(Account(1.0, None, (piece,), ()))


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"total_s": 1}', '{"total_s":'])
def test_what_is_no_account_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        account_from_json(text)
