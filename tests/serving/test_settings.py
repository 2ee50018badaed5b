"""The server's settings, from a file."""

import pytest

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.settings import ServerConfig, read_config


@pytest.mark.parametrize(
    "text, reason",
    [
        ("grpc_port: 1\nrest_port: 2\ngrpc_port: 3\n", "is not YAML: 'grpc_port' stands there twi"),
        ("batching: {threads: 1, threads: 2}", "'threads' stands there twice"),
        ("- grpc_port: 1", "must hold fields, such as `grpc_port: 8500`"),
        ("a: [", "is not YAML"),
        ("grpc_prot: 1", "serve: grpc_prot: Unexpected keyword argument"),
        ("batching: {threads: 0}", "serve: batching.threads: Input should be greater than"),
        ("allow_reload: true", "serve: allow_reload needs reload_token_file or tls_client_ca"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "server.yaml"
    path.write_text(text)
    with pytest.raises(CxrflowError) as caught:
        read_config(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_command_line_says_goes_before_the_file(tmp_path):
    path = tmp_path / "server.yaml"
    path.write_text("grpc_port: 1\nrest_port: 2\n")
    assert read_config(path, grpc_port=3) == ServerConfig(grpc_port=3, rest_port=2)
    path.write_text("")
    assert read_config(path) == ServerConfig()
