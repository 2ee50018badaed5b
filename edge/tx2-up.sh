#!/usr/bin/env bash
# Starts the container cxrflow-tx2: this bundle and the X-rays read-only, no root, no network.
#   bash tx2-up.sh IMAGES OUT [OPTION...]  scores all of IMAGES with infer.py and its OPTIONs
#   bash tx2-up.sh --wait IMAGES OUT       runs nothing but what docker exec brings
#   bash tx2-up.sh --jupyter IMAGES OUT    a notebook at 127.0.0.1:8888 (PORT=8889: another port)
# After a power cut it starts again with the device, and the scoring goes on where it stopped.
set -euo pipefail

name=cxrflow-tx2
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

fail() {
  echo "tx2-up: $1" >&2
  exit 2
}

target=runtime
work=score
case "${1:-}" in
  --jupyter)
    target=jupyter
    work=jupyter
    shift
    ;;
  --wait)
    work=wait
    shift
    ;;
esac
usage="usage: $0 [--wait|--jupyter] IMAGES OUT, or $0 IMAGES OUT [infer.py's options]"
[ $# -ge 2 ] && { [ $# = 2 ] || [ "$work" = score ]; } || fail "$usage"
for folder in "$1" "$2"; do
  case "$folder" in
    -*) fail "$usage" ;;
  esac
done
[ -d "$1" ] || fail "there is no folder $1"
command -v docker >/dev/null || fail "there is no docker: JetPack's nvidia-container installs it"
mkdir -p "$2"
images=$(cd "$1" && pwd -P)
out=$(cd "$2" && pwd -P)
shift 2
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

# unless-stopped: up again after a power cut, but not after tx2-down.sh.
options=(
  --detach --name "$name" --restart unless-stopped --stop-timeout 30 --runtime nvidia
  --user "$user" --group-add video --cap-drop ALL --security-opt no-new-privileges
  --volume "$bundle:/bundle:ro" --volume "$images:/images:ro" --volume "$out:/out"
  --env HOME=/tmp --entrypoint bash
)
if [ -n "${SECCOMP:-}" ]; then
  options+=(--security-opt "seccomp=$SECCOMP")
fi
command=("$image" /bundle/tx2-entry.sh)
case "$work" in
  score)
    options+=(--network none)
    command+=(python3 /bundle/infer.py /images --out /out/results --trt /out/engine "$@")
    ;;
  wait) options+=(--network none) ;;
  jupyter)
    port=${PORT:-8888}
    JUPYTER_TOKEN=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    export JUPYTER_TOKEN # to docker by name: it isn't in any process's arguments
    options+=(--publish "127.0.0.1:$port:8888" --env JUPYTER_TOKEN --env CXRFLOW_BUNDLE=/bundle)
    # The bundle is read-only; all addresses are the container's own, published on 127.0.0.1 only.
    start='cp --no-clobber /bundle/inference.ipynb /out; exec python3 -m notebook "$@"'
    command+=(bash -c "$start" - --ip=0.0.0.0 --port=8888 --no-browser --notebook-dir=/out)
    ;;
esac
if ! said=$(docker run "${options[@]}" "${command[@]}" 2>&1); then
  echo "$said" >&2
  case "$said" in
    *seccomp* | *clone3* | *"peration not permitted"*)
      fail "docker can't start it: upgrade docker, containerd and libseccomp2 together, or start with SECCOMP=unconfined bash tx2-up.sh ..."
      ;;
  esac
  fail "docker can't start $name; bash tx2-down.sh removes what it left"
fi

case "$work" in
  score)
    cat <<TEXT
$name scores $images; the results go to $out/results
  docker logs --follow $name    shows how far it is
  docker restart $name          scores what was added since
TEXT
    ;;
  wait)
    cat <<TEXT
$name runs. Next:
  docker exec $name python3 /bundle/infer.py --check
  docker exec $name python3 /bundle/build_trt.py --out /out/engine
  bash tx2-down.sh && bash tx2-up.sh IMAGES OUT
TEXT
    ;;
  jupyter)
    echo "$name runs; this address is shown once: http://127.0.0.1:$port/?token=$JUPYTER_TOKEN"
    ;;
esac
if command -v nvpmodel >/dev/null; then
  echo "full speed, until the next start: sudo nvpmodel -m 0 && sudo jetson_clocks"
fi
echo "bash tx2-down.sh stops it"
