{{- define "tenantry.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Of pods and selectors: (dict "root" $ "component" "server") */ -}}
{{- define "tenantry.selector" -}}
app.kubernetes.io/name: tenantry
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "tenantry.labels" -}}
{{ include "tenantry.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* metadata: (dict "root" $ "component" … "suffix" …); "cluster" true: not of a namespace */ -}}
{{- define "tenantry.metadata" -}}
name: {{ include "tenantry.fullname" .root }}{{ .suffix }}
{{- if not .cluster }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "tenantry.labels" . | nindent 2 }}
{{- end -}}

{{- define "tenantry.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{- define "tenantry.registrySecret" -}}
{{- if .Values.postgresql.enabled }}{{ include "tenantry.fullname" . }}-postgres{{ else }}{{ .Values.registry.secretName }}{{ end -}}
{{- end -}}

{{- define "tenantry.serversSecret" -}}
{{- if .Values.postgresql.enabled }}{{ include "tenantry.registrySecret" . -}}
{{- else }}{{ .Values.registry.serversSecretName | default .Values.registry.secretName }}{{ end -}}
{{- end -}}

{{- define "tenantry.priorityClass" -}}
{{- if .Values.priorityClass.create }}{{ include "tenantry.fullname" . }}{{ else }}{{ .Values.priorityClass.name }}{{ end -}}
{{- end -}}

{{- /* Pod Security "restricted", but for the user */ -}}
{{- define "tenantry.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* What pods of both sides have: (dict "root" $ "component" … "of" .Values.…) */ -}}
{{- define "tenantry.pod" -}}
serviceAccountName: {{ include "tenantry.fullname" .root }}-{{ .component }}
automountServiceAccountToken: true
# Else a Service `tenantry` would put TENANTRY_PORT=tcp://… into the environment.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  {{- if or .root.Values.fleet.secretName (and .root.Values.tls.secretName (eq .component "server")) }}
  fsGroup: 65532 # else keys and secrets could be read by root alone
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ .of.topologyKey }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tenantry.selector" . | nindent 8 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with include "tenantry.priorityClass" .root }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A container's image, and what it reads of S3: (dict "root" $) */ -}}
{{- define "tenantry.container" -}}
image: {{ include "tenantry.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
envFrom:
  - secretRef:
      name: {{ .root.Values.s3.secretName }}
      optional: true
securityContext:
  {{- include "tenantry.containerSecurity" . | nindent 2 }}
resources:
  {{- toYaml .of.resources | nindent 2 }}
{{- end -}}

{{- /* (dict "root" $ "secret" NAME) */ -}}
{{- define "tenantry.registryEnv" -}}
- name: TENANTRY_REGISTRY_URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: url
{{- if .root.Values.fleet.secretName }}
- name: TENANTRY_FLEET_SECRET_FILE
  value: /etc/tenantry/fleet/secrets
{{- else }}
- name: TENANTRY_FLEET_SECRET # not set: every row of the registry is believed
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: fleet-secret
      optional: true
{{- end }}
{{- end -}}

{{- define "tenantry.fleetMount" -}}
{{- if .Values.fleet.secretName }}
- name: fleet
  mountPath: /etc/tenantry/fleet # no subPath: a file that is mounted alone is never renewed
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tenantry.fleetVolume" -}}
{{- with .Values.fleet.secretName }}
- name: fleet
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: secrets
        path: secrets
{{- end }}
{{- end -}}

{{- define "tenantry.moreEnv" -}}
{{- with .root.Values.s3.endpointUrl }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.s3.region }}
- name: AWS_DEFAULT_REGION
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := .of.env }}
- name: {{ $name }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end -}}

{{- /* The three probes: (dict "of" .Values.… "port" … "scheme" …) */ -}}
{{- define "tenantry.probes" -}}
{{- $get := dict "port" .port -}}
{{- with .scheme }}{{ $_ := set $get "scheme" . }}{{ end -}}
startupProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/healthz") $get) | nindent 4 }}
  {{- toYaml .of.probes.startup | nindent 2 }}
livenessProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/healthz") $get) | nindent 4 }}
  {{- toYaml .of.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet:
    {{- toYaml (merge (dict "path" "/readyz") $get) | nindent 4 }}
  {{- toYaml .of.probes.readiness | nindent 2 }}
{{- end -}}

{{- /* (dict "root" $ "component" … "of" .Values.…) */ -}}
{{- define "tenantry.budget" -}}
{{- if .root.Values.podDisruptionBudgets }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tenantry.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .of.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tenantry.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
