"""The stories of the other models (`python -m demo.models MODEL`): from raw data to a second version live under load, and a
faulty one that is stopped.

`case` is what is to be known of a model to go that way, and a module a model describes it; the end-to-end tests go the same
way by the same descriptions. `story` tells it, `guard` sees to it that nothing is left running.
"""
