"""Lumibot's recorder of inputs, writing the same records in a tenth of the time.

During a backtest Lumibot hashes the first 4,096 frames of history that a strategy is given, row by row
(``backtesting/market_input_evidence.py``): some five seconds of every run, whatever the source. Rolling
windows show the same rows again and again, and a row is recognised here by its bytes, where Lumibot
spells it out to look it up. What is recorded, and so every file that a run leaves, is the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lumibot.backtesting import market_input_evidence as evidence
from lumibot.backtesting.market_input_evidence import MarketInputEvidence
from lumibot.entities import Asset

__all__ = ["quicken"]

# (what is kept of it, its hash, its JSON), as Lumibot caches a row.
_Row = tuple[list[Any], str, str]


def quicken(recorder: Any) -> None:
    """Have a recorder of Lumibot's, which has recorded nothing yet, work faster; any other stays as it is."""
    if type(recorder) is MarketInputEvidence and not recorder.observations and _same():
        recorder.__class__ = _Recorder
        recorder._known_rows = {}
        recorder._known_count = 0


class _Recorder(MarketInputEvidence):
    """As its base, which is asked for what is not plain numbers on distinct times."""

    _known_rows: dict[Any, dict[bytes, _Row]]
    _known_count: int

    def record(
        self, *, asset: Any, timestep: Any, when: Any, frame: Any, purpose: Any, quote: Any = None
    ) -> None:
        with self.lock:
            full = len(self.observations) >= self.max_observations
            columns = None if full or frame is None else _plain_columns(frame, self.max_rows)
            if columns is None:
                super().record(
                    asset=asset, timestep=timestep, when=when, frame=frame, purpose=purpose, quote=quote
                )
                return
            names = list(columns)
            context = {
                "asset": evidence._encoded(evidence.asset_identity(asset, quote)),
                "timestep": str(timestep),
                "columns": evidence._encoded(names),
            }
            rows = self._rows_of(frame.index, columns, context)
            encoded = '{"columns":' + context["columns"] + ',"rows":[' + ",".join(r[2] for r in rows) + "]}"
            observed = when.isoformat()
            observation = {
                **context,
                "purpose": purpose,
                "observedAt": observed,
                "frameSha256": hashlib.sha256(encoded.encode()).hexdigest(),
                "returnedRows": len(rows),
                "windowStart": rows[0][0][0],
                "windowEnd": rows[-1][0][0],
            }
            key = evidence._encoded(observation)
            if key in self.seen:
                return
            sequence = len(self.observations)
            for row, row_key, _ in rows:
                if row_key in self.rows:
                    continue
                if len(self.rows) >= self.max_rows:
                    self.incomplete.add("row_limit")
                    continue
                self.rows[row_key] = {
                    **context,
                    "rowSha256": row_key,
                    "barTime": row[0],
                    "firstObservedAt": observed,
                    "observedSequence": sequence,
                    **dict(zip(names, row[1:], strict=True)),
                }
            self.seen.add(key)
            self.observations.append({**observation, "sequence": sequence})

    def _rows_of(
        self, index: pd.DatetimeIndex, columns: dict[str, npt.NDArray[Any]], context: dict[str, str]
    ) -> list[_Row]:
        place = (context["asset"], context["timestep"], context["columns"], str(index.tz), index.unit)
        known = self._known_rows.setdefault(place, {})
        cells = np.empty((len(index), len(columns) + 1), dtype=np.int64)
        cells[:, 0] = index.asi8
        for at, values in enumerate(columns.values(), start=1):
            cells[:, at] = values.view(np.int64)
        held, width = cells.tobytes(), cells.shape[1] * 8
        rows = []
        for at in range(len(index)):
            key = held[at * width : (at + 1) * width]
            row = known.get(key)
            if row is None:
                kept = (evidence._scalar(column[at].item()) for column in columns.values())
                shown = [index[at].isoformat(), *kept]
                digest = hashlib.sha256(evidence._encoded({**context, "values": shown}).encode()).hexdigest()
                row = (shown, digest, evidence._encoded(shown))
                if self._known_count < self.max_rows:
                    known[key] = row
                    self._known_count += 1
            rows.append(row)
        return rows


def _plain_columns(frame: Any, max_rows: int) -> dict[str, npt.NDArray[Any]] | None:
    """What is recorded of a frame of plain numbers; None of any other, which Lumibot's own way sees to."""
    index = frame.index
    if (
        not 0 < len(frame) <= max_rows
        or type(index) is not pd.DatetimeIndex
        or not index.is_unique
        or index.hasnans
        or not frame.columns.is_unique
    ):
        return None
    columns = {}
    for at, name in enumerate(frame.columns):
        if name in evidence.MARKET_COLUMNS:
            values = frame._get_column_array(at)
            if type(values) is not np.ndarray or values.dtype not in (np.float64, np.int64):
                return None
            columns[name] = np.ascontiguousarray(values)
    return columns or None


@cache
def _same() -> bool:
    """Try it against Lumibot's own, on values that are easily told wrong."""
    index = pd.date_range("2024-03-10 01:58", periods=4, freq="1min", tz="America/New_York", name="datetime")
    frame = pd.DataFrame(
        {
            "open": [1.5, np.nan, -0.0, np.inf],
            "close": [0.1 + 0.2, 1e-9, 0.0, 2.0],
            "volume": [1, 2, 3, 2**60],
        },
        index=index,
    )
    frame["return"] = 0.5
    mine, theirs = MarketInputEvidence(max_rows=5), MarketInputEvidence(max_rows=5)
    mine.__class__ = _Recorder
    mine._known_rows, mine._known_count = {}, 0
    asset, quote = Asset("A"), Asset("USD", "forex")
    asked = [
        (frame, None),
        (frame.iloc[1:], None),
        (frame, None),
        (frame * 2.0, quote),
        (frame.iloc[:0], None),
    ]
    try:
        for recorder in (mine, theirs):
            for at, (shown, against) in enumerate(asked):
                when = dt.datetime(2024, 3, 10, 12, at // 3)
                recorder.record(
                    asset=asset, timestep="minute", when=when, frame=shown, purpose="history", quote=against
                )
        return all(
            repr(getattr(mine, name)) == repr(getattr(theirs, name))
            for name in ("rows", "observations", "incomplete")
        )
    except (AttributeError, TypeError, ValueError):
        return False
