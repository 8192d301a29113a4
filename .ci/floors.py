"""Print the lowest supported version of every dependency, as a pip constraints file."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    name, floor = re.match(r"([\w.-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={floor}")
