"""Makes one package, cxrflow, of the top-level folders; everything else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

FOLDERS = ("pipeline", "components", "schema", "serving")

package_dir = {"cxrflow": "pipeline/setup/package", "cxrflow.edge": "edge"}
packages = list(package_dir)  # edge/ holds the device's scripts, which nothing imports
for folder in FOLDERS:
    package_dir[f"cxrflow.{folder}"] = folder
    below = find_namespace_packages(folder, exclude=["setup*", "*__pycache__*"])
    packages += [f"cxrflow.{folder}", *(f"cxrflow.{folder}.{name}" for name in below)]

setup(packages=packages, package_dir=package_dir)
