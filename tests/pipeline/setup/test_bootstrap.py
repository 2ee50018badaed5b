"""The environment's maker: its rules, and the lines with which it fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxrflow.pipeline.setup import bootstrap, debian, errors, install, machine, places, stamp, steps
from cxrflow.pipeline.setup.debian import Source

SCRIPT = Path(bootstrap.__file__)

BOOKWORM = """\
# See sources.list(5)
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://key.example/repo
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""

JAMMY = """\
# deb http://commented.example/ubuntu jammy main
deb http://mirror.example/ubuntu/ jammy main restricted # the usual
deb-src http://mirror.example/ubuntu/ jammy main
deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] https://tools.example/apt jammy main
deb http://mirror.example/ubuntu/ jammy-updates main universe
"""


def test_the_environment_keeps_bytecode_whatever_the_user_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # as container images do
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    env = steps.clean_env()
    assert "PYTHONDONTWRITEBYTECODE" not in env
    assert env["PIP_INDEX_URL"] == "https://mirror.example/simple"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with a lock, to which the module's paths point."""
    (tmp_path / "requirements.lock").write_text("pip==1 \\\n    --hash=sha256:aa\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for name, value in {
        "REPO": tmp_path,
        "LOCK": tmp_path / "requirements.lock",
        "LOG": tmp_path / ".venv.log",
        "VENV": tmp_path / ".venv",
        "STAMP": tmp_path / ".venv" / "cxrflow.json",
    }.items():
        monkeypatch.setattr(places, name, value)
    return tmp_path


@pytest.mark.parametrize(
    ("system", "machine", "named"),
    [
        ("Linux", "x86_64", None),
        ("Darwin", "arm64", None),
        ("Linux", "aarch64", "Linux on aarch64"),
        ("Darwin", "x86_64", "Darwin on x86_64"),
        ("Windows", "AMD64", "WSL 2"),
    ],
)
def test_platforms(system: str, machine: str, named: str | None) -> None:
    reason = bootstrap.unsupported_platform(system, machine)
    assert reason is None if named is None else named in str(reason)


@pytest.mark.parametrize(
    ("version", "good"),
    [((3, 9), False), ((3, 10), True), ((3, 13), True), ((3, 14), False), ((2, 7), False)],
)
def test_python_versions(version: tuple[int, int], good: bool) -> None:
    assert machine.supported_python(version) is good


def test_old_python_gets_one_line(tmp_path: Path) -> None:
    olds = [f"python3.{minor}" for minor in (6, 7, 8, 9)]
    pyenv = Path.home() / ".pyenv" / "versions"
    found = [shutil.which(name) for name in olds]
    found += [str(path) for name in olds for path in pyenv.glob(f"*/bin/{name}")]
    for python in filter(None, found):
        command = [python, str(SCRIPT)]
        env = {"PATH": str(tmp_path), "HOME": os.environ.get("HOME", "")}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode != 127:  # a pyenv shim without its Python
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1 and "is not supported" in done.stderr
            return
    pytest.skip("no Python 3.6 to 3.9 on this machine")


@pytest.mark.parametrize(
    ("cpuinfo", "lacking"),
    [("x : 1\nflags\t\t: fpu avx avx2\n", False), ("flags : fpu avx2x\n", True), ("", False)],
)
def test_avx(cpuinfo: str, lacking: bool) -> None:
    assert machine.lacks_avx(cpuinfo) is lacking


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("glibc 2.36", (2, 36)),
        ("glibc 2.4.1", (2, 4)),
        ("musl 1.2", None),
        ("", None),
        (None, None),
    ],
)
def test_glibc_version(text: str | None, version: tuple[int, int] | None) -> None:
    assert machine.glibc_version(text) == version


def test_glibc_is_compared_by_number() -> None:
    assert machine.glibc_version("glibc 2.4") < machine.GLIBC < (2, 41)


def test_deb822_sources() -> None:
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    plain = [
        Source("http://mirror.example/debian", suite, ("main", "contrib"), keyring)
        for suite in ("bookworm", "bookworm-updates")
    ]
    *first, with_block = debian.parse_deb822(BOOKWORM)
    assert first == plain
    assert with_block.uri == "http://key.example/repo"
    assert (
        with_block.signed_by.startswith("\n -----BEGIN PGP") and " mQINBF\n" in with_block.signed_by
    )


