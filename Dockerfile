# Images of cxrflow; Docker 23 or newer. docs/operations.md has the targets.
#   docker build --tag cxrflow:0.1.0 .                              the pipeline; GPU machines: --build-arg GPU=1
#   docker build --target server --tag cxrflow-server:0.1.0 .       what serving/deploy/ starts
#   docker build --target beam --tag cxrflow-beam:0.1.0 .           Beam's workers (docs/scale.md)
#   docker build --target notebook --tag cxrflow-notebook:0.1.0 .   JupyterLab
# Debian 13: its C library is new enough for TFX's packages.
ARG PYTHON=3.11

# The tools that the tests ask for, and JupyterLab; .devcontainer.json is made of it.
FROM python:${PYTHON}-slim-trixie AS dev
# Unpinned: Debian's mirrors keep no older versions.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       bash-completion chromium dcmtk dicom3tools git make mariadb-server nginx-light \
       orthanc orthanc-dicomweb prometheus \
    && rm -rf /var/lib/apt/lists/*
# Beside the environment, which holds what the lock names and no more; its kernel is the environment's.
RUN pip install --no-cache-dir "jupyterlab>=4.4,<5" \
    && useradd --create-home --uid 1000 --shell /bin/bash cxrflow
USER 1000

# The environment as `make setup` makes it: what requirements.lock names, by hash.
FROM python:${PYTHON}-slim-trixie AS environment
ARG GPU=
RUN useradd --create-home --uid 1000 cxrflow && install --directory --owner=1000 /work
COPY . /opt/cxrflow
RUN --mount=type=cache,target=/root/.cache \
    python /opt/cxrflow/pipeline/setup/bootstrap.py ${GPU:+--gpu}
ENV VIRTUAL_ENV=/opt/cxrflow/.venv PATH=/opt/cxrflow/.venv/bin:$PATH
ENV TF_USE_LEGACY_KERAS=0 PYTHONUNBUFFERED=1

FROM environment AS server
USER 65534:65534
WORKDIR /tmp
EXPOSE 8500 8501
ENTRYPOINT ["cxrflow", "serve"]
CMD ["--root", "/models", "--host", "0.0.0.0", "--log", "-"]

# JupyterLab's own packages aren't in the lock; they may change none that are.
FROM environment AS notebook
RUN --mount=type=cache,target=/root/.cache \
    uv pip freeze --exclude-editable > /tmp/locked.txt \
    && uv pip install "jupyterlab>=4.4,<5" --constraints /tmp/locked.txt
USER 1000
WORKDIR /work
EXPOSE 8888
# It prints its address with a token that is new at each start.
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]

# What Dataflow, and Flink with --environment_type=DOCKER, start as workers; the version is Beam's in the lock.
FROM environment AS beam
COPY --from=apache/beam_python3.11_sdk:2.77.0 /opt/apache/beam /opt/apache/beam
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
USER 1000
WORKDIR /work
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM environment AS pipeline
USER 1000
WORKDIR /work
ENTRYPOINT ["cxrflow"]
CMD ["--help"]
