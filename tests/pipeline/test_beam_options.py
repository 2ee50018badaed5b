"""Beam options of a profile: where they go, and what is refused in one line."""

from pathlib import Path

import pytest

from cxrflow.pipeline import config
from cxrflow.schema.errors import CxrflowError

pytestmark = pytest.mark.tf

PORTABLE = "--runner=PortableRunner"
DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=some-project",
    "--region=europe-west4",
    "--temp_location=gs://some-bucket/temporary",
    "--sdk_container_image=europe-west4-docker.pkg.dev/some-project/cxrflow/beam:0.1.0",
]


def options(**beam: object) -> list[str]:
    from cxrflow.pipeline import beam_options

    return beam_options.of_pipeline(config.parse({"beam": beam}).beam)


@pytest.mark.parametrize(
    ("beam", "expected"),
    [
        ({}, ["--runner=FnApiRunner", "--direct_num_workers=1", "--sdk_container_image=none"]),
        (
            {"workers": 3},
            [
                "--runner=cxrflow.pipeline.beam_workers.forking_runner",
                "--direct_num_workers=3",
                "--sdk_container_image=none",
            ],
        ),
        (
            {"workers": 2, "args": [PORTABLE, "--environment_type=LOOPBACK"]},
            [
                "--direct_num_workers=2",
                "--sdk_container_image=none",
                PORTABLE,
                "--environment_type=LOOPBACK",
            ],
        ),
        # A job server's own options are its own affair.
        ({"args": [PORTABLE, "--flinkConfDir=/c"]}, None),
        ({"args": ["--runner=FlinkRunner", "--flink_version=1.20", "--parallelism=4"]}, None),
        ({"args": [*DATAFLOW, "--experiments=use_runner_v2"]}, None),
    ],
)
def test_options_of_all_steps(beam: dict, expected: list[str] | None) -> None:
    found = options(**beam)
    assert found == expected if expected else found[1:] == beam["args"]


@pytest.mark.parametrize("engine", sorted(path.stem for path in config.ENGINES.glob("*.yaml")))
def test_profiles_of_engines(engine: str) -> None:
    from cxrflow.pipeline import beam_options
    from cxrflow.pipeline.beam_engine import last

    asked = config.load(f"demo+{engine}").beam
    assert asked.is_remote and not config.load("demo").beam.is_remote
    found = beam_options.of_pipeline(asked)
    assert [last(found, arg.partition("=")[0]) for arg in asked.args] == [
        arg.partition("=")[2] for arg in asked.args
    ]
    # Their workers have everything: no archive of TFX is made for each step.
    assert last(found, "--sdk_container_image") == "none"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--direct_num_worker=2"], "beam.args: Beam has no option --direct_num_worker, did you"),
        (["--anything=2"], "beam.args: Beam has no option --anything$"),
        (["--runner=apache_beam.FnApiRunner", "--anything"], "Beam has no option --anything$"),
        ([PORTABLE, "--job_endpont=h:1"], "no option --job_endpont, did you mean --job_endpoint"),
        (["--direct_num_workers=two"], "beam.args: argument --direct_num_workers: invalid int"),
        (["runner=FlinkRunner"], r"beam\.args\.0: string should match"),
        (["--runner=FlinkRuner"], "there is no --runner=FlinkRuner here: Unexpected pipeline runn"),
        (["--runner=no.such.Runner"], "no --runner=no.such.Runner here: No module named 'no'"),
        (["--runner=DaskRunner"], "DaskRunner reads no files, and computes only the last branch"),
        (["--runner=DataflowRunner"], "Dataflow needs --project=…: the Google Cloud project"),
        (DATAFLOW[:-1], "Dataflow needs --sdk_container_image=…: the image that the Dockerfile's"),
        ([*DATAFLOW, "--project=12"], r"Invalid Project ID \(12\)\. .* not project number"),
        (
            [*DATAFLOW, "--temp_location=/tmp"],
            r"Invalid GCS path \(/tmp\), given for the option: t",
        ),
        ([*DATAFLOW, "--num_workers=0"], r"Invalid value \(0\) for option: num_workers"),
    ],
)
def test_options_that_are_refused(args: list[str], line: str) -> None:
    with pytest.raises(CxrflowError, match=line):
        options(args=args)


