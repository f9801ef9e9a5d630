{{/*
Envoy's files, of the parts in envoy/, which are rendered from the platform's own gateway (`python -m tests.golden.render_charts` writes
them): here they are only put together, a model at a time, with names, ports and time-outs for what stands between @.
What is mirrored goes to a release while it is judged and else to nobody, since the shadow Service selects no pod then.
*/}}
{{- define "tidegate.filled" -}}
{{- $model := .model -}}
{{- .part | toJson | replace "@MODEL@" $model.name | replace "@OBJECT@" ($model.name | replace "_" "-") | replace "@NAMESPACE@" $model.namespace | replace "@RELEASE@" .release | replace "@TIMEOUT@" ($model.timeoutSeconds | default 10 | toString) | replace "\"@PORT@\"" ($model.port | default 8080 | toString) | replace "\"@GRPC_PORT@\"" ($model.grpcPort | default 0 | toString) | replace "\"@BODY_LIMIT@\"" (mul ($model.maxBodyMegabytes | default 1) 1048576 | toString) -}}
{{- end }}

{{- define "tidegate.rds" -}}
{{- $parts := .Files.Get "envoy/routes.json" | fromJson -}}
{{- $models := .Values.gateway.models -}}
{{- $default := .Values.gateway.defaultModel -}}
{{- if and (not $default) (eq (len $models) 1) -}}{{- $default = (first $models).name -}}{{- end -}}
{{- $routes := list -}}
{{- $root := list -}}
{{- $names := list -}}
{{- range $model := $models -}}
{{- $names = append $names $model.name -}}
{{- $this := dict "model" $model "release" $.Release.Name -}}
{{- $routes = concat $routes (include "tidegate.filled" (set $this "part" $parts.model) | fromJsonArray) -}}
{{- if $model.grpcPort -}}
{{- $routes = concat $routes (include "tidegate.filled" (set $this "part" $parts.model_grpc) | fromJsonArray) -}}
{{- end -}}
{{- if eq $model.name $default -}}
{{- if $model.grpcPort -}}{{- $root = include "tidegate.filled" (set $this "part" $parts.default_grpc) | fromJsonArray -}}{{- end -}}
{{- $root = concat $root (include "tidegate.filled" (set $this "part" $parts.default) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- if and $default (not $root) -}}
{{- fail (printf "gateway.defaultModel is '%s', which gateway.models does not name; it names: %s" $default (join ", " $names)) -}}
{{- end -}}
{{- if not $models -}}{{- $root = $parts.empty -}}{{- end -}}
{{- if not $root -}}
{{- $root = $parts.several | toJson | replace "@MODELS@" (join "/, /models/" $names) | fromJsonArray -}}
{{- end -}}
{{- $host := first $parts.table.virtual_hosts -}}
{{- $table := set $parts.table "virtual_hosts" (list (set $host "routes" (concat $routes $parts.unknown $root))) -}}
{{- dict "version_info" "1" "resources" (list $table) | toYaml -}}
{{- end }}

{{- define "tidegate.cds" -}}
{{- $parts := .Files.Get "envoy/clusters.json" | fromJson -}}
{{- $clusters := list -}}
{{- range $model := .Values.gateway.models -}}
{{- $this := dict "model" $model "release" $.Release.Name -}}
{{- $clusters = concat $clusters (include "tidegate.filled" (set $this "part" $parts.model) | fromJsonArray) -}}
{{- if $model.grpcPort -}}
{{- $clusters = concat $clusters (include "tidegate.filled" (set $this "part" $parts.model_grpc) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- dict "version_info" "1" "resources" $clusters | toYaml -}}
{{- end }}
