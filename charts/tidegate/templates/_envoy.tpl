{{/*
Envoy's files. What is mirrored goes to a release while it is judged and else to nobody, since the shadow Service selects no pod then;
Envoy appends `-shadow` to the host of what it mirrors, by which pods know it, so no client may choose the host. The listener for probes and Prometheus shows two paths of the admin interface, which itself listens on loopback
alone. Requests that did not reach a pod are sent to another one; answers of 5xx are not, as they are what the gates must see.
*/}}
{{- define "tidegate.envoy" -}}
{{- $http := "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" -}}
{{- $router := dict "name" "router" "typed_config" (dict "@type" "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router") -}}
{{- $folder := dict "path" "/etc/envoy" -}}
{{- $rds := dict "path_config_source" (dict "path" "/etc/envoy/rds.json" "watched_directory" $folder) "resource_api_version" "V3" -}}
{{- $cds := dict "path_config_source" (dict "path" "/etc/envoy/cds.json" "watched_directory" $folder) "resource_api_version" "V3" -}}
{{- $main := dict "@type" $http "stat_prefix" "gateway" "preserve_external_request_id" true "always_set_request_id_in_response" true "rds" (dict "route_config_name" "gateway" "config_source" $rds) "http_filters" (list $router) -}}
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
version_info: "1"
resources:
  - "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
    name: gateway
    virtual_hosts:
      - name: models
        domains: ["*"]
        routes:
          {{- range .Values.gateway.models }}
          {{- $previous := "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate" }}
          {{- $others := list (dict "name" "previous_hosts" "typed_config" (dict "@type" $previous)) }}
          {{- $route := dict
            "cluster" (printf "%s-%s-active" $.Release.Name .name)
            "host_rewrite_literal" (printf "%s.tidegate" .name)
            "request_mirror_policies" (list (dict "cluster" (printf "%s-%s-shadow" $.Release.Name .name)))
            "timeout" (printf "%vs" (.timeoutSeconds | default 10))
            "retry_policy" (dict "retry_on" "connect-failure,refused-stream,reset-before-request" "num_retries" 2 "retry_host_predicate" $others "host_selection_retry_max_attempts" 5) }}
          - match: {prefix: /models/{{ .name }}/}
            route: {{- toYaml (set (deepCopy $route) "prefix_rewrite" "/") | nindent 14 }}
          - match: {path_separated_prefix: /v2/models/{{ .name }}}
            route: {{- toYaml $route | nindent 14 }}
          {{- end }}
          - match: {prefix: /}
            direct_response: {status: 404, body: {inline_string: '{"error": "no such model here"}'}}
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
