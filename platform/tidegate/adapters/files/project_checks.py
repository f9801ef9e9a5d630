"""What the parts of a project file have to say of one another; each problem is one InvalidInput."""

from __future__ import annotations

from tidegate.domain.access import ANY
from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import Project, did_you_mean


def check_project(project: Project) -> None:
    """Raises InvalidInput, which names the file and the key."""
    _check_names(project)
    _check_ports(project)
    _check_default_model(project)
    _check_access(project)
    _check_schedules(project)


def _check_names(project: Project) -> None:
    """Objects on a cluster are named after their model, with a dash for an underscore."""
    found: dict[str, str] = {}
    for name in project.models:
        other = found.setdefault(name.replace("_", "-"), name)
        if other != name:
            raise InvalidInput(f"{project.file}: models '{other}' and '{name}' differ in '_' and '-' alone; rename one of them")


def _check_ports(project: Project) -> None:
    local = project.local
    last = local.slot_ports + 2 * local.replicas * len(project.models) - 1
    if local.gateway_port == local.admin_port:
        raise InvalidInput(f"{project.file}: gatewayPort and adminPort are both {local.gateway_port}; they must differ")
    for name, port in (("gatewayPort", local.gateway_port), ("adminPort", local.admin_port)):
        if local.slot_ports <= port <= last:
            raise InvalidInput(
                f"{project.file}: {name} {port} lies in the slots' ports {local.slot_ports} to {last}; choose one outside"
            )


def _check_default_model(project: Project) -> None:
    chosen = project.local.default_model
    if chosen and chosen not in project.models:
        hint = did_you_mean(chosen, project.models)
        raise InvalidInput(f"{project.file}: targets.local.defaultModel is '{chosen}', no model of the project; {hint}")


def _check_access(project: Project) -> None:
    for name, role in project.access.roles.items():
        for model in role.models:
            if model != ANY and model not in project.models:
                hint = did_you_mean(model, project.models)
                raise InvalidInput(f"{project.file}: access.roles.{name}.models has '{model}', no model of the project; {hint}")


def _check_schedules(project: Project) -> None:
    if not project.schedules:
        return
    from tidegate.adapters.cron.times import CronsimTimes

    for name, schedule in project.schedules.items():
        try:
            CronsimTimes().check(schedule.cron, schedule.zone)
        except InvalidInput as error:
            raise InvalidInput(f"{project.file}: schedules.{name}: {error}") from error
        if not schedule.run:
            raise InvalidInput(f"{project.file}: schedules.{name}.run is empty; required: a command, as [status, --json]")
