{{/* Spec of a Pod that saves or ships snapshots. Args: root, command (a list of words), restartPolicy */}}
{{- define "kcp-tmc.backupPod" -}}
{{- $root := .root -}}
{{- $full := include "kcp-tmc.fullname" $root -}}
{{- $kcp := include "kcp-tmc.kcp" $root | fromYaml -}}
{{- $etcd := include "kcp-tmc.etcd" $root -}}
{{- $backup := $root.Values.backup -}}
restartPolicy: {{ .restartPolicy }}
{{- include "kcp-tmc.pullSecrets" $root }}
serviceAccountName: {{ include "kcp-tmc.serviceAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "kcp-tmc.podSecurity" $root | nindent 2 }}
{{- if not $etcd }}
# The database is on the server's volume, which is where the server is.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "kcp-tmc.selector" (dict "root" $root) | nindent 12 }}
{{- end }}
containers:
  - name: backup
    image: {{ include "kcp-tmc.image" (dict "root" $root "image" $kcp.image) }}
    imagePullPolicy: {{ $kcp.image.pullPolicy }}
    command: [kcp, snapshot, {{ .command }}]
    args:
      {{- with $backup.s3 }}
      {{- if .bucket }}
      - s3://{{ .bucket }}{{ with .prefix }}/{{ . }}{{ end }}
      {{- with .endpoint }}
      - --s3-endpoint={{ . }}
      {{- end }}
      {{- with .region }}
      - --s3-region={{ . }}
      {{- end }}
      {{- else }}
      - /backup
      {{- end }}
      {{- end }}
      - --keep={{ int $backup.keep }}
      {{- range .flags }}
      - {{ . }}
      {{- end }}
      {{- if $etcd }}
      {{- include "kcp-tmc.etcdFlags" $root | nindent 6 }}
      {{- else }}
      - --root-directory={{ $kcp.config.rootDirectory }}
      {{- end }}
    {{- if and $backup.s3.bucket $backup.s3.existingSecret }}
    envFrom:
      - secretRef: {name: {{ $backup.s3.existingSecret }}}
    {{- end }}
    env:
      - {name: HOME, value: /tmp}
    securityContext:
      {{- include "kcp-tmc.restricted" $root | nindent 6 }}
    resources:
      requests: {cpu: 100m, memory: 256Mi}
      limits: {cpu: "1", memory: 1Gi}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if not $backup.s3.bucket }}
      - {name: backup, mountPath: /backup}
      {{- end }}
      {{- if include "kcp-tmc.etcdSecret" $root }}
      - {name: etcd, mountPath: /etc/kcp/etcd, readOnly: true}
      {{- end }}
      {{- if not $etcd }}
      - {name: data, mountPath: {{ $kcp.config.rootDirectory }}}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- if not $backup.s3.bucket }}
  - name: backup
    persistentVolumeClaim: {claimName: {{ $backup.persistence.existingClaim | default (printf "%s-backup" $full) }}}
  {{- end }}
  {{- with include "kcp-tmc.etcdSecret" $root }}
  - name: etcd
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- if not $etcd }}
  - name: data
    persistentVolumeClaim: {claimName: {{ $full }}-data}
  {{- end }}
{{- end }}
