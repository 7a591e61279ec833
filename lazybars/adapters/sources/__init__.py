"""How each of Lumibot's data sources is wrapped: found by what a class descends from.

A source family that downloads is one module here, with one mixin, which goes in front of Lumibot's class
(see "Sources that download" in ARCHITECTURE.md). It is imported when a class of its family is wrapped.
What cannot be bounded is passed through: it does what it always did, and says so once.
"""

from __future__ import annotations

from importlib import import_module

from lazybars.adapters.sources.passing import alike, passed_through

__all__ = ["alike", "mixin_of", "passed_through", "why_not"]

_BACKTESTING = "lumibot.backtesting."
# Lumibot's class -> the module here that wraps it, and the mixin there.
_WRAPPED = {
    "lumibot.data_sources.pandas_data.PandasData": ("lazybars.adapters.lumibot_source", "LazyMixin"),
    _BACKTESTING + "alpaca_backtesting.AlpacaBacktesting": (
        "lazybars.adapters.sources.alpaca",
        "LazyAlpaca",
    ),
    _BACKTESTING + "databento_backtesting_polars.DataBentoDataBacktestingPolars": (
        "lazybars.adapters.sources.databento",
        "LazyDataBento",
    ),
    _BACKTESTING + "polygon_backtesting.PolygonDataBacktesting": (
        "lazybars.adapters.sources.polygon",
        "LazyPolygon",
    ),
    _BACKTESTING + "ccxt_backtesting.CcxtBacktesting": ("lazybars.adapters.sources.ccxt", "LazyCcxt"),
    _BACKTESTING + "yahoo_backtesting.YahooDataBacktesting": (
        "lazybars.adapters.sources.yahoo",
        "LazyYahoo",
    ),
}
# Lumibot's class -> why it is passed through.
_PASSED = {
    _BACKTESTING + "databento_backtesting_pandas.DataBentoDataBacktestingPandas": (
        "it masks its whole frames at every call, and repairs them in place when it is asked for a quote "
        "(DataBentoDataBacktesting, the same service in Polars, is wrapped)"
    ),
    _BACKTESTING + "thetadata_backtesting_pandas.ThetaDataBacktestingPandas": (
        "it merges, rewrites and indexes its whole frames at every step of its own cache"
    ),
    _BACKTESTING + "routed_backtesting.RoutedBacktestingPandas": (
        "it hands on to other sources, and looks at the whole frames of each"
    ),
    _BACKTESTING + "interactive_brokers_rest_backtesting.InteractiveBrokersRESTBacktesting": (
        "it repairs its bars on whole frames, and its broker reads their columns directly"
    ),
    _BACKTESTING + "polymarket_backtesting.PolymarketBacktesting": (
        "it loads all that it has when it is made, and reads rows of whole frames"
    ),
}


def _names(cls: type) -> list[str]:
    return [f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__]


def why_not(cls: type) -> str | None:
    """Why a source class cannot be wrapped, or None where it can be: the nearest class known decides."""
    for base, name in zip(cls.__mro__, _names(cls), strict=True):
        if name in _PASSED:
            return _PASSED[name]
        if name in _WRAPPED:
            refuses = getattr(mixin_of(cls), "lazy_refuses", None)
            reason: str | None = None if refuses is None else refuses(cls)
            return reason
        if "_update_pandas_data" in vars(base):
            return "it downloads in a way of its own"
        if base.__module__.startswith("lumibot.backtesting.") and base.__name__ != "PandasDataBacktesting":
            return "lazybars does not know how it loads its bars"
    return "lazybars does not know how it loads its bars"


def mixin_of(cls: type) -> type:
    """The mixin that wraps a class that :func:`why_not` says nothing against."""
    module, mixin = next(_WRAPPED[name] for name in _names(cls) if name in _WRAPPED)
    found: type = getattr(import_module(module), mixin)
    return found
