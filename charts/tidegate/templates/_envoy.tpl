{{/*
Envoy's files. What is mirrored goes to a release while it is judged and else to nobody, since the shadow Service selects no pod then;
Envoy appends `-shadow` to the host of what it mirrors, by which pods know it, so no client may choose the host. The listener for probes and Prometheus shows two paths of the admin interface, which itself listens on loopback
alone. What is done with a request and how it is routed is rendered from the platform's own gateway (`python -m tests.golden.render_charts` writes it).
*/}}
{{- define "tidegate.envoy" -}}
{{- $http := "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" -}}
{{- $router := dict "name" "router" "typed_config" (dict "@type" "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router") -}}
{{- $folder := dict "path" "/etc/envoy" -}}
{{- $rds := dict "path_config_source" (dict "path" "/etc/envoy/rds.json" "watched_directory" $folder) "resource_api_version" "V3" -}}
{{- $cds := dict "path_config_source" (dict "path" "/etc/envoy/cds.json" "watched_directory" $folder) "resource_api_version" "V3" -}}
{{- $main := set (.Files.Get "envoy/manager.json" | fromJson) "rds" (dict "route_config_name" "gateway" "config_source" $rds) -}}
{{- $shown := list
  (dict "match" (dict "path" "/ready") "route" (dict "cluster" "admin"))
  (dict "match" (dict "path" "/metrics") "route" (dict "cluster" "admin" "prefix_rewrite" "/stats/prometheus")) -}}
{{- $routes := dict "virtual_hosts" (list (dict "name" "admin" "domains" (list "*") "routes" $shown)) -}}
{{- $probes := dict "@type" $http "stat_prefix" "probes" "route_config" $routes "http_filters" (list $router) -}}
{{- $loopback := dict "socket_address" (dict "address" "127.0.0.1" "port_value" 9901) -}}
{{- $admin := dict "name" "admin" "type" "STATIC" "load_assignment" (dict "cluster_name" "admin" "endpoints" (list (dict "lb_endpoints" (list (dict "endpoint" (dict "address" $loopback)))))) -}}
{{- $listeners := list (include "tidegate.listener" (dict "name" "gateway" "port" 8080 "manager" $main) | fromYaml) (include "tidegate.listener" (dict "name" "probes" "port" 8082 "manager" $probes) | fromYaml) -}}
{{- dict
  "node" (dict "id" "gateway" "cluster" "tidegate")
  "admin" (dict "address" $loopback)
  "dynamic_resources" (dict "cds_config" $cds)
  "static_resources" (dict "listeners" $listeners "clusters" (list $admin)) | toPrettyJson -}}
{{- end }}

{{- define "tidegate.listener" -}}
name: {{ .name }}
address: {socket_address: {address: 0.0.0.0, port_value: {{ .port }}}}
filter_chains:
  - filters:
      - name: http
        typed_config: {{- toYaml .manager | nindent 10 }}
{{- end }}

{{- define "tidegate.rds" -}}
{{- $written := .Files.Get "envoy/routes.json" | fromJson -}}
{{- $routes := list -}}
{{- range .Values.gateway.models -}}
{{- $named := toJson $written.model | replace "@MODEL@" .name | replace "@RELEASE@" $.Release.Name | replace "@TIMEOUT@" (.timeoutSeconds | default 10 | toString) -}}
{{- $routes = concat $routes (fromJsonArray $named) -}}
{{- end -}}
{{- $host := first $written.table.virtual_hosts -}}
{{- $table := set $written.table "virtual_hosts" (list (set $host "routes" (concat $routes $host.routes))) -}}
{{- dict "version_info" "1" "resources" (list $table) | toYaml -}}
{{- end }}

{{- define "tidegate.cds" -}}
version_info: "1"
{{- if .Values.gateway.models }}
resources:
  {{- range .Values.gateway.models }}
  {{- $model := . }}
  {{- range $role := list "active" "shadow" }}
  - "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: {{ $.Release.Name }}-{{ $model.name }}-{{ $role }}
    type: STRICT_DNS
    dns_lookup_family: V4_PREFERRED
    dns_refresh_rate: 1s # asked that often what is active; a host that went away is left once its requests are answered
    connect_timeout: 1s
    lb_policy: LEAST_REQUEST # a replica that is behind, or has just come, gets what it can do
    load_assignment:
      cluster_name: {{ $.Release.Name }}-{{ $model.name }}-{{ $role }}
      endpoints:
        - lb_endpoints:
            - endpoint: {address: {socket_address: {address: {{ $model.name }}-{{ $role }}.{{ $model.namespace }}.svc.cluster.local, port_value: {{ $model.port | default 8080 }}}}}
    {{- if eq $role "shadow" }}
    circuit_breakers: {thresholds: [{max_requests: 256, max_pending_requests: 256}]} # a slow candidate piles nothing up
    {{- end }}
  {{- end }}
  {{- end }}
{{- else }}
resources: []
{{- end }}
{{- end }}
