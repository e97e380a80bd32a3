"""What this machine's processor can do."""

import re
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# The flags of the first processor are at the beginning; a large machine has hundreds of processors.
CPUINFO_BYTES = 8192
FLAGS_WITH_AES = re.compile(r"^(flags|Features)\s*:.*\baes\b", re.MULTILINE)


def has_aes_instructions() -> bool:
    """Whether the processor has instructions for AES; False if that is unknown. Every supported Mac has them."""
    if sys.platform == "darwin":
        return True
    try:
        with CPUINFO.open() as file:
            return FLAGS_WITH_AES.search(file.read(CPUINFO_BYTES)) is not None
    except OSError:
        return False
