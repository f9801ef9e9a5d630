"""From a Feast registry to the contract of a feature service: its key, its features with their datatypes, how long values hold.

The key of a service is made of the join keys of its views, in the order of their names, as Feast itself orders them: so neither
the order of definitions nor that of a table's columns changes what an entity is called. The names of Feast's entities play no
part. A view may have a part of the key, or none of it: Feast's views without entities hold what is known of all together. What
cannot be served is refused here, by name, and so when definitions are registered: a key of another type than String, whole
numbers or Bool, a feature that is no number, Bool or String, a view under another name, and a service without any key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.domain.contract import FeatureContract, keyed
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.keys import JoinKey, Key

TIME = "event_timestamp"
ON_DEMAND_TAG = "on_demand"
NO_ENTITY = "__dummy"  # begins the name of Feast's entity and join key of views that have none
# Feast's ValueType, by the names of the Open Inference Protocol
KEY_TYPES = {2: "BYTES", 3: "INT32", 4: "INT64", 7: "BOOL"}
FEATURE_TYPES = {2: "BYTES", 3: "INT32", 4: "INT64", 5: "FP64", 6: "FP32", 7: "BOOL"}
PLAIN = ("FP64", "FP32")  # numbers that need no mention


def views_of(registry: Any) -> dict[str, Any]:
    """The specs of all views with a table, by name: those that are fed by a stream too."""
    return {view.spec.name: view.spec for view in (*registry.feature_views, *registry.stream_feature_views)}


def services_of(registry: Any) -> dict[str, Any]:
    return {service.spec.name: service.spec for service in registry.feature_services}


def key_of(registry: Any, view: Any) -> Key:
    """The join keys of a view's rows, from its spec; raises InvalidInput."""
    return tuple(JoinKey(name, datatype) for name, datatype in sorted(_key(registry, view).items()))


def features_of(view: Any) -> dict[str, str]:
    """The datatype of each feature of a view's spec that can be stored."""
    keys = {column.name for column in view.entity_columns}
    return {f.name: FEATURE_TYPES[f.value_type] for f in view.features if f.value_type in FEATURE_TYPES and f.name not in keys}


def contract_of(registry: Any, service: str, repo: str) -> FeatureContract:
    """What a feature service reads; raises NotFound, InvalidInput."""
    specs = services_of(registry)
    if service not in specs:
        known = ", ".join(sorted(specs)) or "none"
        raise NotFound(f"feature service '{service}' is not registered (there is {known}); see {repo}")
    views = views_of(registry)
    computed = {view.spec.name: view.spec for view in registry.on_demand_feature_views}
    stored: dict[str, set[str]] = {}
    vector: list[str] = []
    derived: list[str] = []
    types: dict[str, str] = {}
    request: dict[str, str] = {}
    for projection in specs[service].features:
        view, names = projection.feature_view_name, [column.name for column in projection.feature_columns]
        if view in views:
            _plainly_named(service, projection)
            stored.setdefault(view, set()).update(names)
            vector += [f"{view}__{name}" for name in names]
            continue
        if view not in computed:
            raise InvalidInput(f"feature service '{service}' has '{view}', which is no feature view; leave it out")
        derived += names
        types |= {each.name: _feature_type(service, view, each) for each in projection.feature_columns}
        for source in computed[view].sources.values():
            if source.WhichOneof("source") == "request_data_source":
                for field in source.request_data_source.request_data_options.schema:
                    if field.name != TIME:
                        request[field.name] = FEATURE_TYPES.get(field.value_type, "")
            else:
                read = source.feature_view_projection
                stored.setdefault(read.feature_view_name, set()).update(c.name for c in read.feature_columns)
    tag = dict(specs[service].tags).get(ON_DEMAND_TAG)
    if derived and not tag:
        raise InvalidInput(
            f"feature service '{service}' has on-demand features but no tag '{ON_DEMAND_TAG}'; "
            f"add tags={{'{ON_DEMAND_TAG}': 'FILE.py:FUNCTION'}}, the source of the function that makes them"
        )
    in_order = {v: tuple(f.name for f in views[v].features if f.name in names) for v, names in stored.items()}
    for view, kept in in_order.items():
        here = [each for each in views[view].features if each.name in kept]
        types |= {f"{view}__{each.name}": _feature_type(service, view, each) for each in here}
    keys = {view: _key(registry, views[view]) for view in in_order}
    whole = _whole_key(service, keys)
    entity, join_keys = keyed(whole)
    return FeatureContract(
        service,
        entity,
        in_order,
        (*vector, *derived),
        tuple(request),
        tag if derived else None,
        tuple(derived),
        {name: datatype for name, datatype in request.items() if datatype},
        join_keys,
        {name: datatype for name, datatype in types.items() if datatype not in PLAIN},
        ttl={view: limit for view in in_order if (limit := views[view].ttl.ToTimedelta().total_seconds()) > 0},
        view_keys={view: tuple(n for n in whole if n in key) for view, key in keys.items() if len(key) < len(whole)},
    )


