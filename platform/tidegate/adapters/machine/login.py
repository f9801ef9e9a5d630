"""The login behind this process: by its user id, and not by an environment variable that anyone sets. The machine proves no
person: whoever runs as this user is it."""

from __future__ import annotations

import os
import pwd

from tidegate.domain.actor import Actor


def login() -> Actor:
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):  # as in a container whose user has no name
        name = f"uid {uid}"
    return Actor(name, f"login of uid {uid}")
