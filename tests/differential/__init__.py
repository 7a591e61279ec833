"""The differential rig: eager Lumibot answers a question, lazybars answers it, no bit may differ.

exact       compares two answers, whatever a data source can answer
universes   plain-data universes and the Lumibot ``Data`` built from them
requests    plain-data clocks and questions, and playing them to a source
drawn       hypothesis strategies of both
real        universes of real bars from ``../shared/data``
rig         eager against another source, and the failing case as a script
strategies  the strategies of whole backtests
backtests   whole backtests as specs, recorded and compared
"""
