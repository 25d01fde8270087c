{{- /* For pods: components/network-policy, and networkPolicy of the chart tenantry, admit them to the servers. */ -}}
{{- define "tenantry-sidecar.labels" -}}
tenantry.dev/sidecar: 'true'
{{- end -}}

{{- /* One of `initContainers`, the first where others ask for predictions, too. */ -}}
{{- define "tenantry-sidecar.initContainer" -}}
{{- $it := index .Values "tenantry-sidecar" -}}
{{- $version := (index .Subcharts "tenantry-sidecar").Chart.AppVersion -}}
- name: tenantry-sidecar
  {{- with $it.image }}
  image: {{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $version }}{{ end }}
  imagePullPolicy: {{ .pullPolicy }}
  {{- end }}
  command: [python, -m, tenantry_server]
  # Runs beside the application, starts before it and ends after it: so no preStop hook is needed.
  restartPolicy: Always
  env:
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          apiVersion: v1
          fieldPath: metadata.namespace
    - name: POD_NAME
      valueFrom:
        fieldRef:
          apiVersion: v1
          fieldPath: metadata.name
    - name: TENANTRY_ROLE
      value: sidecar
    - name: TENANTRY_SERVER_ID # names it in logs
      value: $(POD_NAMESPACE).$(POD_NAME)
    - name: TENANTRY_FLEET_URL
      value: {{ $it.fleet.url | default (printf "%s://tenantry.tenantry.svc" (ternary "https" "http" (ne $it.tls.secretName ""))) }}
    - name: TENANTRY_FLEET_SECRET_FILE
      value: /etc/tenantry/fleet/secrets
    - name: TENANTRY_HOST # of this pod alone
      value: 127.0.0.1
    - name: TENANTRY_PORT
      value: {{ $it.port | quote }}
    - name: TENANTRY_SOCKET # open to the pod's fsGroup
      value: /run/tenantry/sidecar.sock
    - name: TENANTRY_PROBE_PORT # the kubelet reaches no loopback address
      value: {{ $it.probePort | quote }}
    - name: TENANTRY_NEAR_CACHE_BYTES
      value: {{ $it.nearCacheBytes | int64 | quote }}
    - name: OMP_NUM_THREADS
      value: '1'
    {{- if $it.tls.secretName }}
    - name: TENANTRY_TLS_CERT
      value: /etc/tenantry/tls/tls.crt
    - name: TENANTRY_TLS_KEY
      value: /etc/tenantry/tls/tls.key
    - name: TENANTRY_TLS_CA
      value: /etc/tenantry/tls/ca.crt
    {{- end }}
    {{- range $name, $value := $it.env }}
    - name: {{ $name }}
      value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
    {{- end }}
  ports:
    - name: tenantry-probes
      containerPort: {{ $it.probePort }}
  startupProbe: # the application starts once the sidecar listens, not once the fleet answers
    httpGet:
      path: /healthz
      port: tenantry-probes
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /healthz
      port: tenantry-probes
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe: # of the pod, too: until the sidecar has read a server whole, and not when it loses the fleet
    httpGet:
      path: /readyz
      port: tenantry-probes
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 2
  resources:
    {{- toYaml $it.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: tenantry-socket
      mountPath: /run/tenantry
    - name: tenantry-fleet
      mountPath: /etc/tenantry/fleet
      readOnly: true
    {{- if $it.tls.secretName }}
    - name: tenantry-tls
      mountPath: /etc/tenantry/tls # no subPath: a file that is mounted alone is never renewed
      readOnly: true
    {{- end }}
{{- end -}}

{{- /* Of the application's container, which asks over the socket; one that asks 127.0.0.1 needs none. */ -}}
{{- define "tenantry-sidecar.volumeMount" -}}
- name: tenantry-socket
  mountPath: /run/tenantry
{{- end -}}

{{- define "tenantry-sidecar.volumes" -}}
{{- $it := index .Values "tenantry-sidecar" -}}
- name: tenantry-socket
  emptyDir:
    sizeLimit: 1Mi
- name: tenantry-fleet # mounted by the sidecar alone
  secret:
    secretName: {{ $it.fleet.secretName }}
    items:
      - key: secrets
        path: secrets
{{- with $it.tls.secretName }}
- name: tenantry-tls # mounted by the sidecar alone
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}