def wired(**nodes: list[str]) -> dict:
    from cxrflow.pipeline import dag
    from tests.pipeline.test_dag import FACTS

    asked = config.parse({"beam": {"args": ["--runner=FnApiRunner"], "nodes": nodes}})
    pipeline = dag.create_pipeline(asked, Path("data"), Path(), FACTS)
    return {node.id: node for node in pipeline.components}


def test_single_nodes_have_the_last_word() -> None:
    found = wired(Transform=["--direct_num_workers=4"], ImageExampleGen=[PORTABLE])
    args = {
        name: found[name].executor_spec.beam_pipeline_args
        for name in ("Transform", "ImageExampleGen", "StatisticsGen")
    }
    common = ["--direct_num_workers=1", "--runner=FnApiRunner"]
    assert args == {
        "Transform": [*common, "--direct_num_workers=4"],
        "ImageExampleGen": [*common, PORTABLE],
        "StatisticsGen": common,
    }


@pytest.mark.parametrize(
    ("node", "args", "line"),
    [
        ("Tranform", ["--runner=x"], r"^beam\.nodes\.Tranform: no such node, did you mean Transf"),
        ("Gate", ["--runner=x"], r"^beam\.nodes\.Gate: this node runs without Beam; .*Transform"),
        ("Transform", ["--rnner=x"], r"^beam\.nodes\.Transform: Beam has no option --rnner, did"),
        ("Transform", ["--runner=x"], r"^beam\.nodes\.Transform: there is no --runner=x here"),
    ],
)
def test_nodes_that_are_refused(node: str, args: list[str], line: str) -> None:
    with pytest.raises(CxrflowError, match=line):
        wired(**{node: args})


class Looking:
    """An executor that tells what it was given."""

    def __init__(self, context) -> None:
        self.context = context

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        exec_properties["seen"] = input_dict["texts"][0].uri
        exec_properties["temporary"] = self.context.get_tmp_path()
        output_dict["text"][0].set_string_custom_property("wrote", output_dict["text"][0].uri)


@pytest.mark.parametrize("remote", [True, False])
def test_workers_elsewhere_get_absolute_paths(
    remote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml_metadata.proto.metadata_store_pb2 import Value
    from tfx.orchestration.portable.data_types import ExecutionInfo
    from tfx.proto.orchestration.executable_spec_pb2 import BeamExecutableSpec
    from tfx.proto.orchestration.placeholder_pb2 import PlaceholderExpression

    from cxrflow.pipeline.operators import BeamOperator
    from tests.support.nodes import artifact
    from tests.support.tiny_pipeline import Text

    class Operator(BeamOperator):
        def __init__(self) -> None:
            self._executor_spec, self._platform_config = BeamExecutableSpec(), None
            args = ["--runner=FnApiRunner", *([PORTABLE, "--job_endpoint=embed"] if remote else [])]
            self.beam_pipeline_args = [
                PlaceholderExpression(value=Value(string_value=arg)) for arg in args
            ]
            self.extra_flags, self._executor_cls = [], Looking

    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    info = ExecutionInfo(
        execution_id=7,
        input_dict={"texts": [artifact(Text, Path("a/Source/text/1"))]},
        output_dict={"text": [artifact(Text, Path("a/Join/text/7"))]},
        exec_properties={},
        execution_output_uri="a/executor_output.pb",
        tmp_dir="a/.temp/",
        stateful_working_dir="a/work",
    )
    output = Operator().run_executor(info)
    (text,) = output.output_artifacts["text"].artifacts
    start = f"{tmp_path}/" if remote else ""
    assert text.uri == "a/Join/text/7"
    assert text.custom_properties["wrote"].string_value == f"{start}a/Join/text/7"
    assert info.exec_properties["seen"] == f"{start}a/Source/text/1"
    assert info.exec_properties["temporary"].startswith(f"{start}a/.temp/")
    assert info.input_dict["texts"][0].uri == "a/Source/text/1"


def test_data_below_the_root_are_named_absolutely_for_workers_elsewhere() -> None:
    from cxrflow.pipeline import data

    near, far = config.parse({}), config.parse({"beam": {"nodes": {"Transform": [PORTABLE]}}})
    assert data.as_named(Path("/r/x"), Path("/r"), near) == Path("x")
    assert data.as_named(Path("/r/x"), Path("/r"), far) == Path("/r/x")
