"""Who says how many processes there are: flags first, then a launcher."""

import pytest

from attnjax.training import cluster
from attnjax.training.cluster import ProcessesConfig, start_arguments
from attnjax.training.processes import require_joined

SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[003-005]",
  "SLURM_NTASKS": "3",
  "SLURM_PROCID": "2",
  "SLURM_LOCALID": "0",
}
OPEN_MPI = {
  "OMPI_COMM_WORLD_SIZE": "5",
  "OMPI_COMM_WORLD_RANK": "3",
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}
OPEN_MPI_5 = {"OMPI_COMM_WORLD_SIZE": "5", "OMPI_COMM_WORLD_RANK": "3"}
KUBERNETES = {
  "KUBERNETES_SERVICE_HOST": "10.0.0.1",
  "JOB_COMPLETION_INDEX": "1",
  "JAX_COORDINATOR_ADDRESS": "job-0.set:8476",
  "JAX_NUM_PROCESSES": "7",
}
TPU = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}
SKY = {"SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.6", "SKYPILOT_NODE_RANK": "1"}


def started(environment, **flags):
  """(address, processes, this one, who finds out the rest), or None."""
  found = start_arguments(ProcessesConfig(**flags), environment)
  return found and (
    found["coordinator_address"],
    found["num_processes"],
    found["process_id"],
    found["cluster_detection_method"],
  )


@pytest.mark.parametrize(
  ("environment", "expected"),
  [
    ({}, None),
    (SLURM, (None, 3, 2, None)),
    (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3"}, None),  # in no step
    (OPEN_MPI, (None, 5, 3, None)),
    (KUBERNETES, ("job-0.set:8476", 7, 1, "deactivate")),
    (
      KUBERNETES | {"JAX_PROCESS_ID": "4"},
      ("job-0.set:8476", 7, 4, "deactivate"),
    ),
    (TPU, (None, 4, None, None)),
    (TPU | {"MEGASCALE_NUM_SLICES": "2"}, (None, 8, None, None)),
    (TPU | {"TPU_WORKER_HOSTNAMES": "localhost"}, None),
    (SKY, ("10.0.0.5:8476", 2, 1, "deactivate")),
  ],
)
def test_what_launchers_announce(environment, expected):
  assert started(environment) == expected


@pytest.mark.parametrize(
  ("platforms", "joins"),
  [
    (None, True),
    ("", True),
    ("tpu", True),
    ("tpu,cpu", True),
    ("cpu,tpu", True),
    (" TPU , cpu ", True),
    ("cpu", False),
    ("cuda,cpu", False),
  ],
)
def test_a_host_of_a_pod_joins_where_jax_may_use_its_tpu(
  monkeypatch, platforms, joins
):
  monkeypatch.setattr(cluster, "_has_tpu", lambda: True)
  environment = {} if platforms is None else {"JAX_PLATFORMS": platforms}
  expected = (None, None, None, None) if joins else None
  assert started(environment) == expected


ADDRESS = {"JAX_COORDINATOR_ADDRESS": "h:1"}


@pytest.mark.parametrize(
  "environment",
  [
    ADDRESS,
    ADDRESS | {"JAX_PROCESS_ID": "0"},
    ADDRESS | {"JOB_COMPLETION_INDEX": "1"},
    {"JAX_PROCESS_ID": "1"},
    {"JAX_NUM_PROCESSES": "2"},
    {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"},
    ADDRESS | {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "3"},  # in no step
  ],
)
def test_one_of_several_does_not_train_alone(monkeypatch, environment):
  with pytest.raises(ValueError, match=r"processes: JAX_.*launcher=none to tr"):
    started(environment)
  assert started(environment, launcher="none") is None
  assert started(environment, count=1) is None
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(ValueError, match="processes: JAX_"):
    require_joined(ProcessesConfig())


def test_what_is_said_in_part_stops_no_launcher():
  assert started(ADDRESS | SLURM) == (None, 3, 2, None)
  assert started(ADDRESS | TPU) == (None, 4, None, None)
  assert started(ADDRESS | SKY)[1:3] == (2, 1)
  assert started({"JAX_NUM_PROCESSES": "1"}) is None
  assert started({"JAX_COORDINATOR_ADDRESS": ""}) is None


def test_flags_go_before_launchers():
  flags = {"coordinator": "h:1", "count": 2, "index": 0}
  assert started(SLURM, **flags)[:3] == ("h:1", 2, 0)
  assert started({}, **flags) == ("h:1", 2, 0, "deactivate")
  assert started(OPEN_MPI_5, coordinator="h:1") == ("h:1", 5, 3, None)
  assert started(SLURM, launcher="none") is None
  assert started({}, launcher="tpu") == (None, None, None, None)
  assert started(SLURM | SKY, launcher="slurm") == (None, 3, 2, None)


def test_who_is_announced_and_has_not_joined_does_not_train(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  with pytest.raises(ValueError, match="3 of them are announced, and this one"):
    require_joined(ProcessesConfig())
  require_joined(ProcessesConfig(launcher="none"))


def test_bounds_are_the_flags():
  config = ProcessesConfig(join_seconds=13, lost_seconds=7)
  found = start_arguments(config, SLURM)
  assert found["initialization_timeout"] == 13
  assert found["heartbeat_timeout_seconds"] == 7


@pytest.mark.parametrize(
  ("environment", "flags", "message"),
  [
    ({}, {"count": 2}, "processes.coordinator and processes.index: expected a"),
    ({}, {"index": 1}, "processes.count: expected a number beside"),
    (
      {},
      {"coordinator": "host:1", "count": 2, "index": 2},
      "processes.index: expected 0 to 1, for the run has 2 processes, got 2",
    ),
    (
      OPEN_MPI_5,
      {},
      "processes.coordinator: expected a value, got none, and op",
    ),
    ({}, {"launcher": "slurm"}, "'slurm' announces no processes here; start"),
    (
      SLURM | {"SLURM_PROCID": "x"},
      {},
      "SLURM_PROCID: expected a whole number",
    ),
  ],
)
def test_what_is_missing_is_named(environment, flags, message):
  with pytest.raises(ValueError, match=message):
    started(environment, **flags)


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"count": 0}, "count must be at least 1, got 0"),
    ({"lost_seconds": 1}, "lost_seconds must be at least 2, got 1"),
    ({"coordinator": "host"}, "expected host:port, got 'host'"),
  ],
)
def test_flags_out_of_range(flags, message):
  with pytest.raises(ValueError, match=message):
    ProcessesConfig(**flags)
