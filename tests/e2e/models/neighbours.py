"""What there is of a model: live release, processes, counters, registry, features, data, rollouts, ledger, log, an answer."""

from __future__ import annotations

import json
import re
from typing import Any

from demo.models.case import Case
from e2e.models.project import ASKED, Project
from tidegate.apps.deliveries import open_delivery
from tidegate.files.digests import folder_files
from tidegate.files.layout import StateFolder
from tidegate.ports.inference_records import Selection

Footprint = dict[str, Any]


def footprints(project: Project, but: Case) -> dict[str, Footprint]:
    """Of each live model beside one."""
    return {case.model: footprint(project, case) for case in project.cases if case is not but and case.model in project.live}


def footprint(project: Project, case: Case) -> Footprint:
    model, state, platform = case.model, StateFolder(project.state), project.platform()
    status = open_delivery(platform, "local").overview(model, with_drift=False)
    views = [dict(view) for view in (status.features or {"views": []})["views"]]
    for view in views:
        view.pop("age_seconds")
    lines = [json.loads(line) for line in (state.ledger / "ledger.jsonl").read_text().splitlines()]
    heads = platform.records(model).heads(Selection())
    processes = [json.loads(path.read_bytes()) for path in state.pids.glob(f"slot-{model}-*.json")]
    return {
        "live": [status.live, status.version, status.slot, status.since, status.rollout, status.frozen],
        "counters": status.slots,
        "features": {**(status.features or {}), "views": views},
        "processes": sorted((each["name"], each["pid"]) for each in processes),
        "versions": platform.registry.versions(model),  # with their metrics and aliases
        "ledger": [line["hash"] for line in lines if re.split("[@/]", line["subject"])[0] == model],
        "records": [(head.id, head.at, head.release, head.status) for head in heads if head.client_id != ASKED],
        "desired": state.desired(model).read_text(),
        "rollouts": folder_files(state.rollouts / model),
        "store": folder_files(state.root / "features" / model),
        "data": {name: folder_files(state.data(name)) for name in platform.project.model(model).datasets},
        "releases": {each.id: folder_files(state.release(each.digest)) for each in platform.releases.list(model)},
    }
