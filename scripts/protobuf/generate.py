"""Makes `src/kcp/apis/kubernetes/protobuf.{binpb,json}.gz`: Kubernetes' protobuf messages and how their fields look in JSON.

    python3 scripts/protobuf/generate.py [v0.36.6]

Run by hand when `apis.kubernetes.definitions.MINOR` moves. Needs Go, and Python with venv and pip; leaves nothing behind.

Sources: the official Go modules k8s.io/api, k8s.io/apimachinery, k8s.io/apiextensions-apiserver and k8s.io/kube-aggregator at the version
given, fetched by the `go` command and checked by its checksum database; Apache-2.0, Copyright The Kubernetes Authors. The messages are
compiled from their `generated.proto` files with the protoc of grpcio-tools, without comments and options. What those files do not say (the
JSON name of a field, whether its struct is embedded, whether Go would leave its zero value out) is read off the Go types by `fields.go`.

protobuf.binpb.gz   a FileDescriptorSet, dependencies first; `json_name` is the name in Kubernetes' JSON.
protobuf.json.gz    {"source": [module@version], "licence": …, "kinds": {"apps/v1 Deployment": message},
                    "fields": {message: one character per field, in the order of field numbers: see `FLAGS`}}.

And for the tests, both in JSON and in protobuf as Kubernetes' own code writes them:

tests/unit/apiserver/protobuf-objects.tar.xz    the modules' test data: an object of each kind with every field set.
tests/unit/apiserver/protobuf-zeros.json.xz     objects of each kind in which nothing is set but pointers and lists (`zeros.go`).
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "src" / "kcp" / "apis" / "kubernetes"
OBJECTS = ROOT / "tests" / "unit" / "apiserver" / "protobuf-objects.tar.xz"
ZEROS = ROOT / "tests" / "unit" / "apiserver" / "protobuf-zeros.json.xz"
MODULES = ("k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator")
DEFAULT_VERSION = "v0.36.6"
FLAGS = {"inline": "i", "pointer": "p", "omitted": "o", "kept": "k"}
"""inline: its fields stand in its owner's JSON object; pointer: whatever was sent is kept; omitted: a zero value is left out; kept: not."""

_STRIP = """
import sys
from google.protobuf import descriptor_pb2
import json
names = json.load(sys.stdin)
files = descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[1], "rb").read())
def rename(prefix, message):
    full = prefix + "." + message.name
    for field in message.field:
        name = names.get(full, {}).get(str(field.number))
        if name:
            field.json_name = name
    for nested in message.nested_type:
        rename(full, nested)
    message.ClearField("options") if not message.options.map_entry else None
for file in files.file:
    for message in file.message_type:
        rename(file.package, message)
    file.ClearField("options")
numbers = {f.package + "." + m.name: [x.number for x in m.field] for f in files.file for m in f.message_type}
open(sys.argv[1], "wb").write(files.SerializeToString(deterministic=True))
print(json.dumps(numbers))
"""


def run(*command: str | Path, cwd: Path, stdin: str | None = None) -> str:
    environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, input=stdin, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def go_facts(version: str, work: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What `fields.go` prints, and the folder of each module."""
    for name in ("scheme.go", "fields.go", "zeros.go"):
        shutil.copy(HERE / name, work)
    run("go", "mod", "init", "fields", cwd=work)
    run("go", "get", *(f"{module}@{version}" for module in MODULES), cwd=work)
    facts = json.loads(run("go", "run", "scheme.go", "fields.go", cwd=work))
    return facts, {module: Path(run("go", "list", "-m", "-f", "{{.Dir}}", module, cwd=work).strip()) for module in MODULES}


def python_with_protoc(work: Path) -> Path:
    venv.create(work / "venv", with_pip=True)
    python = work / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "grpcio-tools", cwd=work)
    return python


def proto_file(message: str) -> str:
    """The file of a message: `k8s.io.api.apps.v1.Deployment` is in `k8s.io/api/apps/v1/generated.proto`."""
    package = message.rsplit(".", 1)[0].removeprefix("k8s.io.").replace("_", "-")
    return f"k8s.io/{package.replace('.', '/')}/generated.proto"


def compile_files(python: Path, folders: dict[str, Path], messages: list[str], work: Path) -> Path:
    for module, folder in folders.items():
        link = work / "proto" / module
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
    out = work / "all.binpb"
    files = sorted({proto_file(message) for message in messages})
    run(python, "-m", "grpc_tools.protoc", f"-I{work / 'proto'}", "--include_imports", f"--descriptor_set_out={out}", *files, cwd=work)
    return out


def flag(field: dict[str, Any]) -> str:
    if field["inline"]:
        return FLAGS["inline"]
    if field["pointer"]:
        return FLAGS["pointer"]
    return FLAGS["omitted" if field["omitEmpty"] else "kept"]


def write(name: str, content: bytes) -> None:
    packed = gzip.compress(content, 9, mtime=0)
    (TARGET / name).write_bytes(packed)
    print(f"{TARGET / name}: {len(content)} bytes, {len(packed)} compressed")


def write_zeros(work: Path) -> None:
    objects = json.loads(run("go", "run", "scheme.go", "zeros.go", cwd=work))
    objects.sort(key=lambda each: (each["json"]["apiVersion"], each["json"]["kind"], len(each["protobuf"])))
    ZEROS.write_bytes(lzma.compress(json.dumps(objects, separators=(",", ":")).encode()))
    print(f"{ZEROS}: {ZEROS.stat().st_size} bytes")


def write_objects(folders: dict[str, Path], kinds: dict[str, str]) -> None:
    """Only kinds that there is a message for; members in order and without owner or date, so that the same input gives the same file."""
    with tarfile.open(OBJECTS, "w:xz") as archive:
        for encoded in sorted(file for folder in folders.values() for file in folder.glob("**/testdata/HEAD/*.pb")):
            plain = encoded.with_suffix(".json")
            obj = json.loads(plain.read_text())
            if f"{obj.get('apiVersion')} {obj.get('kind')}" in kinds:
                for file in (plain, encoded):
                    member = tarfile.TarInfo(file.name)
                    member.size = file.stat().st_size
                    with file.open("rb") as content:
                        archive.addfile(member, content)
    print(f"{OBJECTS}: {OBJECTS.stat().st_size} bytes")


def main(version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        facts, folders = go_facts(version, work)
        fields: dict[str, list[dict[str, Any]]] = facts["messages"]
        python = python_with_protoc(work)
        compiled = compile_files(python, folders, list(fields), work)
        names = {message: {str(f["number"]): f["json"] for f in listed if f["json"] not in ("", "-")} for message, listed in fields.items()}
        numbers: dict[str, list[int]] = json.loads(run(python, "-c", _STRIP, compiled, cwd=work, stdin=json.dumps(names)))
        flags = {
            message: "".join(flag(f) for f in listed)
            for message, listed in sorted(fields.items())
            if message in numbers and sorted(numbers[message]) == [f["number"] for f in listed]
        }
        table: dict[str, Any] = {
            "source": [f"{module}@{version}" for module in MODULES],
            "licence": "Apache-2.0, Copyright The Kubernetes Authors",
            "kinds": {kind: message for kind, message in sorted(facts["kinds"].items()) if message in numbers},
            "fields": flags,
        }
        write("protobuf.binpb.gz", compiled.read_bytes())
        write_objects(folders, table["kinds"])
        write_zeros(work)
        write("protobuf.json.gz", json.dumps(table, separators=(",", ":")).encode())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_VERSION)
