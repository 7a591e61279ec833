"""Sources that download: Lumibot's own and the wrapped one against a vendor on this machine.

vendor   what the stand-ins of all vendors share: real bars, a local server, a count of requests
polygon  Polygon's documented answers, and Lumibot pointed at them
asking   the same questions to two sources, compared bit for bit
"""
