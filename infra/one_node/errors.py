"""Errors a user can cause or meet, each one sentence that says what to do next; exit codes are those of the platform's.

ClusterError        base (1)
├── InvalidInput    an argument is wrong (2)
├── NotFound        no such cluster (3)
├── Conflict        the name is taken (4)
└── Unavailable     something needed is missing or did not become ready (7)
"""

from __future__ import annotations


class ClusterError(Exception):
    exit_code = 1


class InvalidInput(ClusterError):
    exit_code = 2


class NotFound(ClusterError):
    exit_code = 3


class Conflict(ClusterError):
    exit_code = 4


class Unavailable(ClusterError):
    exit_code = 7
