"""The line for xpk: the whole slice, and nothing that was asked is lost."""

import shlex

import pytest

JOB = ("--experiment=language_model", "--config.train.mesh.data=0")
JOB += ("--config.data.batch_size=512", "--workdir=gs://mine/x", "--image=i:1")


@pytest.mark.parametrize(
  ("topology", "kind"),
  [
    # As xpk's system_characteristics.py registers them. Its counts are of
    # TensorCores, of which a chip of v4, v5p and TPU7x has two.
    ("v4:4x4x4", "v4-4x4x4"),
    ("v5e:4x4", "v5litepod-4x4"),
    ("v5p:2x2x1", "v5p-2x2x1"),
    ("v6e:2x4", "v6e-2x4"),
    ("tpu7x:4x4x4", "tpu7x-4x4x4"),
  ],
)
def test_a_slice_is_asked_for_by_its_shape(launcher, topology, kind):
  code, out, err = launcher("gke", *JOB, f"--topology={topology}", "--xpk=c")
  assert code == 0
  assert f"--tpu-type={kind}" in shlex.split(out)
  assert "--submit" not in err


def test_what_was_asked_and_what_a_stop_needs_is_in_the_line(launcher):
  asked = (*JOB, "--topology=v5e:4x4", "--xpk=c")
  plain = shlex.split(launcher("gke", *asked)[1])
  spot = shlex.split(launcher("gke", *asked, "--spot")[1])
  assert [part for part in spot if part not in plain] == ["--spot"]
  # By itself xpk restarts no code under 127, and kills after 30 seconds.
  assert "--restart-on-exit-codes=75" in plain
  assert "--termination-grace-period-seconds=120" in plain


@pytest.mark.parametrize(
  ("flag", "remedy"),
  [
    ("--submit", "leave --submit out"),
    ("--account=trainer", "got 'trainer'; leave --account out"),
  ],
)
def test_what_the_line_cannot_carry_out_is_refused(launcher, flag, remedy):
  code, out, err = launcher("gke", *JOB, "--topology=v5e:4x4", "--xpk=c", flag)
  assert (code, out) == (1, "")
  assert remedy in err
