"""Eager Lumibot against another source: play one case to both, compare every answer.

What fails is told as a script that needs only Lumibot, lazybars and pandas: the frames written
out, the one clock stop and the one question (and what was asked before, where that matters).
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Data

from .exact import differences
from .requests import Answer, Request, Walk, play, say
from .smaller import smallest
from .universes import UniverseSpec, build

__all__ = [
    "Differs",
    "Factory",
    "Knobs",
    "Tally",
    "check",
    "differs",
    "eager",
    "lazy",
    "lazy_smallest",
    "of_class",
    "script",
    "stream",
]


@dataclass(frozen=True)
class Knobs:
    """What must never change an answer. ``via``: how the bars reach lazybars."""

    memory: str | int = "512MB"
    partition: str = "auto"
    policy: str = "next-use"
    prefetch: bool = True
    via: str = "class"  # class, instance, store

    def arguments(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "via"}


class Factory(Protocol):
    """Makes a data source over a universe; the ``Data`` are the factory's to keep."""

    def __call__(self, universe: UniverseSpec, data: list[Data]) -> Any: ...


@dataclass
class Tally:
    """How much a test compared, for its report."""

    answers: int = 0
    cases: int = 0
    frames: int = 0


class Differs(AssertionError):
    """Two answers part; the text is what differs and the script that shows it."""


def _given(universe: UniverseSpec, data: list[Data]) -> Any:
    return {(d.asset, d.quote): d for d in data} if universe.as_dict else data


def _window(universe: UniverseSpec) -> dict[str, Any]:
    return {
        "datetime_start": universe.moment(universe.start),
        "datetime_end": universe.moment(universe.end),
        "show_progress_bar": False,
    }


def of_class(kind: type) -> Factory:
    """A factory of any class that is constructed like ``PandasDataBacktesting``."""
    return lambda universe, data: kind(**_window(universe), pandas_data=_given(universe, data))


eager: Factory = of_class(PandasDataBacktesting)


def lazy(knobs: Knobs, wrapped: type = PandasDataBacktesting) -> Factory:
    """A factory of lazybars under the knobs. Imports it late: the rig stands without it."""
    from lazybars import LazyBars, open_store

    if knobs.via == "class":
        return of_class(LazyBars(wrapped, **knobs.arguments()))
    if knobs.via == "instance":
        return lambda universe, data: LazyBars(eager(universe, data), **knobs.arguments())

    def from_store(universe: UniverseSpec, data: list[Data]) -> Any:
        folder = tempfile.mkdtemp(prefix="lazybars-rig-")
        path = str(Path(folder) / "bars.duckdb")
        with open_store(path) as store:
            for item in data:
                store.write(item.df, asset=item.asset, timestep=item.timestep, quote=item.quote)
        return LazyBars(wrapped, store=path, **knobs.arguments())(**_window(universe))

    return from_store


def lazy_smallest(universe: UniverseSpec, **knobs: Any) -> Factory:
    """A factory of lazybars under the least cap that it says it needs for this universe."""
    from lazybars import CapTooSmall

    try:
        source = lazy(Knobs(memory=1, **knobs))(universe, build(universe))
        source.load_data()
    except CapTooSmall as error:
        return lazy(Knobs(memory=error.needed_bytes, **knobs))
    raise AssertionError("a cap of one byte was accepted")


def check(
    universe: UniverseSpec,
    walk: Walk,
    factory: Factory,
    *,
    name: str = "",
    brief: bool = False,
    tally: Tally | None = None,
) -> int:
    """Answers compared; raises :class:`Differs` at the first that parts.

    Both sides play the whole walk before anything is compared: a frame that changes after it was
    handed out is found too. A brief failure says what parts, and looks for no smaller case.
    """
    theirs = _played(eager, universe, walk)
    ours = _played(factory, universe, walk)
    for place, (expected, got) in enumerate(zip_longest(theirs, ours)):
        found = (
            ["one side stopped answering"]
            if expected is None or got is None
            else differences(expected.value, got.value)
        )
        if found and brief:
            raise Differs("\n".join(found))
        if found:
            raise Differs(_report(universe, walk, theirs[min(place, len(theirs) - 1)], found, factory, name))
    if tally is not None:
        tally.answers += len(theirs)
        tally.cases += 1
        tally.frames += sum(getattr(a.value, "df", None) is not None for a in theirs)
    return len(theirs)


def _played(factory: Factory, universe: UniverseSpec, walk: Walk) -> list[Answer]:
    with warnings.catch_warnings():  # Lumibot's own, a thousand times over
        warnings.simplefilter("ignore")
        data = build(universe)
        return list(play(lambda: factory(universe, data), universe, walk))


def differs(factory: Factory) -> Callable[[UniverseSpec, Walk], bool]:
    """Whether any answer of a case parts."""

    def fails(universe: UniverseSpec, walk: Walk) -> bool:
        pairs = zip_longest(_played(eager, universe, walk), _played(factory, universe, walk))
        return any(e is None or g is None or bool(differences(e.value, g.value)) for e, g in pairs)

    return fails


