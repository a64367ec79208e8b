"""Ships the folders at the top of the checkout as data of the package: one source, and no copies of it.

Everything else about the package stands in pyproject.toml, which cannot name packages both by search and one by one.
"""

from setuptools import find_packages, setup

FOLDERS = ("scenarios", "examples", "notebooks")  # also in qcore/release.py

setup(
    packages=[*find_packages(include=["qcore*"]), *(f"qcore.data.{name}" for name in FOLDERS)],
    package_dir={f"qcore.data.{name}": name for name in FOLDERS},
)