def test_one_line_sources() -> None:
    assert list(debian.parse_one_line(JAMMY)) == [
        Source("http://mirror.example/ubuntu/", "jammy", ("main", "restricted"), ""),
        Source("https://tools.example/apt", "jammy", ("main",), "/etc/apt/keyrings/x.gpg"),
        Source("http://mirror.example/ubuntu/", "jammy-updates", ("main", "universe"), ""),
    ]


def test_sources_of_both_forms_are_read(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://a.example/ubuntu jammy main\n")
    (tmp_path / "sources.list.d" / "b.sources").write_text(BOOKWORM)
    (tmp_path / "sources.list.d" / "c.list").write_text("deb http://c.example/x jammy main\n")
    (tmp_path / "sources.list.d" / "d.list.save").write_text("deb http://d.example/x jammy main\n")
    uris = [source.uri for source in debian.configured_sources(tmp_path)]
    assert uris[0] == "http://a.example/ubuntu" and uris[-1] == "http://c.example/x"
    assert "http://d.example/x" not in uris
    assert debian.configured_sources(tmp_path / "none") == []


def test_mirrors_prefer_the_archive_over_other_repositories() -> None:
    sources = list(debian.parse_one_line(JAMMY))[::-1]
    found = debian.mirrors(sources, "jammy")
    assert [s.uri for s in found] == ["http://mirror.example/ubuntu/", "https://tools.example/apt"]
    assert debian.mirrors(sources, "noble") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID="12"\n', ("debian", "bookworm")),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=jammy\n", ("ubuntu", "jammy")),
        (
            'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=vera\nUBUNTU_CODENAME=jammy\n',
            ("ubuntu", "jammy"),
        ),
        ('ID="rhel"\nID_LIKE="fedora"\n', ("", "")),
        ("", ("", "")),
    ],
)
def test_distribution(text: str, expected: tuple[str, str]) -> None:
    assert debian.distribution(text) == expected


def test_locked_takes_whole_entries() -> None:
    text = (
        "# comment\n"
        "pip==26.3 ; python_version < '3.14' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "    # via cxrflow\n"
        "pipdeptree==1 \\\n    --hash=sha256:cc\n"
        "uv==0.1 \\\n    --hash=sha256:dd\n"
    )
    assert install.locked(text, ("pip", "uv")) == (
        "pip==26.3 ; python_version < '3.14' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "uv==0.1 \\\n    --hash=sha256:dd\n"
    )


def test_the_lock_holds_the_tools_with_hashes_and_no_host() -> None:
    text = (places.REPO / "requirements.lock").read_text()
    tools = install.locked(text, install.TOOLS)
    assert [line.split("==")[0] for line in tools.split("\n") if "==" in line] == list(
        install.TOOLS
    )
    assert tools.count("--hash=sha256:") >= len(install.TOOLS)
    assert "://" not in text


def test_uv_gets_the_indexes_of_pip() -> None:
    config = (
        "global.index-url='https://old.example/simple'\n"
        "install.index-url='https://new.example/simple'\n"
        "global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'\n"
        ":env:.cert='/ca.pem'\n"
        "global.no-index='true'\n"
        f"global.find-links='{Path(__file__).parent} /no/such/folder https://w.example/wheels'\n"
    )
    env, options = install.uv_settings(config)
    env.pop("UV_SYSTEM_CERTS", None)
    assert env == {
        "UV_DEFAULT_INDEX": "https://new.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/ca.pem",
    }
    assert options == [
        "--no-index",
        f"--find-links={Path(__file__).parent}",
        "--find-links=https://w.example/wheels",
    ]


def test_uv_is_left_alone_without_pip_settings() -> None:
    env, options = install.uv_settings("")
    assert set(env) <= {"UV_SYSTEM_CERTS"} and options == []


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("error: No space left on device (os error 28)", "disk is full"),
        ("NewConnectionError: x\nERROR: No matching distribution found for uv==1", "no network"),
        ("cause: dns error", "no network"),
        ("E: Temporary failure resolving 'mirror.example'", "no network"),
        ("ERROR: No matching distribution found for uv==1", "mirror is complete"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the one of requirements.lock"),
        ("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED)", "PIP_CERT"),
        ("ProxyError('Cannot connect to proxy.')", "HTTPS_PROXY"),
        ("E: The repository 'x trixie Release' does not have a Release file.", "newer release"),
        ("one\n\nlast line \n", "last line"),
        ("\n", "without a word"),
    ],
)
def test_likely_cause(output: str, cause: str) -> None:
    line = errors.likely_cause(output)
    assert cause in line and "\n" not in line