def _report(
    universe: UniverseSpec, walk: Walk, answer: Answer, found: list[str], factory: Factory, name: str
) -> str:
    """What parted first in the whole case, and the smallest case that still parts, as a script."""
    said = say(universe, answer.request) if answer.request else "constructing and load_data()"
    head = [
        f"{name or 'the source'} answers differently from eager Lumibot",
        f"at {answer.when}: {said}",
        *found,
    ]
    universe, walk = smallest(universe, walk, differs(factory))
    theirs, ours = _played(eager, universe, walk), _played(factory, universe, walk)
    parts = ((e, g, differences(e.value, g.value)) for e, g in zip(theirs, ours, strict=False))
    place, least = next(((n, f) for n, (e, g, f) in enumerate(parts) if f), (len(theirs) - 1, found))
    text = script(universe, [(a.when, a.request) for a in theirs[: place + 1]], walk)
    path = Path(tempfile.gettempdir()) / f"lazybars-differs-{os.getpid()}.py"
    path.write_text(text)
    head += ["", "the smallest case:", *least, f"{universe}", f"{walk}", f"script: {path}"]
    return "\n".join(head) + ("\n\n" + text if len(text) < 9000 else "")


def script(universe: UniverseSpec, asked: list[tuple[Any, Request | None]], walk: Walk) -> str:
    """A program that rebuilds exactly this universe and asks exactly these questions of both.

    asked : moments and questions; no question: ``load_data()``.
    """
    made = "\n".join(_frame_code(number, item) for number, item in enumerate(build(universe)))
    given = "{(d.asset, d.quote): d for d in data}" if universe.as_dict else "data"
    steps = "\n".join(
        f"    answers.append(at({w.isoformat()!r}, lambda source, now: {say(universe, r)}))"
        if r is not None
        else "    answers.append(asked(source.load_data))"
        for w, r in asked
    )
    clock = "pd.Timestamp(now)" if walk.stamps else "now"
    move = f"source._update_datetime({clock})" if walk.hook else f"source._datetime = {clock}"
    window = ", ".join(
        f"{k}=when({v.isoformat()!r})" for k, v in _window(universe).items() if k != "show_progress_bar"
    )
    return f'''"""Eager Lumibot and lazybars on one question. Run: python this_file.py"""
import datetime
import numpy as np
import pandas as pd
from lumibot.backtesting import PandasDataBacktesting
from lumibot.entities import Asset, Data
from lazybars import LazyBars

nan = float("nan")


def when(text):
    return pd.Timestamp(text).tz_convert("America/New_York").to_pydatetime()


def frame(stamps, unit, columns):
    index = pd.DatetimeIndex(np.array(stamps, "M8[ns]"), tz="UTC").tz_convert("America/New_York")
    index = index.as_unit(unit)
    made = {{name: pd.Series(values, index=index, dtype=kind) for name, (kind, values) in columns.items()}}
    return pd.DataFrame(made, index=index)


def universe():
    data = []
{made or "    pass"}
    return data


def asked(question):
    try:
        return question()
    except Exception as error:
        return repr(error)


def play(kind):
    data, answers = universe(), []
    source = kind({window}, pandas_data={given}, show_progress_bar=False)

    def at(text, question):
        now = when(text)
        {move}
        return asked(lambda: question(source, source.get_datetime()))

{steps}
    source.shutdown()
    return answers


def show(answer):
    frame = getattr(answer, "df", answer)
    if not isinstance(frame, pd.DataFrame):
        return f"{{type(frame).__name__}} {{vars(frame) if hasattr(frame, 'raw_data') else frame!r}}"
    return f"{{frame.to_string()}}\\n{{frame.dtypes.to_dict()}} {{frame.index!r}}"


print("expected:", show(play(PandasDataBacktesting)[-1]), sep="\\n")
print("got:", show(play(LazyBars(PandasDataBacktesting))[-1]), sep="\\n")
'''


def _frame_code(number: int, item: Data) -> str:
    """One ``Data`` as code. Its frame is spelled after Lumibot sorted, zoned and trimmed it."""
    from .requests import _spell

    frame: pd.DataFrame = item.df
    columns = "".join(
        f"        {name!r}: ({str(frame[name].dtype)!r}, {_list(frame[name])}),\n" for name in frame.columns
    )
    stamps = frame.index.as_unit("ns").asi8.tolist()
    times = (
        f", trading_hours_start={item.trading_hours_start!r}, trading_hours_end={item.trading_hours_end!r}"
    )
    return (
        f"    data.append(Data({_spell(item.asset)}, "
        f"frame({stamps}, {frame.index.unit!r}, {{\n{columns}    }}), "
        f"timestep={item.timestep!r}, quote={_spell(item.quote)}"
        f"{times if item.timestep == 'minute' else ''}))"
    )


def _list(column: pd.Series) -> str:
    values = column.to_numpy()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return f"pd.to_datetime({column.astype('int64').tolist()}, utc=True)"
    return repr(values.astype("float64").tolist() if values.dtype == np.float32 else values.tolist())


def stream(factory: Factory, universe: UniverseSpec, walk: Walk) -> Iterator[Answer]:
    """Play one side only, lazily: for tests that do something between answers."""
    data = build(universe)
    return play(lambda: factory(universe, data), universe, walk)
