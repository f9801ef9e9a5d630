"""The platform of a project, as commands and programs use it: its data, versions, evidence and processes in one object.

`Platform(project)` is cheap; a vendor library is imported when a method needs it. Every method takes the name of a model of
the project first, raises `TidegateError`s, and returns plain values. What is recorded, is recorded in the ledger by the use
case that does it. Each noun has a module; whoever needs one alone takes its class.
"""

from __future__ import annotations

from tidegate.apps.project_evidence import ProjectEvidence
from tidegate.apps.project_processes import Running

__all__ = ["Platform", "Running"]


class Platform(ProjectEvidence):
    """One project on one state folder, and what can be done with it."""
