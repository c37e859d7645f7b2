{{- define "veneur-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "veneur-operator.selector" -}}
app.kubernetes.io/name: veneur-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "veneur-operator.labels" -}}
{{ include "veneur-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "veneur-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "veneur-operator.dataplaneImage" -}}
{{- printf "%s:%s" .Values.dataplane.image.repository (.Values.dataplane.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "veneur-operator.certManager" -}}
{{- if eq .Values.webhook.certificates.mode "CertManager" }}true{{ end -}}
{{- end -}}

{{/* Call with (list . VALUE APIVERSION/KIND): "true" where VALUE asks for it, or says auto and the cluster has it. */}}
{{- define "veneur-operator.wanted" -}}
{{- $root := index . 0 -}}
{{- $value := index . 1 | toString -}}
{{- if or (eq $value "true") (and (eq $value "auto") ($root.Capabilities.APIVersions.Has (index . 2))) }}true{{ end -}}
{{- end -}}

{{- define "veneur-operator.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "veneur-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end -}}
