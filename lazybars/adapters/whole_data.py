"""Lumibot's ``Data`` as it is, but for frames that belong to whoever asked for them."""

from __future__ import annotations

from typing import Any

from lumibot.entities import Data

__all__ = ["OwnFrames", "WholeData"]


class OwnFrames(Data):
    """A ``Data`` whose answers are the caller's own frames.

    Lumibot keeps the last slice and hands the same object out again, with whatever the strategy
    wrote into it. Here every answer is new.
    """

    @property
    def _get_bars_slice_cache_df(self) -> None:
        return None

    @_get_bars_slice_cache_df.setter
    def _get_bars_slice_cache_df(self, frame: Any) -> None:
        pass


class WholeData(OwnFrames):
    """A ``Data`` that is held whole, as Lumibot holds it: what cannot be served lazily."""

    @classmethod
    def of(cls, data: Data) -> WholeData:
        """The same data; the caller's object is left as it is."""
        whole = cls.__new__(cls)
        whole.__dict__.update(vars(data))
        return whole

    @classmethod
    def of_rows(cls, data: Data) -> WholeData:
        """The rows that another kind of ``Data`` shows, and what else Lumibot's own has."""
        whole = cls.__new__(cls)
        frame = data.df
        strange = {*vars(type(data)), "_whole", "_info", "_bind", "_resampler"}
        whole.__dict__.update({k: v for k, v in vars(data).items() if k not in strange})
        whole.df = frame
        return whole

    def _get_bars_frame_window(self, dt: Any, length: Any = 1, timeshift: Any = 0) -> Any:
        frame, *bounds = super()._get_bars_frame_window(dt, length=length, timeshift=timeshift)
        return (frame if frame is None else frame.copy(), *bounds)

    def _get_frame_between_dates(self, *args: Any, **kwargs: Any) -> Any:
        frame = super()._get_frame_between_dates(*args, **kwargs)
        return frame if frame is None else frame.copy()
