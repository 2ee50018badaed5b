"""Asks a TF Serving or an embedded server about X-rays; imports no TensorFlow."""

from cxrflow.serving.client.client import Client, GaveUp
from cxrflow.serving.client.results import Answer, Failure, Finding, Model, Result
from cxrflow.serving.client.settings import ClientConfig

__all__ = ["Answer", "Client", "ClientConfig", "Failure", "Finding", "GaveUp", "Model", "Result"]
