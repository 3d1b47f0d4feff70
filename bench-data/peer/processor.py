"""The processor's name and what it can do: every figure is said with them."""

from pathlib import Path

# Families of AMD's processors, which virtual machines often hide behind a name like "AMD EPYC".
AMD = {0x17: "Zen 1 or 2", 0x1A: "Zen 5"}


def fields():
    """The first processor of /proc/cpuinfo; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    first = file.read_text().split("\n\n")[0] if file.exists() else ""
    return {
        key.strip(): value.strip()
        for key, value in (line.split(":", 1) for line in first.splitlines() if ":" in line)
    }


def has_avx512():
    return "avx512f" in fields().get("flags", "").split()


def name():
    """As the system says it, with the generation where that is known."""
    here = fields()
    said = here.get("model name", "an unknown processor")
    if here.get("vendor_id") != "AuthenticAMD":
        return said
    family = int(here["cpu family"])
    zen = ("Zen 4" if has_avx512() else "Zen 3") if family == 0x19 else AMD.get(family)
    return f"{said} ({zen})" if zen else said
