"""Weights without PyTorch: every number, and nothing that a pickle asks for."""

import os
import pickle
import struct

import numpy as np
import pytest

from attnjax.data import (
  ReactionVocabulary,
  expected_maps,
  reaction_vocabulary,
  reaction_weights,
  read_torch_archive,
  smiles_tokens,
)
from attnjax.data.reactions import SPECIAL_TOKENS

MODEL = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
MAGIC = 0x1950A86A20F9469CFC6C
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


def text(string):
  content = string.encode()
  return b"X" + struct.pack("<I", len(content)) + content


def number(value):
  return b"J" + struct.pack("<i", value)


def numbers(values):
  return b"(" + b"".join(map(number, values)) + b"t"


def name(module, attribute):
  return f"c{module}\n{attribute}\n".encode()


def storage(key="7", kind="FloatStorage", size=6):
  return (
    b"("
    + text("storage")
    + name("torch", kind)
    + text(key)
    + text("cpu")
    + number(size)
    + b"NtQ"
  )


def tensor(stored=None, offset=0, shape=(2, 3), strides=(3, 1)):
  """The opcodes that PyTorch writes for a tensor."""
  empty = name("collections", "OrderedDict") + b")R"
  return (
    name("torch._utils", "_rebuild_tensor_v2")
    + b"("
    + (storage() if stored is None else stored)
    + number(offset)
    + numbers(shape)
    + numbers(strides)
    + b"\x89"
    + empty
    + b"tR"
  )


def state(**tensors):
  """The opcodes of an ordered dict of tensors."""
  items = b"".join(text(key) + value for key, value in tensors.items())
  head = b"\x80\x02" + name("collections", "OrderedDict") + b")R"
  return head + b"(" + items + b"u."


def numbers_of(values, dtype="<f4"):
  values = np.asarray(values, dtype)
  return struct.pack("<q", len(values)) + values.tobytes()


def archive(objects, keys=("7",), data=None, magic=MAGIC, machine=MACHINE):
  head = [pickle.dumps(part, 2) for part in (magic, 1001, machine)]
  data = numbers_of(range(6)) if data is None else data
  return b"".join([*head, objects, pickle.dumps(list(keys), 2), data])


@pytest.fixture
def read(tmp_path):
  def read_bytes(content):
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    return read_torch_archive(path)

  return read_bytes


def test_a_tensor_is_its_view_of_its_storage(read):
  found = read(
    archive(
      state(
        whole=tensor(),
        turned=tensor(shape=(3, 2), strides=(1, 3)),
        part=tensor(offset=4, shape=(2,), strides=(1,)),
        repeated=tensor(offset=1, shape=(4,), strides=(0,)),
        scalar=tensor(offset=5, shape=(), strides=()),
        empty=tensor(shape=(0, 3), strides=(3, 1)),
      )
    )
  )
  whole = np.arange(6, dtype=np.float32).reshape(2, 3)
  assert all(array.dtype == np.float32 for array in found.values())
  np.testing.assert_array_equal(found["whole"], whole)
  np.testing.assert_array_equal(found["turned"], whole.T)
  assert found["part"].tolist() == [4, 5]
  assert found["repeated"].tolist() == [1, 1, 1, 1]
  assert found["scalar"].shape == ()
  assert found["scalar"] == 5
  assert found["empty"].shape == (0, 3)


def test_storages_follow_in_the_order_of_their_keys(read):
  first = tensor(storage("a", "LongStorage", 2), 0, (2,), (1,))
  second = tensor(storage("b", "HalfStorage", 3), 0, (3,), (1,))
  data = numbers_of([1, 2, 3], "<f2") + numbers_of([-8, 9], "<i8")
  found = read(archive(state(x=first, y=second), keys="ba", data=data))
  assert found["x"].tolist() == [-8, 9]
  assert found["y"].dtype == np.float16


def evil(module, function, argument):
  return b"\x80\x02" + name(module, function) + b"(" + text(argument) + b"tR."


