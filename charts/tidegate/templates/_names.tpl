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

{{/* The pod of a Job that runs one command of tidegate on the project in its image; takes args, too. */}}
{{- define "tidegate.job" -}}
{{- $settings := index .root.Values .component -}}
metadata:
  labels: {{- include "tidegate.labels" . | nindent 4 }}
  annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: "false"}
spec:
  {{- include "tidegate.pod" . | nindent 2 }}
  restartPolicy: Never
  containers:
    - {{- include "tidegate.container" . | nindent 6 }}
      args:
        {{- range .args }}
        - {{ . | quote }}
        {{- end }}
      env:
        - {name: TIDEGATE_STATE, value: /var/lib/tidegate}
        - {name: HOME, value: /tmp}
        - {name: MLFLOW_TRACKING_URI, value: {{ $settings.registry | quote }}}
        {{- if eq .component "scheduled" }}
        - {name: TIDEGATE_STORE, value: {{ .root.Values.gates.store | quote }}} # `features refresh` leaves its tables there
        - {name: TIDEGATE_ONLINE_STORE, value: {{ $settings.onlineStore | quote }}}
        {{- end }}
        {{- include "tidegate.env" $settings.env | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: /var/lib/tidegate}
        - {name: tmp, mountPath: /tmp}
        {{- with $settings.claim }}
        - {name: data, mountPath: /data, readOnly: true}
        {{- end }}
  volumes:
    {{- $own := ternary "" (printf "%s-%s" .root.Release.Name .component) (empty (dig "state" "size" "" $settings)) }}
    {{- with $settings.stateClaim | default $own }}
    - {name: state, persistentVolumeClaim: {claimName: {{ . }}}}
    {{- else }}
    - {name: state, emptyDir: {sizeLimit: {{ $settings.scratch }}}}
    {{- end }}
    - {name: tmp, emptyDir: {sizeLimit: {{ $settings.scratch }}}}
    {{- with $settings.claim }}
    - {name: data, persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}}
    {{- end }}
{{- end }}
