"""Pools of processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import run

POOL = """
import multiprocessing, sys
import leasehold

client = leasehold.connect(sys.argv[1])

def work(i):
    with client.lock(sys.argv[2], ttl=60, wait=20) as lease:
        return lease.fence

if __name__ == "__main__":
    if sys.argv[3] == "fork":
        client.connect()
    context = multiprocessing.get_context(sys.argv[3])
    with context.Pool(3) as pool:
        fences = pool.map(work, range(30))
        pool.close()
        pool.join()
    assert len(set(fences)) == 30
    print("done")
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_processes_of_a_pool_share_a_client_made_before(
    method: str, redis: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    source = f"""
        import runpy, sys, warnings
        warnings.simplefilter("ignore")
        sys.argv[0] = {str(tmp_path / "pool.py")!r}
        runpy.run_path(sys.argv[0], run_name="__main__")
        """
    if method != "fork":
        source = f"""
            import subprocess, sys
            print(subprocess.run([sys.executable, {str(tmp_path / "pool.py")!r}, *sys.argv[1:]],
                  check=True, capture_output=True, text=True).stdout, end="")
            """
    assert run(source, redis, name, method) == "done\n"