HARM = "touch {}"


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
  ("module", "function"),
  [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("torch", "load"),
    ("torch.serialization", "load"),
    ("collections", "OrderedDict.fromkeys"),
    ("numpy", "load"),
  ],
)
def test_a_pickle_that_names_a_function_is_refused(
  read, tmp_path, place, module, function
):
  trace = tmp_path / "was here"
  parts = [pickle.dumps(p, 2) for p in (MAGIC, 1001, MACHINE)]
  parts += [state(x=tensor()), pickle.dumps(["7"], 2)]
  parts[place] = evil(module, function, HARM.format(trace))
  with pytest.raises(ValueError, match=f"it names {module}.{function}, which"):
    read(b"".join([*parts, numbers_of(range(6))]))
  assert not trace.exists()


class Harm:
  """What a pickle looks like when Python itself writes the attack."""

  def __init__(self, order):
    self.order = order

  def __reduce__(self):
    return os.system, (self.order,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_python_object_that_runs_a_command_is_refused(
  read, tmp_path, protocol
):
  trace = tmp_path / "was here"
  with pytest.raises(ValueError, match="refused, for to unpickle is to run"):
    read(pickle.dumps(Harm(HARM.format(trace)), protocol))
  assert not trace.exists()


def test_a_stand_in_cannot_be_changed_for_the_next_file(read):
  """BUILD sets attributes on what a name stands for."""
  change = b"}(" + text("__call__") + text("x") + b"ub"
  for named in (
    name("torch._utils", "_rebuild_tensor_v2"),
    name("torch", "FloatStorage"),
    name("collections", "OrderedDict"),
  ):
    with pytest.raises(ValueError, match="Expected a whole file"):
      read(archive(b"\x80\x02" + named + change + b"."))
  assert read(archive(state(x=tensor())))["x"].shape == (2, 3)


GOOD = archive(state(x=tensor()))


@pytest.mark.parametrize("length", [0, 1, 10, 15, 40, 200, len(GOOD) - 1])
def test_a_file_that_is_cut_short_is_refused(read, length):
  with pytest.raises(ValueError, match=r"path=.*Expected a whole file of wei"):
    read(GOOD[:length])


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (GOOD + b"\0", "1 bytes follow its last number"),
    (b"PK\x03\x04zip", "got the zip format of PyTorch 1.6"),
    (archive(state(x=tensor()), magic=5), "does not begin as torch.save does"),
    (archive(pickle.dumps({"x": 3}, 2)), "something else than a dict of tens"),
    (archive(pickle.dumps([3], 2)), "something else than a dict of tensors"),
    (
      archive(state(x=tensor()), machine={"little_endian": False}),
      "big-endian",
    ),
    (archive(state(x=tensor()), keys="8"), "storages are not those"),
    (archive(state(x=tensor()), keys="77"), "storages are not those"),
    (archive(state(x=tensor(storage(size=9)))), "should have 9 numbers"),
    (archive(state(x=tensor(storage(size=-1)))), "has no size"),
    (archive(state(x=tensor(offset=1))), "overruns its storage"),
    (archive(state(x=tensor(shape=(7,), strides=(0,)))), "overruns"),
    (archive(state(x=tensor(strides=(4, 1)))), "overruns its storage"),
    (archive(state(x=tensor(shape=(2**30,) * 9, strides=(0,) * 9))), "overr"),
    (archive(state(x=tensor(strides=(3, -1)))), r"strides \(3, -1\)"),
    (archive(state(x=tensor(shape=(6,)))), r"shape \(6,\), strides \(3, 1\)"),
    (archive(state(x=tensor(number(5)))), "a tensor without a storage"),
  ],
)
def test_a_file_that_does_not_add_up_is_refused(read, content, message):
  with pytest.raises(ValueError, match=message):
    read(content)


def test_what_pytorch_writes_is_what_is_read(tmp_path):
  torch = pytest.importorskip("torch")
  base = torch.arange(35, dtype=torch.float64).reshape(5, 7)
  tensors = {
    "a": base,
    "b": base.T[2:5],
    "c": torch.tensor([True, False]),
    "d": torch.zeros(3, 0, dtype=torch.int16),
  }
  path = tmp_path / "weights.bin"
  torch.save(tensors, path, _use_new_zipfile_serialization=False)
  found = read_torch_archive(path)
  assert set(found) == set(tensors)
  for key, value in tensors.items():
    np.testing.assert_array_equal(found[key], value.numpy(), strict=True)
  torch.save(tensors, path)
  with pytest.raises(ValueError, match="got the zip format"):
    read_torch_archive(path)


