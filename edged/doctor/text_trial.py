"""Load one runtime for language models and say how it went; the child process of `texts.py`.

    python -m edged.doctor.text_trial RUNTIME

prints one line of JSON: `{"ms": …}`, or `{"error": …, "fix": …}` where the runtime does not load.
"""

from __future__ import annotations

import json
import sys
import time

from edged.engines.llama.library import open_library
from edged.errors import EdgedError


def main() -> None:
    """Load the runtime that the command line names, and hold it to the layout that edged knows."""
    start = time.perf_counter()
    try:
        open_library(sys.argv[1])
    except EdgedError as error:
        print(json.dumps({"error": error.text, "fix": error.hint}))
        return
    print(json.dumps({"ms": round(1000 * (time.perf_counter() - start), 3)}))


if __name__ == "__main__":
    main()
