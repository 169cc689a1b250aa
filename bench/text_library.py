"""The library by itself, in its own process: `python -m bench.text_library MODEL SLOTS THREADS`, requests as JSON lines.

    {"prompts": [...], "tokens": 1, "cache": true, "together": false, "grammar": ""}

It answers each with {"seconds": ..., "texts": [...]}; `together` sends all prompts at once from as many threads as it has slots.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CONTEXT = 2048


class Library:
    """The parent's side."""

    def __init__(self, model: str, slots: int, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.text_library", model, str(slots), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(
        self, prompts: list[str], tokens: int = 1, cache: bool = True, together: bool = False, grammar: str = ""
    ) -> tuple[float, list[str]]:
        """Give the seconds that it took in that process, and what it wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"prompts": prompts, "tokens": tokens, "cache": cache, "together": together, "grammar": grammar}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        while not (line := self._process.stdout.readline()).startswith("{"):
            if not line:
                raise RuntimeError("the library's process is gone")
        answer = json.loads(line)
        return answer["seconds"], answer["texts"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def main() -> None:
    """Serve requests."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, slots = sys.argv[1], int(sys.argv[2])
    params.n_ctx, params.n_parallel, params.n_gpu_layers = CONTEXT * slots, slots, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[3])
    params.cache_ram_mib, params.warmup = 0, False
    server = xllamacpp.Server(params)
    with ThreadPoolExecutor(slots) as threads:
        for line in sys.stdin:
            print(json.dumps(_answer(server, threads, json.loads(line))), flush=True)


def _answer(server: Any, threads: ThreadPoolExecutor, request: dict[str, Any]) -> dict[str, Any]:
    def ask(prompt: str) -> str:
        wanted = {"prompt": prompt, "n_predict": request["tokens"], "cache_prompt": request["cache"], "temperature": 0}
        if request["grammar"]:
            wanted["grammar"] = request["grammar"]
        answer = server.handle_completions(wanted)
        found = json.loads(answer) if isinstance(answer, str) else answer
        return str(found.get("content", found)) if isinstance(found, dict) else str(found)

    start = time.perf_counter()
    texts = list(threads.map(ask, request["prompts"])) if request["together"] else [ask(prompt) for prompt in request["prompts"]]
    return {"seconds": time.perf_counter() - start, "texts": texts}


if __name__ == "__main__":
    main()
