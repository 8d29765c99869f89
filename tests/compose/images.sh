#!/usr/bin/env bash
# Local stand-ins for the images that docker-compose.yml pulls, for a machine that reaches no image registry.
#
#   tests/compose/images.sh FOLDER      FOLDER holds temporal-server, temporal-sql-tool, temporal, temporal-ui, jaeger
#
# Needed beforehand, pulled or made from this machine's packages: debian:bookworm-slim, rust:1-bookworm, postgres:16. An image that is
# there already is left alone. Never push one of these; what each is, honestly:
#
#   temporalio/server, admin-tools, ui   the real programs of the same version, on Debian instead of Alpine; of the entry points only
#                                        what docker-compose.yml uses (its own for the first two; TEMPORAL_* variables for the UI)
#   jaegertracing/jaeger                 the real program with storage in memory
#   prom/prometheus                      Debian's Prometheus, which is older
#   nginx                                Debian's nginx, which is older, with its stream module
#   grafana/grafana                      NOT Grafana: a web server that answers /api/health, so that compose can start. What Grafana
#                                        makes of deploy/grafana is not tried by it
set -euo pipefail
programs=$(cd "${1:?folder of the programs}" && pwd)
compose_file=$(dirname "$0")/../../docker-compose.yml

# The name that docker-compose.yml has for an image, so that versions stand in one place.
tag() { grep -om1 "$1:[^ ]*" "$compose_file"; }

stand_in() { # name, programs to copy...; the Dockerfile, without FROM and COPY, on standard input
  local tag context program
  tag=$(tag "$1")
  shift
  if docker image inspect "$tag" >/dev/null 2>&1; then
    echo "$tag: there already"
    return
  fi
  context=$(mktemp -d)
  echo "FROM debian:bookworm-slim" >"$context/Dockerfile"
  for program in "$@"; do
    install -m 0755 "$programs/$program" "$context/$program"
    echo "COPY $program /usr/local/bin/$program" >>"$context/Dockerfile"
  done
  cat >>"$context/Dockerfile"
  docker build --quiet --tag "$tag" "$context" >/dev/null
  rm -r "$context"
  docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$tag"
}

for base in debian:bookworm-slim rust:1-bookworm postgres:16; do
  docker image inspect "$base" >/dev/null 2>&1 || {
    echo "$base is not there: pull it, or make it from this machine's packages" >&2
    exit 1
  }
done

install='RUN apt-get update && apt-get install -y --no-install-recommends'

stand_in temporalio/server temporal-server <<EOF
$install netcat-openbsd && useradd --uid 1000 temporal
USER temporal
ENTRYPOINT ["temporal-server"]
EOF

stand_in temporalio/admin-tools temporal-sql-tool temporal <<'EOF'
RUN useradd --uid 1000 --create-home temporal
USER temporal
ENTRYPOINT ["sleep", "infinity"]
EOF

stand_in temporalio/ui temporal-ui <<'EOF'
RUN printf '%s\n' '#!/bin/sh' 'cat >/tmp/ui.yaml <<YAML' \
      'temporalGrpcAddress: $TEMPORAL_ADDRESS' 'port: 8080' 'enableUi: true' \
      'defaultNamespace: $TEMPORAL_DEFAULT_NAMESPACE' 'notifyOnNewVersion: false' \
      'cors: { cookieInsecure: $TEMPORAL_CSRF_COOKIE_INSECURE }' 'YAML' \
      'exec temporal-ui --root / --config tmp --env ui start' >/start && chmod 755 /start && useradd --uid 1000 temporal
USER temporal
ENTRYPOINT ["/start"]
EOF

stand_in jaegertracing/jaeger jaeger <<'EOF'
ENV JAEGER_LISTEN_HOST=0.0.0.0
USER 10001
ENTRYPOINT ["jaeger"]
EOF

stand_in prom/prometheus <<EOF
$install prometheus wget && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]
EOF

# The real nginx has the module compiled in.
stand_in nginx <<EOF
$install nginx-light libnginx-mod-stream
ENTRYPOINT ["nginx", "-g", "daemon off; load_module /usr/lib/nginx/modules/ngx_stream_module.so;"]
EOF

stand_in grafana/grafana <<EOF
$install busybox wget && mkdir -p /srv/api && echo '{"stand-in": true}' >/srv/api/health
USER 472
ENTRYPOINT ["busybox", "httpd", "-f", "-p", "3000", "-h", "/srv"]
EOF
