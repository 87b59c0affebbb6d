#!/bin/sh
# For those who have only this repo: `./factory.sh start` is `factory start`.
cd "$(dirname "$0")"
for factory in factory swfactory; do
  command -v "$factory" >/dev/null && exec "$factory" "$@"
done
echo "There is no command \`factory\` on PATH: \`pip install software-factory-contract\` brings it." >&2
exit 127
