#!/usr/bin/env bash
# Tries docker-compose.yml for real, as it is: builds and starts it, runs the main job, kills each container in the middle of a
# cancellation, and rolls three replicas of each service one by one under load. By hand; half an hour or more. Nothing is stubbed
# (what stands in for images where no registry is reached: images.sh).
#
#   tests/compose/run.sh [up] [job] [kill] [roll] [down]       all of them without a word; down also removes the volumes
#
# Needs docker with compose v2, jq, grpcurl, and python3 with grpcio (PYTHON names another one). QUELL_BUILD_PROFILE=dev shortens the build.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
PYTHON=${PYTHON:-python3}
# Size of the workload that a cancellation is met in the middle of, and calls a second while replicas are rolled.
WORKFLOWS=${WORKFLOWS:-300}
RATE=${RATE:-200}
results=$(mktemp -d)
load=
trap '[ -z "$load" ] || kill "$load" 2>/dev/null || true; rm -r "$results"' EXIT
services=(work canceler batch)

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }
fail() {
  say "FAILED: $*" >&2
  tail -n 5 "$results/quell.log" >&2 || true
  exit 1
}
within() { # seconds, what, command...: the command holds at last
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || fail "not within its time: $what"
    sleep 1
  done
}

# The CLI of the image, run here, so that the published ports are what is used.
quell() {
  if [ ! -x "$results/quell" ]; then
    local container
    container=$(docker create quell-cli)
    docker cp "$container:/usr/local/bin/quell" "$results/quell" >/dev/null
    docker rm "$container" >/dev/null
  fi
  "$results/quell" --json "$@" 2>>"$results/quell.log" | tail -n 1
}

healthy() { # containers of a service, or one container id
  local ids=$1
  [[ $ids =~ ^[0-9a-f]{12,}$ ]] || ids=$(docker compose ps --quiet "$1")
  ! docker inspect --format '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' $ids |
    grep -qvE '^running (healthy)?$'
}

# By Temporal's own command, not by ours.
running() { # workload
  docker compose run --rm --no-deps --no-TTY --entrypoint temporal temporal-namespaces workflow count --namespace main \
    --query "WorkloadId = '$1' AND ExecutionStatus = 'Running'" 2>/dev/null | grep -oE '[0-9]+' | head -n 1
}

start() { # workload: executions without parents, started one by one until somebody stops it
  grpcurl -plaintext -d "{\"requestId\": \"$1\", \"spec\": {\"width\": $WORKFLOWS, \"depth\": 1, \"workloadId\": \"$1\",
    \"lifetime\": \"3600s\", \"producer\": \"SNOWBALL_PRODUCER_CLIENT\"}}" \
    127.0.0.1:50051 quell.work.v1.SnowballService/StartSnowball >"$results/start.json" 2>&1
}
grown() { # workload, executions
  [ "$(quell preview --workload-id "$1" | jq .open)" -ge "$2" ] 2>/dev/null
}
cancel() { quell stop --workload-id "$1" --request-id "$1" --reason "tests/compose: $1" --engine sweep --detach --yes | jq -e .cancellation_id >/dev/null; }
rate() { quell adjust "$1" --rate "$2" | jq -e .limits >/dev/null || ended "$1"; } # cancellation, stops a second
state() {
  grpcurl -plaintext -emit-defaults -d "{\"cancellationId\": \"$1\"}" 127.0.0.1:50052 \
    quell.canceler.v1.CancellationService/GetCancellation 2>/dev/null | jq -r ".cancellation.$2"
}
sweeping() { [ "$(state "$1" 'progress.stopped | tonumber > 0')" = true ]; }
ended() { [[ $(state "$1" verdict) =~ ^VERDICT_(CLEAN|RESIDUE|BLOCKED|ABORTED)$ ]]; }

in_the_middle() { # name, command...: runs the command in the middle of a cancellation, which then ends CLEAN
  local id="$1-$RANDOM" verdict
  shift
  within 120 "the snowball $id starts" start "$id"
  within 300 "the snowball $id grows" grown "$id" $((WORKFLOWS / 2))
  within 120 "the cancellation $id starts" cancel "$id"
  # Slow enough to be met in its middle.
  within 60 "the rate of $id is cut" rate "$id" 5
  within 120 "$id stops something" sweeping "$id"
  ! ended "$id" || fail "$id was too fast to be met in its middle"
  "$@"
  within 120 "the rate of $id is raised" rate "$id" 0
  within 600 "$id ends" ended "$id"
  verdict=$(quell receipt "$id" | tee "$results/receipt.json" | jq -r .verdict)
  [ "$verdict" = CLEAN ] || fail "$id: $verdict, $(jq -c '{explanation, stopped, failed}' "$results/receipt.json")"
  [ "$(running "$id")" = 0 ] || fail "$id: Temporal still counts running ones"
  say "  $id: CLEAN, $(jq .stopped "$results/receipt.json") stopped"
}

