"""The pipeline under TFX's own command line; settings: see environment.py.

tfx pipeline create --engine beam --pipeline_path pipeline/runners/beam.py
tfx run create --engine beam --pipeline_name cxrflow
"""

from cxrflow.pipeline.runners.environment import run_from_environment

if __name__ == "__main__":
    run_from_environment("beam")
