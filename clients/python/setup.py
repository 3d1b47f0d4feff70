"""Generates the message classes before the package is built.

Everything else is in pyproject.toml.
"""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generate import generate  # noqa: E402


class BuildPy(build_py):
    def run(self) -> None:
        generate()
        # Found anew: they were not there when packages were listed.
        from setuptools import find_packages

        self.packages = self.distribution.packages = find_packages("src")
        super().run()


setup(cmdclass={"build_py": BuildPy})
