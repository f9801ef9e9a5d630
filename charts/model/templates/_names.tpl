{{/* Labels that stay with the model over all its releases: selectors use these alone. */}}
{{- define "model.selector" -}}
app.kubernetes.io/name: model
app.kubernetes.io/instance: {{ .Values.model }}
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
A metric that asks the gate service for the verdict of one gate. It is closed:
- only PASS, of the release that was asked about, is a success; every other answer is a failure or inconclusive;
- an answer that is still open is asked for again. `consecutiveSuccessLimit` is what makes it closed: with `count` alone, Argo
  Rollouts takes a metric whose measurements were all inconclusive, within their limit, for a success;
- errors (no answer, a status that is not 2xx, a body that is not JSON) end the analysis after a few in a row.
*/}}
{{- define "model.gate" -}}
- name: {{ .gate }}
  interval: {{ .gates.intervalSeconds }}s
  count: {{ .gates.attempts }}
  consecutiveSuccessLimit: 1
  failureLimit: 0
  inconclusiveLimit: {{ .gates.attempts }}
  consecutiveErrorLimit: {{ .gates.unreachableAttempts }}
  successCondition: result.verdict == "PASS" && result.release == "{{ `{{args.release}}` }}"
  failureCondition: result.verdict in ["FAIL", "ERROR"] || result.release != "{{ `{{args.release}}` }}"
  provider:
    web:
      url: "{{ .gates.address }}/v1/models/{{ .model }}/releases/{{ `{{args.release}}` }}/gates/{{ .gate }}"
      timeoutSeconds: {{ .gates.timeoutSeconds }}
      jsonPath: "{$}"
{{- end }}
