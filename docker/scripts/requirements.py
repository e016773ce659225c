"""Print the dependencies that a pyproject.toml names, and those of extras: requirements.py FILE [EXTRA …].

One a line, so that an image can have them in a layer before the code.
"""

import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]

print("\n".join([*project["dependencies"], *(line for extra in sys.argv[2:] for line in project["optional-dependencies"][extra])]))
