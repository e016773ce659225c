{{/* Names, labels and images: one place for each. */}}
{{- define "kcp-tmc.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "kcp-tmc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "kcp-tmc.name" .) .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "kcp-tmc.name" .) | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* metadata of every object. Args: root, name, and optionally component, annotations, labels, clusterScoped */}}
{{- define "kcp-tmc.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
{{- if not .clusterScoped }}
namespace: {{ $root.Release.Namespace }}
{{- end }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  app.kubernetes.io/part-of: kcp
  {{- include "kcp-tmc.selector" . | nindent 2 }}
  {{- with mergeOverwrite dict $root.Values.global.commonLabels (.labels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite dict $root.Values.global.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels that choose the Pods of one component. Args: root, component */}}
{{- define "kcp-tmc.selector" -}}
app.kubernetes.io/name: {{ include "kcp-tmc.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component | default "server" }}
{{- end }}

{{/* Args: root, image */}}
{{- define "kcp-tmc.image" -}}
{{- $tag := .image.tag | default (printf "v%s" .root.Chart.AppVersion) -}}
{{ .root.Values.global.imageRegistry | default .image.registry }}/{{ .image.repository }}:{{ $tag }}
{{- end }}

{{- define "kcp-tmc.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "kcp-tmc.serviceAccount" -}}
{{- if .Values.rbac.serviceAccount.name -}}
{{ .Values.rbac.serviceAccount.name }}
{{- else -}}
{{ .Values.rbac.serviceAccount.create | ternary (include "kcp-tmc.fullname" .) "default" }}
{{- end -}}
{{- end }}
