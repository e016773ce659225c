{{/* What the values mean: short forms laid over the long ones, addresses, and what several templates ask for. */}}

{{/* A tree without what is null, as YAML. */}}
{{- define "kcp-tmc.given" -}}
{{- $found := dict -}}
{{- range $key, $value := . -}}
{{- if and (kindIs "map" $value) $value -}}
{{- with include "kcp-tmc.given" $value | fromYaml }}{{ $_ := set $found $key . }}{{ end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $found $key $value -}}
{{- end -}}
{{- end -}}
{{ toYaml $found }}
{{- end }}

{{- define "kcp-tmc.kcp" -}}
{{- $short := pick .Values "image" "tmc" "replicaCount" "podAntiAffinity" "nodeSelector" -}}
{{- $given := include "kcp-tmc.given" $short | fromYaml -}}
{{- $all := mergeOverwrite (deepCopy .Values.kcp) $given -}}
{{- $hostname := $all.config.externalHostname | default (printf "%s.%s.svc.%s" $all.service.name .Release.Namespace .Values.clusterDomain) -}}
{{- $_ := set $all.config "externalHostname" $hostname -}}
{{- if not $all.config.externalURL -}}
{{- $_ := set $all.config "externalURL" (.Values.ingress.enabled | ternary (printf "https://%s" (first .Values.ingress.hosts).host) (printf "https://%s:%d" $hostname (int $all.service.port))) -}}
{{- end -}}
{{ toYaml $all }}
{{- end }}

{{- define "kcp-tmc.prometheus" -}}
{{- $given := include "kcp-tmc.given" .Values.prometheus | fromYaml -}}
{{- $all := mergeOverwrite (deepCopy .Values.monitoring.prometheus) $given -}}
{{- $_ := set $all "enabled" (and .Values.monitoring.enabled $all.enabled) -}}
{{- $_ := set $all "operator" (or $all.assumeOperator (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{ toYaml $all }}
{{- end }}

{{/* "own", "external", or "" for none */}}
{{- define "kcp-tmc.etcd" -}}
{{- if .Values.etcd.externalEndpoints -}}external{{- else if .Values.etcd.enabled -}}own{{- end -}}
{{- end }}

{{- define "kcp-tmc.peers" -}}
{{ .Values.etcd.service.peerName }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- define "kcp-tmc.etcdSecret" -}}
{{- if eq (include "kcp-tmc.etcd" .) "external" -}}
{{ .Values.etcd.externalSecret }}
{{- else if and .Values.etcd.enabled .Values.etcd.tls.enabled -}}
{{ .Values.etcd.tls.existingSecret | default (printf "%s-etcd-tls" (include "kcp-tmc.fullname" .)) }}
{{- end -}}
{{- end }}

{{/* Flags by which kcp reaches etcd, as a list */}}
{{- define "kcp-tmc.etcdFlags" -}}
{{- $kind := include "kcp-tmc.etcd" . -}}
{{- if $kind }}
{{- $urls := .Values.etcd.externalEndpoints -}}
{{- if eq $kind "own" -}}
{{- $urls = list -}}
{{- $full := include "kcp-tmc.fullname" . -}}
{{- range $i := until (int .Values.etcd.replicaCount) -}}
{{- $urls = append $urls (printf "%s://%s-etcd-%d.%s:2379" ($.Values.etcd.tls.enabled | ternary "https" "http") $full $i (include "kcp-tmc.peers" $)) -}}
{{- end -}}
{{- end }}
- --etcd-servers={{ join "," $urls }}
{{- with .Values.etcd.prefix }}
- --etcd-prefix={{ . }}
{{- end }}
{{- if include "kcp-tmc.etcdSecret" . }}
- --etcd-cafile=/etc/kcp/etcd/ca.crt
- --etcd-certfile=/etc/kcp/etcd/tls.crt
- --etcd-keyfile=/etc/kcp/etcd/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "kcp-tmc.identitySecret" -}}
{{ .Values.identity.existingSecret | default (printf "%s-identity" (include "kcp-tmc.fullname" .)) }}
{{- end }}

{{/* Names of the server's certificate */}}
{{- define "kcp-tmc.serverNames" -}}
{{- $kcp := include "kcp-tmc.kcp" . | fromYaml -}}
{{- $certificate := index .Values.certificates "kcp-server" -}}
{{- $names := list ($certificate.commonName | default $kcp.config.externalHostname) $kcp.config.externalHostname (urlParse $kcp.config.externalURL).host -}}
{{- range $service := list $kcp.service.name $kcp.service.internalName -}}
{{- $names = concat $names (list $service (printf "%s.%s.svc" $service $.Release.Namespace) (printf "%s.%s.svc.%s" $service $.Release.Namespace $.Values.clusterDomain)) -}}
{{- end -}}
{{- $bare := list -}}
{{- range concat $names $certificate.dnsNames -}}{{- $bare = append $bare (splitList ":" . | first) -}}{{- end -}}
{{ uniq $bare | toYaml }}
{{- end }}