step_up() {
  say "up: build and start"
  docker compose --profile cli build cli
  docker compose up --build --wait --wait-timeout 900
  within 60 "the Web UI answers" curl -fsS -o "$results/page" http://127.0.0.1:8080/
  within 60 "Prometheus scrapes all three" scraped 3
  for service in "${services[@]}"; do
    grpcurl -plaintext "127.0.0.1:$(port "$service")" list >/dev/null || fail "no $service at its port"
    docker compose exec "$service" sh -c 'test "$(id -u)" = 10001 && ! touch /usr/x 2>/dev/null' || fail "$service: root, or a file system to write to"
  done
  say "  healthy: $(docker compose ps --quiet | wc -l) containers"
}
port() { case $1 in work) echo 50051 ;; canceler) echo 50052 ;; batch) echo 50053 ;; esac }
scraped() {
  [ "$(curl -fsS 'http://127.0.0.1:9090/api/v1/query?query=count(up==1)' | jq -r '.data.result[0].value[1]')" = "$1" ]
}

step_job() {
  local workload="job-$RANDOM" trace
  say "job: a snowball that goes on growing is stopped; then one through the server's batch"
  for engine in auto both; do
    quell snowball start --workload-id "$workload-$engine" --width 20 --depth 2 --rate 5 >/dev/null
    within 300 "the snowball grows" grown "$workload-$engine" 100
    quell stop --workload-id "$workload-$engine" --reason "tests/compose" --engine "$engine" --yes >"$results/stop.json" ||
      fail "$engine: $(cat "$results/stop.json" "$results/quell.log")"
    [ "$(running "$workload-$engine")" = 0 ] || fail "Temporal still counts running ones"
    trace=$(jq -r .receipt.trace_id "$results/stop.json")
    say "  $engine: $(jq -c '{verdict, stopped, seconds}' "$results/stop.json"), trace $trace"
  done
  # The second one's, since it has all three.
  within 60 "the trace has all three services" traced "$trace"
}
traced() {
  [ "$(curl -fsS "http://127.0.0.1:16686/api/traces/$1" |
    jq -c '[.data[].processes[].serviceName] | unique | map(select(startswith("quell-")))' | tee "$results/services")" = \
    '["quell-batch","quell-canceler","quell-work"]' ]
}

kill_and_start() { # service
  docker compose kill "$1" 2>/dev/null
  docker compose start "$1" 2>/dev/null
  within 240 "$1 is healthy again" healthy "$1"
}
step_kill() {
  local service
  say "kill: each container once, in the middle of a cancellation"
  for service in $(docker compose ps --services); do
    in_the_middle "kill-$service" kill_and_start "$service"
  done
}

restart() { # container: as a rolling update does it
  docker restart --time 45 "$1" >/dev/null
  within 240 "$1 is healthy again" healthy "$1"
}
step_roll() {
  local service container id job
  say "roll: three replicas each, one by one, under $RATE calls a second"
  docker compose up --wait --wait-timeout 600 --no-build --scale work=3 --scale canceler=3 --scale batch=3
  within 60 "Prometheus scrapes all nine" scraped 9
  id=$(quell list | jq -r '.cancellations[0].cancellation_id')
  job=$(quell batch list | jq -r '.operations[0].job_id')
  "$PYTHON" "$here/load.py" "$RATE" "$id" "$job" >"$results/load.json" &
  load=$!
  for service in "${services[@]}"; do
    for container in $(docker compose ps --quiet "$service"); do
      in_the_middle "roll-$service" restart "$container"
    done
  done
  kill -TERM "$load"
  wait "$load" || fail "calls failed: $(jq -c '.failures |= .[:5]' "$results/load.json")"
  load=
  say "  $(cat "$results/load.json")"
}

step_down() {
  say "down"
  docker compose down --volumes --remove-orphans
}

[ $# -gt 0 ] || set -- up job kill roll down
for step in "$@"; do "step_$step"; done
say "all of it holds: $*"
