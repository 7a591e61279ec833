"""The index of bars, made in one step where nanoseconds reach, against pandas' own way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazybars.store.spans import index_of

NEW_YORK = "America/New_York"
REACH_US = 2**63 // 1000


@given(
    times_us=st.lists(st.integers(-REACH_US + 1, REACH_US - 1), max_size=20),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
)
@settings(max_examples=200)
def test_it_is_pandas_own(times_us: list[int], unit: str) -> None:
    stamps = np.array(times_us, dtype=np.int64)
    expected = pd.DatetimeIndex(stamps.view("M8[us]"), tz="UTC").as_unit(unit).tz_convert(NEW_YORK)
    pd.testing.assert_index_equal(index_of(stamps, unit), expected.rename("datetime"))


@pytest.mark.parametrize("time_us", [REACH_US + 1, -REACH_US - 1])
def test_what_nanoseconds_do_not_reach_is_refused(time_us: int) -> None:
    with pytest.raises(pd.errors.OutOfBoundsDatetime):
        index_of(np.array([time_us]), "ns")
