"""Makes `src/kcp/apiserver/protobuf/openapi.binpb.gz`: the messages in which OpenAPI v2 and v3 documents are sent as protobuf.

    python3 scripts/protobuf/openapi.py [v0.7.0]

Source: OpenAPIv2.proto and OpenAPIv3.proto of the official Go module github.com/google/gnostic-models at the version given, fetched by the
`go` command and checked by its checksum database; Apache-2.0, Copyright Google LLC. A FileDescriptorSet, dependencies first, without
comments and options.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

from generate import ROOT, python_with_protoc, run

MODULE = "github.com/google/gnostic-models"
TARGET = ROOT / "src" / "kcp" / "apiserver" / "protobuf" / "openapi.binpb.gz"

_STRIP = """
import sys
from google.protobuf import descriptor_pb2
files = descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[1], "rb").read())
for file in files.file:
    file.ClearField("options")
open(sys.argv[1], "wb").write(files.SerializeToString(deterministic=True))
"""


def main(version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "go.mod").write_text("module openapi\n")
        found = json.loads(run("go", "mod", "download", "-json", f"{MODULE}@{version}", cwd=work))
        out = work / "all.binpb"
        python = python_with_protoc(work)
        command = [python, "-m", "grpc_tools.protoc", f"-I{found['Dir']}", "--include_imports", f"--descriptor_set_out={out}"]
        run(*command, "openapiv2/OpenAPIv2.proto", "openapiv3/OpenAPIv3.proto", cwd=work)
        run(python, "-c", _STRIP, out, cwd=work)
        TARGET.write_bytes(gzip.compress(out.read_bytes(), 9, mtime=0))
        print(f"{TARGET}: {out.stat().st_size} bytes, {TARGET.stat().st_size} compressed")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "v0.7.0")
