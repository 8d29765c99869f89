#!/bin/bash
# What one container of this image does: schema | server | namespaces | ui | health, or any command of the temporal CLI.
set -euo pipefail

sql_tool() {
  temporal-sql-tool --plugin postgres12 --endpoint "$POSTGRES_HOST" --port "${POSTGRES_PORT:-5432}" \
    --user "$POSTGRES_USER" --password "$POSTGRES_PASSWORD" --database "$1" "${@:2}"
}

# The tool tells every statement; only a failure is worth reading.
quietly() {
  local log
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then tail -n 1 "$log"; else
    tail -n 20 "$log" >&2
    return 1
  fi
}

# Idempotent: a database that exists, and a schema that is up to date, stay as they are.
schema() { # database, name of the schema in the tool's own copy
  sql_tool "$1" create-database || return 1
  # Only a database without a schema has no version yet; asking is the only way to know.
  sql_tool "$1" update-schema --schema-name "$2" 2>/dev/null ||
    { sql_tool "$1" setup-schema --version 0.0 && sql_tool "$1" update-schema --schema-name "$2"; }
}

namespace() {
  temporal operator namespace describe --namespace "$1" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$1" --retention "${RETENTION:-72h}"
}

# Right after its first start the server may still be loading its own state.
patiently() {
  local try
  for try in {1..90}; do
    if "$@"; then return 0; fi
    echo "not yet (try $try): $*" >&2
    sleep 1
  done
  return 1
}

keyword() { # namespace, search attribute
  local attributes
  attributes=$(temporal operator search-attribute list --namespace "$1" 2>/dev/null) || return 1
  if ! grep -qw "$2" <<<"$attributes"; then
    temporal operator search-attribute create --namespace "$1" --name "$2" --type Keyword
  fi
}

# The server may know a new search attribute only after a minute.
usable() { # namespace, search attribute
  temporal workflow count --namespace "$1" --query "$2 = 'quell-ready'" >/dev/null 2>&1
}

case "${1:-server}" in
  schema)
    patiently quietly schema temporal postgresql/v12/temporal
    patiently quietly schema temporal_visibility postgresql/v12/visibility
    ;;
  server)
    exec temporal-server --root /etc --config temporal --env server --allow-no-auth start
    ;;
  health)
    temporal operator cluster health --address 127.0.0.1:7233 --command-timeout 2s | grep -q SERVING
    ;;
  namespaces) # NAMESPACE...
    for name in "${@:2}"; do patiently namespace "$name"; done
    for name in "${@:2}"; do patiently keyword "$name" WorkloadId; done
    for name in "${@:2}"; do patiently usable "$name" WorkloadId; done
    ;;
  ui)
    # It reads files only. Cookies without TLS: it is published on loopback.
    cat >/tmp/ui.yaml <<YAML
temporalGrpcAddress: "$TEMPORAL_ADDRESS"
port: 8080
enableUi: true
defaultNamespace: "${DEFAULT_NAMESPACE:-main}"
notifyOnNewVersion: false
cors:
  cookieInsecure: true
YAML
    exec temporal-ui --root / --config tmp --env ui start
    ;;
  *)
    exec temporal "$@"
    ;;
esac
