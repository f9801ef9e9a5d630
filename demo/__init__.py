"""The story that `make demo` tells (`python -m demo`): a scenario on real data under real load, its facts and its report.

It is a program over the platform, which knows nothing of it.

`story` drives the platform as an engineer would, `load` replays traffic from a process of its own, `facts` counts what
happened from the raw logs alone, and `report` draws it. `stage` has what every story does; `models` has those of the other
models.
"""
