#!/bin/bash
# Healthy once the stable version of every model that TF Serving is told to serve is available; the
# image has bash, sed and grep but no curl.
models=$(sed -n 's/^ *name: "\(.*\)"$/\1/p' "${MODELS_CONFIG:-/models/models.config}")
[ -n "$models" ] || exit 1
for model in $models; do
  exec 3<>"/dev/tcp/127.0.0.1/${REST_PORT:-8501}" || exit 1
  printf 'GET /v1/models/%s/labels/stable HTTP/1.0\r\n\r\n' "$model" >&3
  grep -q '"AVAILABLE"' <&3 || exit 1
done
