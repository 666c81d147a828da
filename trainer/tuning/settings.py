"""What is tried: settings that change how fast a config trains, each with the lines that ask for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from ...metrics.errors import UsageError

MIXED = "mixed_bfloat16"
_POLICY_MODULE = [
    f"In {MIXED}.py, in the working folder:",
    "    import keras",
    f'    keras.config.set_dtype_policy("{MIXED}")',
]
_INTRA, _INTER = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
_TUNABLES = "GLIBC_TUNABLES"
_MORE_READ_THREADS = 2  # times those that are bound


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts about a config, as a process that trains it tells.

    Attributes:
      train_steps: how long it trains.
      jit_compile: `Trainer.jit_compile`.
      policy: Keras's dtype policy.
      onednn: whether TensorFlow computes with oneDNN.
      huge_pages: whether huge pages are available, but only on request.
      replicas: how many there are.
      examples_per_step: of an average batch, short ones included.
      dataset: the configurable of the train data, with its scope, such as `train/Input`; empty if it is no `Input` of the config.
      feed: how batches come: arrays in memory, rows by number that are read ahead, or a stream.
      cache: `Input.cache`.
      maps: whether there is an `Input.map_fn`.
      transforms: whether there is an `Input.transform`.
      read_threads: `Input.read_threads`.
      read_processes: `Input.read_processes`.
    """

    train_steps: int
    jit_compile: bool
    policy: str
    onednn: bool
    huge_pages: bool
    replicas: int
    examples_per_step: float
    dataset: str
    feed: Literal["memory", "rows", "stream"]
    cache: bool
    maps: bool
    transforms: bool
    read_threads: int
    read_processes: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """Something to try.

    Attributes:
      name: a short one, for the table.
      bindings: lines of gin.
      variables: of the environment.
      policy: Keras's dtype policy; None leaves it.
      changes: what else than the time it changes; empty if the training stays the same up to rounding.
      remark: what a user should know who takes it.
    """

    name: str
    bindings: tuple[str, ...] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    policy: str | None = None
    changes: str = ""
    remark: str = ""

    @property
    def size(self) -> int:
        """The number of things that it sets."""
        return len(self.bindings) + len(self.variables) + (self.policy is not None)

    @property
    def lines(self) -> list[str]:
        """The lines to write, and where."""
        found = []
        if self.bindings or self.policy:
            imports = [f"import {self.policy}"] if self.policy else []
            found += ["In the config:", *(f"    {line}" for line in [*imports, *self.bindings])]
        if self.policy:
            found += _POLICY_MODULE
        if self.variables:
            found += [
                "Before the command:",
                "    " + " ".join(f"{name}={value}" for name, value in self.variables.items()),
            ]
        return found


AS_GIVEN = Setting("as given")


def combined(settings: Sequence[Setting], name: str) -> Setting:
    """Return all of these as one."""
    return Setting(
        name,
        tuple(line for each in settings for line in each.bindings),
        {variable: value for each in settings for variable, value in each.variables.items()},
        next((each.policy for each in settings if each.policy), None),
        "; ".join(each.changes for each in settings if each.changes),
        "; ".join(each.remark for each in settings if each.remark),
    )


def alternatives(facts: Facts, can_cache: bool, cores: int, environment: Mapping[str, str]) -> list[Setting]:
    """Return what to try in the place of what a config has, one thing at a time.

    Args:
      facts: what the config is.
      can_cache: whether its train data may be read into memory as a whole.
      cores: how many this process may use.
      environment: its variables.
    """
    jit = not facts.jit_compile
    return [
        Setting(f"jit_compile = {jit}", (f"Trainer.jit_compile = {jit}",)),
        *(_reading(facts, can_cache, cores) if facts.dataset else ()),
        *_threads(cores, facts.replicas, environment),
        _onednn(not facts.onednn),
        *_new([Setting("memory pool", variables={"TF_CPU_ALLOCATOR_USE_BFC": "1"})], environment),
        *_huge_pages(facts, environment),
        *_mixed(facts.policy),
    ]


