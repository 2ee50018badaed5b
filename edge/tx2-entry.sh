#!/usr/bin/env bash
# The container's first process: runs a program to its end, then waits for `docker exec`.
#   bash tx2-entry.sh [PROGRAM ARGUMENT...]
# `docker stop` sends SIGTERM to this process only; it passes it on to all others in the container,
# those of `docker exec` too, and waits until they have ended.
set -u

tries=${CXRFLOW_TRIES:-5}   # of a program that fails: a disk or the GPU may come up late
pause=${CXRFLOW_PAUSE:-60}  # seconds between two tries
grace=${CXRFLOW_GRACE:-25}  # seconds to end in; tx2-up.sh gives 30

if [ $$ != 1 ]; then
  echo "tx2-entry: runs as a container's first process only; it signals all others" >&2
  exit 2
fi

stop() {
  trap '' TERM INT
  kill -TERM -1 2>/dev/null
  for ((i = 0; i < 10 * grace; i++)); do
    kill -0 -1 2>/dev/null || break
    sleep 0.1
  done
  exit 0
}
trap stop TERM INT

# A trap runs at once only during `wait`.
in_background() {
  "$@" &
  wait $!
}

if [ $# -gt 0 ]; then
  for ((try = 1; ; try++)); do
    in_background "$@"
    code=$?
    # 0 and 1 are finished (1: some images have no answer), 130 is interrupted by hand.
    case $code in
      0 | 1 | 130) break ;;
    esac
    if ((try >= tries)); then
      echo "tx2-entry: exit code $code in try $try of $tries; docker restart tries again"
      break
    fi
    echo "tx2-entry: exit code $code in try $try of $tries; the next in $pause s"
    in_background sleep "$pause"
  done
  echo "tx2-entry: ended with exit code $code; the container waits for docker exec"
fi
while :; do
  in_background sleep 86400
done