def test_the_published_weights_are_read_whole(asset):
  weights = reaction_weights(asset("rxnmapper") / MODEL / "pytorch_model.bin")
  assert len(weights) == 32
  assert sum(array.size for array in weights.values()) == 877_598
  assert all(array.dtype == np.float32 for array in weights.values())
  embedding = weights["albert.embeddings.word_embeddings.weight"]
  assert embedding.shape == (591, 128)
  # The head that fills in masked tokens is tied to the embedding.
  np.testing.assert_array_equal(
    weights["predictions.decoder.weight"], embedding
  )
  norm = weights["albert.embeddings.LayerNorm.weight"]
  assert 0.1 < norm.mean() < 2


@pytest.mark.parametrize(
  ("smiles", "tokens"),
  [
    ("C[C@@H](Br)Cl", ["C", "[C@@H]", "(", "Br", ")", "Cl"]),
    ("c1ccc%12>>N#B", ["c", "1", "c", "c", "c", "%12", ">>", "N", "#", "B"]),
  ],
)
def test_smiles_are_cut_into_atoms_and_bonds(smiles, tokens):
  assert smiles_tokens(smiles) == tokens


@pytest.mark.parametrize("smiles", ["", "CC Q", "C[CH3", "CXC"])
def test_what_is_no_smiles_is_refused(smiles):
  with pytest.raises(ValueError, match="expected SMILES"):
    smiles_tokens(smiles)


def test_a_token_that_the_model_never_learned_is_named():
  vocabulary = ReactionVocabulary((*SPECIAL_TOKENS, "C", ">>"))
  with pytest.raises(ValueError, match="'O' is none of the 7 tokens"):
    vocabulary.encode("C>>CO")
  unknown = SPECIAL_TOKENS.index("[UNK]")
  assert vocabulary.encode("CO", unknown_ok=True).tolist() == [2, 5, unknown, 3]
  with pytest.raises(ValueError, match=r"missing: \['\[MASK\]'\]"):
    ReactionVocabulary((*SPECIAL_TOKENS[:-1], "C"))
  with pytest.raises(ValueError, match="each once"):
    ReactionVocabulary((*SPECIAL_TOKENS, "C", "C"))


def test_maps_are_read_off_the_source_and_not_run(tmp_path):
  (tmp_path / "tests").mkdir()
  (tmp_path / "tests/test_mapper.py").write_text(
    "import nothing_like_that\n"
    "def test_a():\n"
    "  rxns = ['C>>C']\n"
    "  expected = [{'mapped_rxn': '[CH4:1]>>[CH4:1]', 'confidence': 1.0}]\n"
    "  crash()\n"
  )
  (tmp_path / "tests/test_batched_mapper.py").write_text("raise SystemExit\n")
  [found] = expected_maps(tmp_path)
  assert (found.reaction, found.mapped) == ("C>>C", "[CH4:1]>>[CH4:1]")
  (tmp_path / "tests/test_mapper.py").write_text("x = 1\n")
  with pytest.raises(ValueError, match="its tests expect no map"):
    expected_maps(tmp_path)


def test_the_published_maps_and_vocabulary(asset):
  root = asset("rxnmapper")
  maps = expected_maps(root)
  assert len(maps) == 15
  assert maps[0].reaction.startswith("CC(C)S.CN(C)C=O.Fc1cccnc1F")
  vocabulary = reaction_vocabulary(root / MODEL / "vocab.txt")
  assert len(vocabulary.tokens) == 591
  for found in maps:
    assert ":1]" in found.mapped
    assert ":1]" not in found.reaction
    plain = found.reaction.split(" ")[
      0
    ]  # behind it: which fragments go together
    ids = vocabulary.encode(plain, unknown_ok=True)
    assert ids[0] == vocabulary.tokens.index("[CLS]") == 12
    assert len(ids) == len(smiles_tokens(plain)) + 2
