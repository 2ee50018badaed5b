"""The packages of this environment as a CycloneDX bill of materials."""

from importlib.metadata import Distribution, distributions
from typing import Any
from uuid import UUID, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

_OURS = "cxrflow"
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's for URLs


def bill_of_materials() -> str:
    """CycloneDX 1.6 in JSON; the same environment always gives the same text."""
    found = {one.metadata["Name"]: one for one in distributions() if one.metadata["Name"]}
    components = {name.lower(): _component(name, one) for name, one in sorted(found.items())}
    ours = components.pop(_OURS, None)
    bom = Bom(components=components.values())
    if ours:
        bom.metadata.component = ours
        wanted = {Requirement(text).name.lower() for text in found[_OURS].requires or ()}
        bom.register_dependency(
            ours, [components[name] for name in sorted(wanted & components.keys())]
        )
    # Neither a time nor a number of chance, so that the same model isn't pushed twice.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    purls = " ".join(sorted(str(one.purl) for one in components.values()))
    bom.serial_number = uuid5(_NAMESPACE, purls)
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _component(name: str, distribution: Distribution) -> Component:
    about: Any = distribution.metadata  # an email.message.Message, whatever typeshed says
    version = distribution.version
    licences = [text for key in ("License-Expression", "License") if (text := about.get(key))]
    short = [text for text in licences if "\n" not in text and len(text) <= 100]
    return Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION if name == _OURS else ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        description=about.get("Summary"),
        licenses=[LicenseFactory().make_from_string(text) for text in short[:1]],
        purl=PackageURL("pypi", name=name.lower().replace("_", "-"), version=version),
    )
