#!/bin/sh
# `server DIRECTORY`, as the real image has it, served by rclone; the keys by its environment, not by its arguments.
set -eu
RCLONE_AUTH_KEY="\"$(cat "$MINIO_ROOT_USER_FILE"),$(cat "$MINIO_ROOT_PASSWORD_FILE")\"" # one value that holds a comma
RCLONE_CONFIG=/dev/null
export RCLONE_AUTH_KEY RCLONE_CONFIG
exec rclone serve s3 --addr :9000 --vfs-cache-mode off "$2"