{{- define "kcp-tmc.etcdNames" -}}
{{- $names := list .Values.etcd.service.name (printf "%s.%s.svc" .Values.etcd.service.name .Release.Namespace) (printf "%s.%s.svc.%s" .Values.etcd.service.name .Release.Namespace .Values.clusterDomain) (printf "*.%s" (include "kcp-tmc.peers" .)) "localhost" -}}
{{ concat $names .Values.certificates.etcd.dnsNames | uniq | toYaml }}
{{- end }}

{{/* Node affinity of a nodeSelector whose values may be lists with commas; the rest stays a nodeSelector. Args: nodeSelector */}}
{{- define "kcp-tmc.nodeExpressions" -}}
{{- range $key, $value := . }}
{{- if contains "," $value }}
- key: {{ $key }}
  operator: In
  values: {{ splitList "," $value | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{/* nodeSelector, tolerations and affinity of a Pod. Args: root, component, nodeSelector, tolerations, affinity (one of its own or empty), podAntiAffinity */}}
{{- define "kcp-tmc.scheduling" -}}
{{- $plain := dict -}}
{{- range $key, $value := .nodeSelector }}{{ if not (contains "," $value) }}{{ $_ := set $plain $key $value }}{{ end }}{{ end -}}
{{- with $plain }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := deepCopy (.affinity | default dict) -}}
{{- with include "kcp-tmc.nodeExpressions" .nodeSelector | fromYamlArray -}}
{{- $_ := set $affinity "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" (list (dict "matchExpressions" .)))) -}}
{{- end -}}
{{- if and .podAntiAffinity (not (hasKey $affinity "podAntiAffinity")) }}{{ $_ := set $affinity "podAntiAffinity" .podAntiAffinity }}{{ end -}}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Several servers apart from each other: zones if possible, nodes in any case. Args: root, component */}}
{{- define "kcp-tmc.apart" -}}
{{- $selector := dict "matchLabels" (include "kcp-tmc.selector" . | fromYaml) -}}
requiredDuringSchedulingIgnoredDuringExecution:
  - topologyKey: kubernetes.io/hostname
    labelSelector: {{ toJson $selector }}
preferredDuringSchedulingIgnoredDuringExecution:
  - weight: 100
    podAffinityTerm:
      topologyKey: topology.kubernetes.io/zone
      labelSelector: {{ toJson $selector }}
{{- end }}

{{/* Pod and container security for what the chart runs beside the server. */}}
{{- define "kcp-tmc.restricted" -}}
{{ toYaml (omit (include "kcp-tmc.kcp" . | fromYaml).securityContext "fsGroup") }}
{{- end }}

{{- define "kcp-tmc.podSecurity" -}}
{{- $kcp := include "kcp-tmc.kcp" . | fromYaml -}}
{{ toYaml (mergeOverwrite (pick $kcp.securityContext "fsGroup" "runAsNonRoot" "seccompProfile") $kcp.podSecurityContext) }}
{{- end }}

{{/* Faults in what was asked for, all at once */}}
{{- define "kcp-tmc.check" -}}
{{- $kcp := include "kcp-tmc.kcp" . | fromYaml -}}
{{- $faults := list -}}
{{- $several := or (gt (int $kcp.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- if and $several (not (include "kcp-tmc.etcd" .)) -}}
{{- $faults = append $faults "several servers (replicaCount, autoscaling) need etcd: set etcd.enabled=true or etcd.externalEndpoints" -}}
{{- end -}}
{{- if and .Values.etcd.enabled (not .Values.etcd.externalEndpoints) (eq (mod (int .Values.etcd.replicaCount) 2) 0) -}}
{{- $faults = append $faults "etcd.replicaCount must be odd: an even number survives no more failures than one less" -}}
{{- end -}}
{{- if and .Values.certManager.enabled (not .Values.certManager.createIssuer) (not .Values.certManager.issuerRef.name) -}}
{{- $faults = append $faults "certManager.createIssuer=false needs certManager.issuerRef.name" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.tlsMode "reencrypt") (not .Values.ingress.tls) -}}
{{- $faults = append $faults "ingress.tlsMode=reencrypt needs ingress.tls: a Secret with the certificate that users see" -}}
{{- end -}}
{{- with $faults }}{{ fail (join "; " .) }}{{ end -}}
{{- end }}
