"""Every error a user can cause or meet, each one sentence that says what to do next.

    TidegateError                 base; `exit_code` is what the command line returns
    ├── InvalidInput              a file, a row, an argument or the project file is wrong (2)
    ├── NotFound                  a named model, version, release, request or run does not exist (3)
    ├── Conflict                  the wanted change contradicts what is under way or recorded (4)
    ├── GateClosed                a gate did not PASS, so nothing was changed (5)
    ├── IntegrityError            a digest, a signature or the ledger's chain does not match (6)
    ├── Unavailable               something outside could not be reached: MLflow, Envoy, a port, a disk (7)
    └── AccessDenied              who asks has no role that gives it, so nothing was changed (8)

A message names what was attempted, on which object, what was observed, what was required and what to do. Commands print
the message alone; anything that is not a TidegateError is a defect and is logged with its traceback.
"""

from __future__ import annotations


class TidegateError(Exception):
    """Base of all expected errors."""

    exit_code = 1


class InvalidInput(TidegateError):
    exit_code = 2


class NotFound(TidegateError):
    exit_code = 3


class Conflict(TidegateError):
    exit_code = 4


class GateClosed(TidegateError):
    exit_code = 5


class IntegrityError(TidegateError):
    exit_code = 6


class Unavailable(TidegateError):
    exit_code = 7


class AccessDenied(TidegateError):
    exit_code = 8
