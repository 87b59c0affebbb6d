#!/bin/sh
# The dev.sh that somebody would write for examples/diffie-shaped: the commands of its factory.yaml, the same waits, as
# much at once. Run it in a checkout that was set up. Prints `ready`; ends everything when stdin ends.
# usage: diffie_by_hand.sh FIRST_PORT
set -eu

first=$1
for name in POSTGRES RESTATE_ADMIN RESTATE_INGRESS RESTATE_FABRIC TEST_SERVICE AUTH REALTIME API APP WEBSITE; do
  export "${name}_PORT=$first" "${name}_URL=http://localhost:$first" "${name}_INTERNAL_URL=http://127.0.0.1:$first"
  first=$((first + 1))
done
set -a
. ./.env.dev
. ./.env.worktree
PATH=$PWD/node_modules/.bin:$PATH
DATABASE_URL=postgres://postgres@127.0.0.1:$POSTGRES_PORT/postgres
STREAM_URL=$REALTIME_URL/changes
COOKIE_DOMAIN=localhost
RESTATE_LISTEN_MODE=tcp RESTATE_BIND_IP=127.0.0.1 RESTATE_BIND_PORT=$RESTATE_FABRIC_PORT
RESTATE_ADMIN__BIND_PORT=$RESTATE_ADMIN_PORT RESTATE_INGRESS__BIND_PORT=$RESTATE_INGRESS_PORT
set +a

logs=.data/logs pids=
mkdir -p "$logs"
run() { # name command
  setsid sh -c "$2" >"$logs/$1.log" 2>&1 </dev/null & # a group of its own, which `stop` ends
  eval "$(echo "$1" | tr - _)=$!"
  pids="$pids $!"
}
wait_for() { # name command
  pid=$(eval echo "\$$(echo "$1" | tr - _)") tries=0
  until eval "$2" >/dev/null 2>&1; do
    tries=$((tries + 1))
    { [ "$tries" -lt 1200 ] && kill -0 "$pid"; } || { echo "$1 is not there, see $logs/$1.log" >&2; exit 1; }
    sleep 0.05
  done
}
answers() { curl -sf -o /dev/null "http://127.0.0.1:$1"; }
stop() {
  trap - EXIT
  for pid in $pids; do
    case $pid in "$postgres") signal=INT ;; *) signal=TERM ;; esac
    kill -s "$signal" -- "-$pid" 2>/dev/null || true
  done
  wait
}
trap stop EXIT
trap 'exit 1' TERM INT

run postgres 'exec packages/common/postgres.sh .data/postgres $POSTGRES_PORT'
run restate 'exec restate-server --no-logo --base-dir .data/restate'
run website 'cd packages/website && exec bun run dev -- --hostname 0.0.0.0 --port $WEBSITE_PORT'
(umask 077 && printf '%s\n' "DATABASE_URL=$DATABASE_URL" "AUTH_URL=$AUTH_INTERNAL_URL" "AUTH_SECRET=$AUTH_SECRET" \
  "APP_URL=$APP_URL" >packages/realtime/.dev.vars)

wait_for postgres 'bun packages/common/src/ready.ts'
bun run dev:push >"$logs/schema.log" 2>&1
run test-service 'cd packages/test-service && bun run build && PORT=$TEST_SERVICE_PORT exec bun run dev'
run auth 'cd packages/auth && PORT=$AUTH_PORT exec bun run dev'
wait_for auth 'answers $AUTH_PORT/health'
run realtime 'cd packages/realtime && exec bun run dev'
wait_for test-service 'bun -e "(await Bun.connect({hostname: \"127.0.0.1\", port: $TEST_SERVICE_PORT, socket: {data() {}}})).end()"'
wait_for restate 'answers $RESTATE_ADMIN_PORT/health'
bun packages/test-service/src/register.ts >"$logs/register.log" 2>&1
run api 'cd packages/api && exec bun run dev'
wait_for api 'answers $API_PORT/health'
wait_for realtime 'answers $REALTIME_PORT/health'
run app 'cd packages/app && exec bun run dev'
wait_for app 'answers $APP_PORT/health'
wait_for website 'answers $WEBSITE_PORT/'
bun run dev:seed >"$logs/seed.log" 2>&1

echo ready
read -r _ || true
exit 0
