"""Shell lines that install Python and the project on a rented machine.

The images of TPU VMs and of SkyPilot have the Python of their system, which is
older than this project takes; then uv brings one, built and ready.
"""

import shlex

__all__ = ["LEAST", "install"]

LEAST = (3, 11)  # as `requires-python` in pyproject.toml
_BROUGHT = "3.12"

# UV_UNMANAGED_INSTALL: uv in a folder of its own, and no shell profile changed.
_INSTALL = """\
python=
for name in python3.13 python3.12 python3.11 python3; do
  if "$name" -c '{test}' > /dev/null 2>&1; then
    python=$name
    break
  fi
done
if [ -z "$python" ]; then
  uv="$HOME/.local/attnjax-uv"
  curl -LsSf https://astral.sh/uv/install.sh |
    UV_UNMANAGED_INSTALL="$uv" sh > /dev/null
  "$uv/uv" python install {brought} && python=$("$uv/uv" python find {brought})
fi
if [ -z "$python" ]; then
  echo "error: $(hostname): expected Python {least} or newer with venv, got" \\
    "$(python3 --version 2>&1), and uv could bring none; set it up with an" \\
    "image or a network that has one" >&2
  exit 1
fi
"$python" -m venv .venv
.venv/bin/pip install -q -e {extras} -c constraints.txt
"""


def install(extra: str) -> str:
  """Shell lines that make `.venv`, to be run in the project's folder.

  Args:
    extra: of the machine: `tpu` or `cuda`.

  >>> print(install("tpu").splitlines()[-1])
  .venv/bin/pip install -q -e '.[experiments,tpu]' -c constraints.txt
  """
  # Debian's python3 may come without ensurepip, and then its venv fails.
  test = f"import ensurepip, sys; sys.exit(sys.version_info < {LEAST})"
  return _INSTALL.format(
    test=test,
    least=".".join(map(str, LEAST)),
    brought=_BROUGHT,
    extras=shlex.quote(f".[experiments,{extra}]"),
  )
