{{/* Labels that stay with the model over all its releases: selectors use these alone. */}}
{{- define "model.selector" -}}
app.kubernetes.io/name: model
app.kubernetes.io/instance: {{ .Values.model }}
{{- end }}

{{/* What its objects are named after: no name of an object has an underscore. */}}
{{- define "model.object" -}}
{{ .Values.model | replace "_" "-" }}
{{- end }}

{{- define "model.labels" -}}
{{ include "model.selector" . }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
tidegate/model: {{ .Values.model }}
{{- end }}

{{/* A peer of a NetworkPolicy: pods with these labels in that namespace. */}}
{{- define "model.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}

{{/*
A metric that asks the gate service for the verdict of one gate, by the HTTP API of Prometheus' instant queries: one sample for
a verdict that has been reached (1 PASS, 0 FAIL, -1 ERROR), none while it is open. It is closed:
- one sample that is 1 is a success, one that is 0 or less a failure; everything else, NaN among it, is inconclusive;
- an answer that is still open is asked for again. `consecutiveSuccessLimit` is what makes it closed: with `count` alone, Argo
  Rollouts takes a metric whose measurements were all inconclusive, within their limit, for a success;
- errors (no answer, a status that is not 2xx, a body that is not such an answer) end the analysis after a few in a row. That
  is why it is not a `web` metric: those take any body that is not JSON, an empty one or a proxy's page, for a success.
*/}}
{{- define "model.gate" -}}
{{- $_ := set . "attempts" (add1 (div .gates.deadlineSeconds .gates.intervalSeconds)) -}}
- name: {{ .gate }}
  interval: {{ .gates.intervalSeconds }}s
  count: {{ .attempts }}
  consecutiveSuccessLimit: 1
  failureLimit: 0
  inconclusiveLimit: {{ .attempts }}
  consecutiveErrorLimit: {{ .gates.unreachableAttempts }}
  successCondition: len(result) == 1 && result[0] == 1
  failureCondition: len(result) == 1 && result[0] <= 0
  provider:
    prometheus:
      address: "{{ .gates.address }}/v1/models/{{ .model }}/releases/{{ `{{args.release}}` }}/gates/{{ .gate }}"
      query: tidegate_gate_verdict
      timeout: {{ .gates.timeoutSeconds }}
{{- end }}
