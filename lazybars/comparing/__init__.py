"""A user's own strategy, run on its bare source and wrapped, each in a process of its own, and compared.

`command` starts here; `running` asks for the processes, which run `worker`: that has `watching` note what
Lumibot does; `outcome` says what differs, `show` prints it. Only `watching` and `stored` know Lumibot.
"""
