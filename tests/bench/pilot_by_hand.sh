#!/bin/sh
# The dev.sh that somebody would write for examples/pilot: the commands of its factory.yaml, the same waits, as much at
# once. Prints `ready`; ends everything when stdin ends.
# usage: pilot_by_hand.sh FIRST_PORT
set -eu

export DESK_NAME=Deskline DESK_DATABASE=var/deskline.db API_PORT="$1" WEB_PORT=$(($1 + 1))
export API_URL=http://localhost:$API_PORT WEB_URL=http://localhost:$WEB_PORT

logs=var/logs pids=
mkdir -p "$logs"
run() { # name command
  setsid sh -c "$2" >"$logs/$1.log" 2>&1 </dev/null & # a group of its own, which `stop` ends
  eval "$1=$!"
  pids="$! $pids"
}
wait_for() { # name command
  pid=$(eval echo "\$$1") tries=0
  until eval "$2" >/dev/null 2>&1; do
    tries=$((tries + 1))
    { [ "$tries" -lt 1200 ] && kill -0 "$pid"; } || { echo "$1 is not there, see $logs/$1.log" >&2; exit 1; }
    sleep 0.05
  done
}
answers() { curl -sf -o /dev/null "http://127.0.0.1:$1"; }
stop() {
  trap - EXIT
  for pid in $pids; do kill -s TERM -- "-$pid" 2>/dev/null || true; done
  wait
}
trap stop EXIT
trap 'exit 1' TERM INT

python3 -m deskline.database >"$logs/database.log" 2>&1
run api 'exec python3 -m deskline.api --port $API_PORT --web-url $WEB_URL'
run worker 'exec python3 -m deskline.worker'
wait_for api 'answers $API_PORT/health'
wait_for worker 'python3 -m deskline.worker --check'
run web 'exec python3 -m deskline.web --port $WEB_PORT --api-url $API_URL'
wait_for web 'answers $WEB_PORT/health'
python3 -m deskline.seed >"$logs/seed.log" 2>&1

echo ready
read -r _ || true
exit 0
