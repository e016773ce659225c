"""Print the dependencies that a pyproject.toml names, one a line, so that an image can have them in a layer before the code."""

import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["dependencies"]))
