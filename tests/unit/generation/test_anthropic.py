from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from services.generation.failures import retry_after_s


@pytest.mark.parametrize(
    ("said", "expected_s"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", 1.0), ("soon", 1.0)]
)
def test_a_wait_is_read_in_seconds_and_is_one_where_nothing_sensible_is_said(
    said: str, expected_s: float
) -> None:
    assert retry_after_s({"retry-after": said}) == expected_s


def test_a_wait_until_a_date_is_read_too() -> None:
    until = datetime.now(UTC) + timedelta(seconds=60)
    wait_s = retry_after_s({"retry-after": format_datetime(until, usegmt=True)})
    assert 50 < wait_s <= 60
