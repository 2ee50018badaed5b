#!/usr/bin/env bash
# Stops and removes the container that tx2-up.sh started, and no other.
set -euo pipefail

name=cxrflow-tx2
there=$(docker container ls --all --quiet --filter "name=^$name\$")
if [ -z "$there" ]; then
  echo "$name doesn't run"
  exit 0
fi
docker container stop "$name" >/dev/null
docker container rm "$name" >/dev/null
echo "$name is stopped"