def test_too_little_disk_is_named(tmp_path: Path) -> None:
    machine.require_disk(tmp_path, 0.0)
    with pytest.raises(errors.SetupError, match=r"needs 1000000 GB and [\d.]+ GB are free"):
        machine.require_disk(tmp_path, 1e6)


def finish(home: Path, gpu: bool = False) -> None:
    """What a whole installation leaves behind."""
    (home / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (home / ".venv" / "bin" / "python").touch()
    stamp.write_stamp(dict(stamp.stamp_key(), gpu=gpu))


def test_a_whole_environment_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(wanted: dict) -> None:
        raise AssertionError("installed again")

    finish(home)
    monkeypatch.setattr(bootstrap, "_install", install)
    assert "environment ready" in bootstrap.set_up(gpu=False)
    with pytest.raises(AssertionError, match="installed again"):
        bootstrap.set_up(gpu=True)


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_changed_packages_keep_the_base(home: Path, name: str) -> None:
    finish(home, gpu=True)
    (home / name).write_text("changed\n")
    wanted = bootstrap._missing(gpu=False)
    found = stamp.read_stamp()
    assert wanted is not None and wanted["gpu"]  # asked for once, it stays
    assert wanted["base"] == found["base"] and wanted["content"] != found["content"]


def test_a_moved_folder_needs_a_new_base(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(home)
    before = stamp.stamp_key()["base"]
    monkeypatch.setattr(places, "VENV", home / "elsewhere")
    assert stamp.stamp_key()["base"] != before


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_broken_stamp_counts_as_none(home: Path, text: str) -> None:
    finish(home)
    places.STAMP.write_text(text)
    assert stamp.read_stamp() == {} and bootstrap._missing(gpu=False)


def test_an_interrupted_environment_is_made_anew(home: Path) -> None:
    finish(home)
    stamp.write_stamp({})
    (home / ".venv" / "lib").mkdir()
    (home / ".venv" / "lib" / "half-written").touch()
    install.make_venv(copies=False, needed=0.0)
    assert not (home / ".venv" / "lib" / "half-written").exists()
    assert (home / ".venv" / "bin" / "python").exists()
    assert stamp.read_stamp() == {}


def test_an_environment_of_someone_else_is_not_touched(home: Path) -> None:
    (home / ".venv").mkdir()
    (home / ".venv" / "mine").touch()
    with pytest.raises(errors.SetupError, match="was not made by cxrflow"):
        install.make_venv(copies=False, needed=0.0)
    assert (home / ".venv" / "mine").exists()


def test_a_failing_command_becomes_one_line(home: Path, capfd: pytest.CaptureFixture) -> None:
    one = steps.Steps(total=1)
    code = "import sys; print('cause: dns error'); sys.exit(1)"
    expected = pytest.raises(errors.SetupError, match=r"^packages: no network.*\.venv\.log\)$")
    with expected, one.step("packages"):
        one.run([sys.executable, "-c", code])
    assert "dns error" in places.LOG.read_text()
    assert "dns error" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_offline_ends_with_one_line_and_no_stamp(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """pip itself, sent to a port where nobody listens."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setattr(bootstrap, "DISK_GB", 0.0)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    assert bootstrap.main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no network" in error
    assert stamp.read_stamp() == {}


def test_a_second_setup_waits_for_the_first(home: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from setup import bootstrap, places\n"
        "places.REPO = Path(sys.argv[2])\n"
        "with bootstrap._alone(): print('in', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(SCRIPT.parents[1]), str(home)]
    with bootstrap._alone():
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert "another setup is at work" in second.stdout.readline()
        assert second.poll() is None
    assert second.communicate(timeout=20)[0] == "in\n"


def test_the_sources_are_linked_as_one_package(home: Path) -> None:
    (home / ".venv").mkdir()
    (home / "schema").mkdir()
    (home / "schema" / "errors.py").touch()
    own = home / "pipeline" / "setup" / "package"
    own.mkdir(parents=True)
    (own / "__init__.py").touch()
    for _ in range(2):
        install.link_sources()
        package = home / ".venv" / "src" / "cxrflow"
        assert (package / "schema" / "errors.py").is_file() and (package / "__init__.py").is_file()
    assert {path.name for path in package.iterdir()} == {*install.FOLDERS, "__init__.py"}


def test_every_file_is_short() -> None:
    folders = [places.REPO / name for name in install.FOLDERS]
    lines = {p: p.read_text("utf-8").count("\n") for f in folders for p in f.rglob("*.py")}
    assert lines and not {str(path): n for path, n in lines.items() if n > 400}
