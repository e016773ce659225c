{{/* What the values mean: short forms laid over the long ones. */}}

{{/* A tree without what is null, as YAML. */}}
{{- define "kcp-syncer.given" -}}
{{- $found := dict -}}
{{- range $key, $value := . -}}
{{- if and (kindIs "map" $value) $value -}}
{{- with include "kcp-syncer.given" $value | fromYaml }}{{ $_ := set $found $key . }}{{ end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $found $key $value -}}
{{- end -}}
{{- end -}}
{{ toYaml $found }}
{{- end }}

{{- define "kcp-syncer.syncer" -}}
{{- $kcp := pick .Values.kcp "endpoint" "kubeconfig" "kubeconfigSecret" "token" "caData" -}}
{{- $given := include "kcp-syncer.given" (dict "image" .Values.image "replicaCount" .Values.replicaCount "syncTarget" .Values.syncTarget "kcp" $kcp) | fromYaml -}}
{{- $all := mergeOverwrite (deepCopy .Values.syncer) $given -}}
{{- if and (not $all.kcp.kubeconfig) $all.kcp.token -}}
{{- $_ := set $all.kcp "kubeconfig" (include "kcp-syncer.kubeconfig" $all.kcp) -}}
{{- end -}}
{{ toYaml $all }}
{{- end }}

{{/* Args: kcp */}}
{{- define "kcp-syncer.kubeconfig" -}}
apiVersion: v1
kind: Config
current-context: kcp
clusters:
  - name: kcp
    cluster:
      server: {{ .endpoint }}
      {{- with .caData }}
      certificate-authority-data: {{ . }}
      {{- end }}
contexts:
  - {name: kcp, context: {cluster: kcp, user: syncer}}
users:
  - name: syncer
    user: {token: {{ .token }}}
{{- end }}

{{/* Secrets of the two kubeconfigs; that of the cluster is "" if the syncer is a Pod of it. Args: root, side (kcp or cluster) */}}
{{- define "kcp-syncer.secret" -}}
{{- $side := get (include "kcp-syncer.syncer" .root | fromYaml) .side -}}
{{- if $side.kubeconfigSecret.name -}}
{{ $side.kubeconfigSecret.name }}
{{- else if or $side.kubeconfig (eq .side "kcp") -}}
{{ include "kcp-syncer.fullname" .root }}-{{ .side }}
{{- end -}}
{{- end }}

{{- define "kcp-syncer.check" -}}
{{- $syncer := include "kcp-syncer.syncer" . | fromYaml -}}
{{- $faults := list -}}
{{- range $name, $value := dict "syncTarget.name" $syncer.syncTarget.name "syncTarget.workspace" $syncer.syncTarget.workspace "kcp.endpoint" $syncer.kcp.endpoint -}}
{{- if not $value }}{{ $faults = append $faults (printf "%s is required" $name) }}{{ end -}}
{{- end -}}
{{- with $faults }}{{ fail (join "; " (sortAlpha .)) }}{{ end -}}
{{- end }}

{{- define "kcp-syncer.podSecurity" -}}
{{- $syncer := include "kcp-syncer.syncer" . | fromYaml -}}
{{ toYaml (mergeOverwrite (pick $syncer.securityContext "fsGroup" "runAsNonRoot" "seccompProfile") $syncer.podSecurityContext) }}
{{- end }}
