"""What a file of manifests says, and everything that is wrong with one."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.faces.manifests.complaints import InvalidManifest
from fairway.faces.manifests.documents import DEEPEST
from fairway.faces.manifests.read import json_schema, manifests_from, manifests_in
from fairway.faces.manifests.schema import KINDS, JobSpec, QueueSpec
from fairway.model.errors import InvalidField


def errors(text: str, source: str = "jobs.yaml") -> list[str]:
    with pytest.raises(InvalidManifest) as raised:
        manifests_in(text, source)
    assert all(isinstance(each, InvalidField) for each in raised.value.errors)
    return [str(each) for each in raised.value.errors]


def job(lines: str) -> str:
    return f"kind: Job\nname: x\ncommand: a\n{lines}\n"


def test_files_of_several_documents_with_empty_ones_between() -> None:
    found = manifests_in("---\nkind: Queue\nname: a/b\n---\n---\nkind: Job\nname: j\ncommand: x\n---\n")
    assert [type(each.spec) for each in found] == [QueueSpec, JobSpec]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("gpu: 1", "jobs.yaml.gpu: unknown key; did you mean request.gpus? (line 4)"),
        ("gpus: 1", "jobs.yaml.gpus: unknown key; did you mean request.gpus? (line 4)"),
        ("maxRuntime: 1h", "jobs.yaml.maxRuntime: unknown key; did you mean max_runtime? (line 4)"),
        ("request: {mem: 1Gi}", "jobs.yaml.request.mem: unknown key; did you mean memory? (line 4)"),
        ("deadlin: 1h", "jobs.yaml.deadlin: unknown key; did you mean deadline? (line 4)"),
        ("request: {gpus: 9999}", "jobs.yaml.request.gpus: 9999 > 4096: one task cannot ask for more (line 4)"),
        (
            "request: {memory: 9999999Ti}",
            "jobs.yaml.request.memory: 10485758951424Mi > 4294967296Mi: one task cannot ask for more; is",
        ),
        ("workers: {min: 4, max: 2}", "jobs.yaml.workers.min: 4 > 2: it may not be above max (line 4)"),
        ("workers: 0", "jobs.yaml.workers: 0 < 1: write at least 1 (line 4)"),
        ("retries: yes", "jobs.yaml.retries: True is not a mapping: write key: value lines (line 4)"),
        ("checkpoints: 1", "jobs.yaml.checkpoints: 1 is neither true nor false: write one of them (line 4)"),
        ("roles: 3", "jobs.yaml.roles: 3 is not a list: write [a, b], or lines that begin with '-' (line 4)"),
        ("env: {A: yes}", "jobs.yaml.env: A is True: put the value in quotes (line 4)"),
        ("script: b", "jobs.yaml.script: is given and command too: keep one of them (line 4)"),
        ("name: y", "jobs.yaml.name: is written twice: remove one (line 4)"),
        ("array: {}", "jobs.yaml.array.size: is missing: write how many elements, or give parameters (line 4)"),
        (
            "array: {size: 3, parameters: {lr: [1, 2]}}",
            "jobs.yaml.array.size: 3 is not the 2 that the parameters make: remove size (line 4)",
        ),
        (
            "array: {parameters: {lr: 1}}",
            "jobs.yaml.array.parameters: lr is 1: write a list of numbers or texts (line 4)",
        ),
        ("array: 99999", "jobs.yaml.array.size: 99999 > 10000: write at most 10000 (line 4)"),
        (
            "workers: 2\nroles: [{name: a}]",
            "jobs.yaml.workers: is given and roles too: write it inside each role (line 4)",
        ),
        ("roles: [{name: a}, {name: a}]", "jobs.yaml.roles: 'a' names two roles: rename one (line 4)"),
        (
            "request: {accelerators: [H100]}",
            "jobs.yaml.request.accelerators: are listed but no GPU is asked for: add gpus: 1, or remove them (line 4)",
        ),
        (
            "request: {gpus: 2, gpu_memory: 20Gi}",
            "jobs.yaml.request.gpu_memory: asks for memory of one shared device: remove it, or remove gpus (line 4)",
        ),
        ("max_runtime: 0", "jobs.yaml.max_runtime: 0 leaves no time to run: write a longer one, or remove it (line 4)"),
        ("x: !!python/name:os.system y", "jobs.yaml: could not determine a constructor for the tag"),
    ],
)
def test_one_mistake_one_line(lines: str, expected: str) -> None:
    [found] = errors(job(lines))
    assert found.startswith(expected)
    assert "\n" not in found


def test_errors_of_all_documents_come_in_the_order_of_the_file() -> None:
    found = errors("kind: Job\nname: A\nbogus: 1\n---\nkind: Queue\nname: q\n---\n- 1\n---\nkind: Pool\nname: p\n")
    assert [text.partition(": ")[0] for text in found] == [
        "jobs.yaml[0].name",
        "jobs.yaml[0].bogus",
        "jobs.yaml[2]",
        "jobs.yaml[3].shape",
    ]


def test_a_command_line_is_split_as_a_shell_would_but_for_what_only_a_shell_can_do() -> None:
    [found] = manifests_in("kind: Job\nname: x\ncommand: python t.py --note 'a b' --lr {lr}")
    assert isinstance(found.spec, JobSpec)
    assert found.spec.command == ("python", "t.py", "--note", "a b", "--lr", "{lr}")
    for shell in ("a && b", "a | b", "a > b", "echo $HOME", "a `b`", "ls *.py"):
        assert "needs a shell, and a command has none" in errors(f"kind: Job\nname: x\ncommand: {json.dumps(shell)}")[0]
    assert "cannot be split" in errors('kind: Job\nname: x\ncommand: "python \'a"')[0]


def test_a_text_that_grows_by_its_aliases_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    assert "is too large or too deep" in errors(bomb)[0]
    assert "is too large or too deep" in errors("a: " + "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2))[0]
    assert "is too large or too deep" in errors("a: &a [*a]")[0]


def test_documents_that_were_parsed_already_have_their_index_in_the_path() -> None:
    with pytest.raises(InvalidManifest) as raised:
        manifests_from([{"kind": "Job", "name": "x", "command": "a"}, {"kind": "Queue", "name": "Q"}, 7])
    assert [each.field for each in raised.value.errors] == ["documents[1].name", "documents[2]"]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1Gi", "2h", "high"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = sorted({key for model in KINDS.values() for key in model.model_fields} | {"gpus", "x"})


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8), st.sampled_from([*KINDS, "Jobs", None]))
def test_whatever_is_handed_in_is_understood_or_refused_with_paths(document: dict[str, Any], kind: str | None) -> None:
    found: Sequence[InvalidField] = ()
    try:
        [understood] = manifests_from([{**document, "kind": kind}])
        assert understood.spec.kind == kind
    except InvalidManifest as error:
        found = error.errors
    for each in found:
        assert each.field.startswith("documents[0]")
        assert 0 < len(each.message) < 400


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    found: Sequence[InvalidField] = ()
    try:
        manifests_in(text)
    except InvalidManifest as error:
        found = error.errors
    assert all(each.message for each in found)


def test_the_json_schema_names_every_key_of_every_kind() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for model in KINDS.values():
        properties = schema["$defs"][model.__name__]["properties"]
        assert set(properties) == set(model.model_fields)
        assert schema["$defs"][model.__name__]["additionalProperties"] is False
    assert '"pattern"' in text
