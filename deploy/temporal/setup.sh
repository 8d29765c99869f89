#!/bin/sh
# The one-shot jobs of docker-compose.yml, run in Temporal's admin-tools image: schema | namespaces NAME...
# Both can be run again and again: what is there stays as it is.
set -eu

# The tool tells every statement; only a failure is worth reading.
quietly() {
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then tail -n 1 "$log"; else
    tail -n 20 "$log" >&2
    return 1
  fi
}

# A database, or the server right after its first start, may not answer yet.
patiently() {
  try=1
  until "$@"; do
    [ "$try" -lt 90 ] || return 1
    echo "not yet (try $try): $*" >&2
    try=$((try + 1))
    sleep 1
  done
}

sql_tool() { # database, command...
  database=$1
  shift
  temporal-sql-tool --plugin postgres12 --endpoint postgres --port 5432 --user temporal --database "$database" "$@"
}

schema() { # database, name of the schema in the tool's own copy
  sql_tool "$1" create-database || return 1
  # Only a database without a schema has no version yet; asking is the only way to know.
  sql_tool "$1" update-schema --schema-name "$2" 2>/dev/null ||
    { sql_tool "$1" setup-schema --version 0.0 && sql_tool "$1" update-schema --schema-name "$2"; }
}

namespace() { # name
  temporal operator namespace describe --namespace "$1" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$1" --retention 72h
}

keyword() { # namespace, search attribute
  attributes=$(temporal operator search-attribute list --namespace "$1" 2>/dev/null) || return 1
  echo "$attributes" | grep -qw "$2" ||
    temporal operator search-attribute create --namespace "$1" --name "$2" --type Keyword
}

# The server may know a new search attribute only after a minute.
usable() { # namespace, search attribute
  temporal workflow count --namespace "$1" --query "$2 = 'quell-ready'" >/dev/null 2>&1
}

job=$1
shift
case $job in
  schema)
    patiently quietly schema temporal postgresql/v12/temporal
    patiently quietly schema temporal_visibility postgresql/v12/visibility
    # The ledger of orders, which makes its own tables.
    patiently quietly sql_tool quell create-database
    ;;
  namespaces)
    for name in "$@"; do patiently namespace "$name"; done
    for name in "$@"; do patiently keyword "$name" WorkloadId; done
    for name in "$@"; do patiently usable "$name" WorkloadId; done
    ;;
  *)
    echo "no job called $job" >&2
    exit 64
    ;;
esac
