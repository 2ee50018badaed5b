"""Packages of Debian and Ubuntu, of this release or of a newer one, unpacked into a folder."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Tuple

from .errors import HELP, SetupError
from .steps import Steps

NEWER_RELEASE = {"debian": "trixie", "ubuntu": "noble"}  # the first ones with a new enough glibc


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
    fields: Dict[str, str] = dict(re.findall(r"^(\w+)=[\"']?([^\"'\n]*)", os_release, re.MULTILINE))
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

    Raises:
        SetupError: it is no Debian or Ubuntu, apt has no source for it, or no source has them.
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
    """Unpacks packages of one mirror's suite into a folder; `run` runs each command.

    Raises:
        SetupError: a command failed, as `run` raises it.
    """
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
