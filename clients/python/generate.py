"""Generates the message classes of ocelli.v1 into src/ocelli_client/_generated.

That folder is not in the repository. The package's build runs this (setup.py); run it by hand to
work on the client. It needs grpcio-tools, pinned in pyproject.toml, and the schema,
../../proto/proto.
"""

import re
import shutil
import sys
from importlib import resources
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "proto" / "proto"
OUT = HERE / "src" / "ocelli_client" / "_generated"


def generate() -> None:
    from grpc_tools import protoc

    protos = sorted(str(path.relative_to(SCHEMA)) for path in SCHEMA.rglob("*.proto"))
    if not protos:
        sys.exit(f"generate: expected the schema under {SCHEMA}, found no .proto file")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    well_known = str(resources.files("grpc_tools") / "_proto")
    arguments = [
        "protoc",
        f"-I{SCHEMA}",
        f"-I{well_known}",
        f"--python_out={OUT}",
        f"--pyi_out={OUT}",
        *protos,
    ]
    if protoc.main(arguments) != 0:
        sys.exit("generate: protoc failed")
    # The classes live below this package: protoc knows only the schema's own names.
    for path in [*OUT.rglob("*.py"), *OUT.rglob("*.pyi")]:
        text = path.read_text()
        path.write_text(
            re.sub(
                r"^from ocelli\.v1 import",
                "from ocelli_client._generated.ocelli.v1 import",
                text,
                flags=re.M,
            )
        )
    for folder in [OUT, *(path for path in OUT.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


if __name__ == "__main__":
    generate()
