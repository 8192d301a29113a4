"""Print the lowest supported version of every dependency, as a pip constraints file."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
requirements = [*project["dependencies"]]
for extra in ("experiments", "heic", "import", "tfds", "test"):
    requirements += extras[extra]
for requirement in requirements:
    if not requirement.startswith(project["name"]):  # an extra that names others
        name, floor = re.match(r"([\w.-]+)>=([\d.]+)", requirement).groups()
        print(f"{name}=={floor}")
