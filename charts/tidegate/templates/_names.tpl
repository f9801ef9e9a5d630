{{/* All take a dict: root (the chart's context), component (its name). */}}
{{- define "tidegate.selector" -}}
app.kubernetes.io/name: tidegate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "tidegate.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
labels: {{- include "tidegate.labels" . | nindent 2 }}
{{- end }}

{{- define "tidegate.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "tidegate.metadata" . | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{/* What every pod has in common; what is restricted here is what Pod Security's `restricted` asks for, and a read-only root. */}}
{{- define "tidegate.pod" -}}
serviceAccountName: {{ .root.Release.Name }}-{{ .component }}
automountServiceAccountToken: {{ eq .component "gates" }} # the gate service alone talks to Kubernetes' API
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .root.Values.runAsUser }}
  runAsGroup: {{ .root.Values.runAsUser }}
  fsGroup: {{ .root.Values.runAsUser }}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tidegate.container" -}}
{{- $settings := index .root.Values .component -}}
name: {{ .component }}
image: {{ $settings.image | quote }}
imagePullPolicy: IfNotPresent
resources: {{- toYaml $settings.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "tidegate.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "tidegate.claim" -}}
accessModes: [ReadWriteOnce]
resources: {requests: {storage: {{ .size }}}}
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "tidegate.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
