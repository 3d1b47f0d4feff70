"""Lets PyPI's build of PyTorch run on a machine without a GPU and without 3 GB of CUDA libraries.

PyPI has one Linux wheel of PyTorch, the CUDA one, and `import torch` needs every CUDA library that
it was linked with, although a CPU calls none of them. Each one that is missing is replaced by a
library of the same name whose functions stop the program when they are called. Needs gcc and
binutils.

usage: python cpu_torch.py

The environment must have torch, nvidia-cuda-runtime and nvidia-cuda-cupti.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# Prefixes of functions that their library does not version, and the library.
UNVERSIONED = {
    "cusparseLt": "libcusparseLt.so",
    "curand": "libcurand.so",
    "nccl": "libnccl.so",
    "cuFile": "libcufile.so",
    "nvshmem": "libnvshmem_host.so",
    "cusolver": "libcusolver.so",
}
# In the process anyway.
SYSTEM = re.compile(r"ld-linux|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+|gomp)\.so")


def lines(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def needed(library):
    found = (re.search(r"\(NEEDED\).*\[(.*)\]", line) for line in lines("readelf", "-dW", library))
    return [match.group(1) for match in found if match]


def undefined(library):
    """Undefined symbols: pairs (name, version or None)."""
    for line in lines("nm", "-D", "--undefined-only", library):
        name, _, version = line.split()[-1].partition("@")
        yield name, version.lstrip("@") or None


def versions(library):
    """Versions, each with the library that has to provide it."""
    out, provider = {}, None
    for line in lines("objdump", "-p", library):
        if match := re.match(r"\s+required from (\S+):", line):
            provider = match.group(1)
        elif provider and (match := re.match(r"\s+0x\w+ 0x\w+ \d+ (\S+)", line)):
            out.setdefault(match.group(1), provider)
    return out


def build(target, symbols):
    """Builds a library `target` that provides `symbols`, {version: names}."""
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder) / "stub.s", Path(folder) / "versions"
        names = sorted({name for group in symbols.values() for name in group})
        source.write_text(
            ".text\n"
            + "".join(f".globl {name}\n.type {name}, @function\n{name}:\n" for name in names)
            + '\tud2\n.section .note.GNU-stack,"",@progbits\n'
        )
        script.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in sorted(group))} }};\n"
                for version, group in symbols.items()
                if version
            )
        )
        command = [
            "gcc",
            "-shared",
            "-nostdlib",
            f"-Wl,-soname,{target.name}",
            "-o",
            str(target),
            str(source),
        ]
        if script.read_text():
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)


def main():
    site = Path(sysconfig.get_paths()["purelib"])
    folder = site / "torch" / "lib"
    real = {path.name for path in folder.glob("*.so*")} | {
        path.name for path in site.glob("nvidia/**/lib/*.so*")
    }
    wanted = {}
    for library in sorted(folder.glob("*.so")):
        if library.name == "libcaffe2_nvrtc.so":  # loaded by CUDA code only
            continue
        missing = [name for name in needed(library) if name not in real and not SYSTEM.match(name)]
        for name in missing:
            wanted.setdefault(name, {})
        by_version = versions(library)
        for name, version in undefined(library):
            provider = (
                by_version.get(version)
                if version
                else next(
                    (
                        lib
                        for lib in missing
                        for prefix, start in UNVERSIONED.items()
                        if lib.startswith(start) and name.startswith(prefix)
                    ),
                    None,
                )
            )
            if provider in wanted:
                wanted[provider].setdefault(version, set()).add(name)
    # torch's libraries look for each other in their own folder.
    for name, symbols in wanted.items():
        build(folder / name, symbols)
    subprocess.run([sys.executable, "-c", "import torch; torch.ones(2) + 1"], check=True)
    print(f"{len(wanted)} CUDA libraries replaced in {os.path.relpath(folder)}", file=sys.stderr)


if __name__ == "__main__":
    main()
