"""CONTRIBUTING's five steps, done in a package of a newcomer's own: one file and one yaml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"

CONFIG = """# python -m gan_lightning.fit --config toy.yaml
# a few seconds on a CPU
model:
  class_path: newcomer.toy.ToyGAN
  init_args:
    gamma: 0.5
data:
  class_path: Digits
  init_args: {size: 16, batch_size: 16}
trainer:
  max_steps: 3
"""


def test_a_newcomer_adds_a_gan_by_the_guide(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.+?)```", GUIDE.read_text(), re.S).group(1)
    assert len(code.splitlines()) < 60
    package = tmp_path / "newcomer"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "toy.py").write_text(code)
    (tmp_path / "toy.yaml").write_text(CONFIG)
    environment = os.environ | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}

    def typed(module: str, *args: str) -> str:
        command = [sys.executable, "-m", f"gan_lightning.{module}", *args]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "/last.ckpt --trust newcomer --n 64" in typed("fit", "--config", "toy.yaml")
    (checkpoint,) = tmp_path.glob("runs/ToyGAN-Digits/*/last.ckpt")
    typed("sample", str(checkpoint), "--trust", "newcomer", "--n", "4", "--out", "drawn", "--grid")
    assert len(list((tmp_path / "drawn").glob("0*.png"))) == 4
    typed("fit", "--ckpt_path", "last", "--trust=newcomer", "--trainer.max_steps", "4")
    assert len(list(tmp_path.glob("runs/ToyGAN-Digits/*"))) == 1, "`last` goes on in the same folder"
