"""Print the lowest supported version of every dependency, as a pip constraints file."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *extras["experiments"], *extras["test"]]:
    if not requirement.startswith(project["name"]):  # an extra that names another one
        name, floor = re.match(r"([\w.-]+)>=([\d.]+)", requirement).groups()
        print(f"{name}=={floor}")
