"""Errors a user can cause or meet, each one sentence that says what to do next; exit codes are those of the platform's.

InfraError          base (1)
├── InvalidInput    an argument is wrong (2)
├── NotFound        what was named is not there (3)
├── Conflict        it is taken, being made or used (4)
└── Unavailable     something needed is missing or did not become ready (7)
"""

from __future__ import annotations


class InfraError(Exception):
    exit_code = 1


class InvalidInput(InfraError):
    exit_code = 2


class NotFound(InfraError):
    exit_code = 3


class Conflict(InfraError):
    exit_code = 4


class Unavailable(InfraError):
    exit_code = 7
