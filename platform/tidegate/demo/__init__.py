"""The story that `tidegate demo` tells: a scenario on real data under real load, its facts and its report.

`scenario` drives the platform as an engineer would, `load` replays traffic from a process of its own, `facts` counts what
happened from the raw logs alone, and `report` draws it.
"""
