{{- define "quell.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "quell.labels" -}}
app.kubernetes.io/name: quell
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "quell.selector" -}}
app.kubernetes.io/name: quell
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "quell.scheme" -}}
{{- if .Values.security.tlsSecret -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* What would start and then refuse to serve is refused here. */}}
{{- define "quell.check" -}}
{{- $s := .Values.security -}}
{{- if and $s.mutualTls (not $s.tlsSecret) }}{{ fail "security.mutualTls needs security.tlsSecret" }}{{ end -}}
{{- if not $s.insecure -}}
{{- if not (or $s.accessSecret $s.mutualTls) }}{{ fail "set security.accessSecret or security.mutualTls, or security.insecure where the network is trusted" }}{{ end -}}
{{- if not $s.tlsSecret }}{{ fail "set security.tlsSecret: tokens would travel in the clear; or security.insecure where something else encrypts" }}{{ end -}}
{{- end -}}
{{- if and $s.accessSecret (not $s.mutualTls) (not $s.peerTokenSecret) }}{{ fail "set security.peerTokenSecret: the canceler has to say who it is" }}{{ end -}}
{{- if and (hasPrefix "/" .Values.payload.url) (not .Values.payload.existingClaim) (not .Values.payload.ephemeral) }}{{ fail "payload.url is a folder: set payload.existingClaim (ReadWriteMany), an object store, or payload.ephemeral for a trial" }}{{ end -}}
{{- end -}}

{{/* Variables of one namespace's connection. */}}
{{- define "quell.temporal" -}}
- { name: TEMPORAL_{{ .upper }}_NAMESPACE, value: {{ .it.namespace | quote }} }
{{- with .it.address }}
- { name: TEMPORAL_{{ $.upper }}_ADDRESS, value: {{ . | quote }} }
{{- end }}
{{- if hasKey .mounts (printf "temporal-%s-key" .name) }}
- { name: TEMPORAL_API_KEY_{{ .upper }}_FILE, value: /etc/quell/temporal-{{ .name }}-key/api-key }
{{- end }}
{{- if hasKey .mounts (printf "temporal-%s-tls" .name) }}
- { name: TEMPORAL_{{ .upper }}_TLS_CERT_FILE, value: /etc/quell/temporal-{{ .name }}-tls/tls.crt }
- { name: TEMPORAL_{{ .upper }}_TLS_KEY_FILE, value: /etc/quell/temporal-{{ .name }}-tls/tls.key }
{{- if .it.tlsCa }}
- { name: TEMPORAL_{{ .upper }}_TLS_CA_FILE, value: /etc/quell/temporal-{{ .name }}-tls/ca.crt }
{{- end }}
{{- end }}
{{- with .it.tlsDomain }}
- { name: TEMPORAL_{{ $.upper }}_TLS_DOMAIN, value: {{ . | quote }} }
{{- end }}
{{- end -}}

{{/* The secrets that one service needs: folder below /etc/quell, and name. */}}
{{- define "quell.mounts" -}}
{{- $v := .root.Values -}}
{{- $all := list
  (dict "at" "temporal-main-key" "for" (list "work" "canceler" "batch") "secret" $v.temporal.main.apiKeySecret)
  (dict "at" "temporal-main-tls" "for" (list "work" "canceler" "batch") "secret" $v.temporal.main.tlsSecret)
  (dict "at" "temporal-canceler-key" "for" (list "canceler" "batch") "secret" $v.temporal.canceler.apiKeySecret)
  (dict "at" "temporal-canceler-tls" "for" (list "canceler" "batch") "secret" $v.temporal.canceler.tlsSecret)
  (dict "at" "payload-keys" "for" (list "work" "canceler" "batch") "secret" $v.payload.keysSecret)
  (dict "at" "access" "for" (list "work" "canceler" "batch") "secret" $v.security.accessSecret)
  (dict "at" "tls" "for" (list "work" "canceler" "batch") "secret" (.service.tlsSecret | default $v.security.tlsSecret))
  (dict "at" "peer-token" "for" (list "canceler") "secret" $v.security.peerTokenSecret)
  (dict "at" "receipt" "for" (list "canceler") "secret" $v.receipt.signingKeySecret)
  (dict "at" "ledger" "for" (list "work") "secret" $v.orders.ledgerSecret) -}}
{{- $set := dict -}}
{{- range $all }}{{ if and .secret (has $.name .for) }}{{ $set = set $set .at .secret }}{{ end }}{{ end -}}
{{- $set | toJson -}}
{{- end -}}