def _reading(facts: Facts, can_cache: bool, cores: int) -> list[Setting]:
    if facts.feed == "memory":
        return [_uncached(facts) if facts.cache else _ahead(facts)]
    found = [_cached(facts)] if can_cache else []
    if facts.feed == "rows":
        threads = _MORE_READ_THREADS * facts.read_threads
        found.append(Setting(f"read_threads = {threads}", (f"{facts.dataset}.read_threads = {threads}",)))
    if facts.transforms and facts.read_processes != cores:
        found.append(Setting(f"read_processes = {cores}", (f"{facts.dataset}.read_processes = {cores}",)))
    return found


def _cached(facts: Facts) -> Setting:
    once = "map_fn is applied once to each example, so that it must not draw random numbers" if facts.maps else ""
    return Setting(
        "cache = True (from memory)",
        (f"{facts.dataset}.cache = True",),
        changes=once,
        remark="the examples come in another order, shuffled over all of them" if facts.feed == "stream" else "",
    )


def _uncached(facts: Facts) -> Setting:
    anew = (
        "map_fn is applied anew in each epoch: if it draws random numbers, they are others each time"
        if facts.maps
        else ""
    )
    remark = "the examples of a stream come in another order, shuffled over Input.shuffle_buffer of them"
    return Setting("cache = False (read ahead)", (f"{facts.dataset}.cache = False",), changes=anew, remark=remark)


def _ahead(facts: Facts) -> Setting:
    return Setting("read_processes = 1 (read ahead)", (f"{facts.dataset}.read_processes = 1",))


def _threads(cores: int, replicas: int, environment: Mapping[str, str]) -> list[Setting]:
    """Return fewer threads than cores.

    Operations side by side get two at least: the step and the reading of its batch would share one.
    Replicas that wait for each other need more.
    """
    intra = [count for count in dict.fromkeys((1, cores // 2)) if 0 < count < cores]
    found = [Setting(f"intra-op threads = {count}", variables={_INTRA: str(count)}) for count in intra]
    if cores > 2 and replicas == 1:
        found.append(Setting("inter-op threads = 2", variables={_INTER: "2"}))
    return _new(found, environment)


def _onednn(on: bool) -> Setting:
    return Setting("oneDNN" if on else "no oneDNN", variables={"TF_ENABLE_ONEDNN_OPTS": str(int(on))})


def _huge_pages(facts: Facts, environment: Mapping[str, str]) -> list[Setting]:
    """Return that malloc asks for huge pages, unless the environment sets something else by the same variable."""
    asked = facts.huge_pages and _TUNABLES not in environment
    return [Setting("huge pages", variables={_TUNABLES: "glibc.malloc.hugetlb=1"})] if asked else []


def _new(settings: list[Setting], environment: Mapping[str, str]) -> list[Setting]:
    return [each for each in settings if not dict(each.variables).items() <= environment.items()]


def _mixed(policy: str) -> list[Setting]:
    changes = "layers compute in bfloat16, of 8 bits: see whether the metrics stay as good"
    return [Setting(MIXED, policy=MIXED, changes=changes)] if policy == "float32" else []


def of_batch_size(dataset: str, size: int) -> Setting:
    """Return the setting of a batch size."""
    changes = "another batch size trains differently: the learning rate and the number of steps have to fit it"
    return Setting(f"global_batch_size = {size}", (f"{dataset}.global_batch_size = {size}",), changes=changes)


def batch_sizes(text: str | None) -> list[int]:
    """Return the numbers of `--tune_batch_sizes`.

    Raises:
      UsageError: it is not a list of different whole numbers.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    wrong = next((part for part in parts if not part.isascii() or not part.isdigit() or int(part) < 1), None)
    if wrong is not None:
        raise UsageError(
            f"--tune_batch_sizes={text}: expected whole numbers of at least 1 between commas, such as 32,64, got {wrong!r}."
        )
    if twice := next((part for part in parts if parts.count(part) > 1), None):
        raise UsageError(f"--tune_batch_sizes={text}: expected different numbers, got {twice} twice.")
    return [int(part) for part in parts]
