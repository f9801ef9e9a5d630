{{/* How each engine is started, and what it answers when it is ready. Its image holds the release in /release, a folder named by its digest. */}}
{{- define "model.bento" -}}
args:
  - --release-folder=/release/{{ .Values.release }}
  - --model={{ .Values.model }}
  - --slot={{ .Values.slot }}
  - --replica=0
  - --host=0.0.0.0
  - --port={{ .Values.port }}
  - --online={{ required "onlineStore is required for engine bento: the online feature store, redis://HOST:PORT/DB" .Values.onlineStore }}
  - --log-dir=/var/log/tidegate
  {{- if ne (int .Values.maxBodyMegabytes) 1 }}
  - --body-limit={{ mul .Values.maxBodyMegabytes 1048576 }}
  {{- end }}
  {{- with .Values.records }}
  - --records={{ . }}
  {{- end }}
  {{- range .Values.args }}
  - {{ . | quote }}
  {{- end }}
{{ include "model.env" . }}
ports:
  - {name: http, containerPort: {{ .Values.port }}}
{{ include "model.probes" (dict "live" "/livez" "ready" "/readyz" "port" "http") }}
{{- end }}

{{- define "model.triton" -}}
args:
  - tritonserver
  - --model-repository=/release/models
  - --model-control-mode=none
  - --allow-grpc=true
  - --allow-metrics=true
  - --http-port={{ .Values.port }}
  - --exit-on-error=true
  # Closed to all who do not know this pod's id, clients behind the gateway among them: what reaches into memory, and what changes
  # what is served or logged.
  - --http-restricted-api=shared-memory,model-repository,trace,logging:x-tidegate-pod=$(POD_UID)
  - --grpc-restricted-protocol=shared-memory,model-repository,trace,logging:x-tidegate-pod=$(POD_UID)
  {{- range .Values.args }}
  - {{ . | quote }}
  {{- end }}
{{ include "model.env" . }}
  - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
ports:
  - {name: http, containerPort: {{ .Values.port }}}
  - {name: grpc, containerPort: 8001}
  - {name: metrics, containerPort: 8002}
{{ include "model.probes" (dict "live" "/v2/health/live" "ready" "/v2/health/ready" "port" "http") }}
{{- end }}

{{- define "model.env" -}}
env:
  - {name: TIDEGATE_RELEASE, value: {{ .Values.release | quote }}}
  - {name: HOME, value: /tmp}
  {{- with .Values.trustedKeys }}
  - {name: TIDEGATE_TRUSTED_KEYS, value: {{ join " " . | quote }}}
  {{- end }}
  {{- range $name, $value := .Values.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
{{- end }}

{{- define "model.probes" -}}
startupProbe: {httpGet: {path: {{ .ready }}, port: {{ .port }}}, periodSeconds: 1, failureThreshold: 180}
{{- /* A replica that has too much to do is slow to say that it is ready. Taken out for that, it would leave its load to the others. */}}
readinessProbe: {httpGet: {path: {{ .ready }}, port: {{ .port }}}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 3}
livenessProbe: {httpGet: {path: {{ .live }}, port: {{ .port }}}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}
{{- end }}
