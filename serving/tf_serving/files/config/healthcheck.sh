#!/bin/bash
# Healthy once the stable version of every model answers; the image has bash but no curl.
for model in $MODELS; do
  exec 3<>"/dev/tcp/127.0.0.1/${REST_PORT:-8501}" || exit 1
  printf 'GET /v1/models/%s/labels/stable HTTP/1.0\r\n\r\n' "$model" >&3
  grep -q '"AVAILABLE"' <&3 || exit 1
done
