#!/usr/bin/env bash
# Starts the container cxrflow-tx2: this bundle and the X-rays read-only, no root, no network.
#   bash tx2-up.sh IMAGES OUT            infer.py and build_trt.py run in it with docker exec
#   bash tx2-up.sh --jupyter IMAGES OUT  a notebook at 127.0.0.1:8888 (PORT=8889 for another port)
set -euo pipefail

name=cxrflow-tx2
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

fail() {
  echo "tx2-up: $1" >&2
  exit 2
}

target=runtime
if [ "${1:-}" = --jupyter ]; then
  target=jupyter
  shift
fi
[ $# = 2 ] || fail "usage: $0 [--jupyter] IMAGES OUT"
[ -d "$1" ] || fail "there is no folder $1"
command -v docker >/dev/null || fail "there is no docker: JetPack's nvidia-container installs it"
mkdir -p "$2"
images=$(cd "$1" && pwd -P)
out=$(cd "$2" && pwd -P)
case "$bundle$images$out" in
  *:*) fail "docker can't mount a folder with ':' in its path" ;;
esac
user=$(stat -c %u:%g "$out")
[ "${user%%:*}" != 0 ] || fail "$out is root's; the container isn't root: chown it to a user"
there=$(docker container ls --all --quiet --filter "name=^$name\$")
[ -z "$there" ] || fail "$name is there already; bash tx2-down.sh stops it"

image=$name:$target
built=$(docker image ls --quiet "$image")
if [ -z "$built" ]; then
  echo "building the image $image, once: this needs the network and some minutes"
  docker build --tag "$image" --target "$target" - <"$bundle/Dockerfile"
fi

options=(
  --detach --name "$name" --runtime nvidia
  --user "$user" --group-add video --cap-drop ALL --security-opt no-new-privileges
  --volume "$bundle:/bundle:ro" --volume "$images:/images:ro" --volume "$out:/out"
  --env HOME=/tmp
)
if [ "$target" = jupyter ]; then
  port=${PORT:-8888}
  JUPYTER_TOKEN=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  export JUPYTER_TOKEN # to docker by name: it isn't in any process's arguments
  docker run "${options[@]}" --publish "127.0.0.1:$port:8888" --env JUPYTER_TOKEN "$image" >/dev/null
  echo "$name runs; this address is shown once: http://127.0.0.1:$port/?token=$JUPYTER_TOKEN"
else
  docker run "${options[@]}" --network none "$image" >/dev/null
  cat <<TEXT
$name runs. Next:
  docker exec $name python3 /bundle/infer.py --check
  docker exec $name python3 /bundle/build_trt.py --out /out/engine
  docker exec $name python3 /bundle/infer.py /images --out /out/results --trt /out/engine
TEXT
fi
echo "bash tx2-down.sh stops it"