def refusals(registry: Any, own: str, repo: str) -> list[str]:
    """Why each feature service but `own` cannot be served, of those that cannot."""
    found = []
    for name in sorted(services_of(registry)):
        if name != own:
            try:
                contract_of(registry, name, repo)
            except InvalidInput as error:
                found.append(f"cannot be served: {error}")
    return found


def _plainly_named(service: str, projection: Any) -> None:
    view = projection.feature_view_name
    if projection.join_key_map or projection.feature_view_name_alias not in ("", view):
        raise InvalidInput(
            f"feature service '{service}' has view '{view}' under another name or other join keys, which cannot be stored; "
            "define a view of its own over the same source"
        )


def _feature_type(service: str, view: str, feature: Any) -> str:
    if feature.value_type not in FEATURE_TYPES:
        raise InvalidInput(
            f"feature service '{service}': feature '{view}:{feature.name}' is of type {_type_name(feature.value_type)}, "
            "allowed are Float64, Float32, Int64, Int32, Bool and String; select the view's other features, as in "
            f"{view}[['NAME']]"
        )
    return FEATURE_TYPES[feature.value_type]


def _key(registry: Any, view: Any) -> dict[str, str]:
    """The datatype of each join key of a view."""
    join_keys = {each.spec.name: each.spec.join_key for each in registry.entities}
    types = {column.name: column.value_type for column in view.entity_columns}
    key = {}
    for entity in view.entities:
        if entity.startswith(NO_ENTITY):
            continue
        name = join_keys.get(entity, entity)
        if types.get(name) not in KEY_TYPES:
            raise InvalidInput(
                f"feature view '{view.name}': join key '{name}' is of type {_type_name(types.get(name, 0))}, allowed are "
                "String, Int64, Int32 and Bool; declare it by a Field of the view's schema or the entity's value_type, and "
                "make its column of that type"
            )
        key[name] = KEY_TYPES[types[name]]
    return key


def _whole_key(service: str, keys: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The join keys of all views, by name; raises InvalidInput where two views do not agree on a type."""
    if not keys:
        raise InvalidInput(f"feature service '{service}' reads no feature view; add one, or leave the model's features out")
    whole: dict[str, str] = {}
    for view, key in keys.items():
        for name, datatype in key.items():
            if whole.setdefault(name, datatype) != datatype:
                raise InvalidInput(
                    f"feature service '{service}': join key '{name}' is {datatype} in view '{view}' and {whole[name]} in "
                    "another; give it one type"
                )
    if not whole:
        raise InvalidInput(
            f"feature service '{service}' has no key: none of its views has an entity; add a view of what is asked about"
        )
    return dict(sorted(whole.items()))


def _type_name(value_type: int) -> str:
    from feast.value_type import ValueType

    names: Sequence[str] = [each.name for each in ValueType if each.value == value_type]
    return names[0] if names else str(value_type)
