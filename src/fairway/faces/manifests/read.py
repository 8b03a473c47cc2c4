"""From documents to manifests; every error of every document is collected before any is raised."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairway.faces.manifests.complaints import InvalidManifest, complaints, nearest
from fairway.faces.manifests.documents import Document, read_yaml
from fairway.faces.manifests.schema import KINDS, Manifest
from fairway.faces.manifests.units import said
from fairway.model.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Declared:
    """A manifest, and the document it was read from, for errors that are found later."""

    spec: Manifest
    document: Document


def manifests_in(text: str, source: str = "manifest") -> list[Declared]:
    """The manifests of a YAML text. Raises InvalidManifest with everything that is wrong with it."""
    return understand(_some(read_yaml(text, source), source))


def manifests_from(values: Sequence[Any], source: str = "documents") -> list[Declared]:
    """The manifests in values parsed already. Raises InvalidManifest with everything that is wrong with them."""
    return understand(_some([Document(f"{source}[{index}]", value) for index, value in enumerate(values)], source))


def understand(documents: Iterable[Document]) -> list[Declared]:
    """Each document as a manifest of its kind. Raises InvalidManifest with every error of all of them."""
    declared: list[Declared] = []
    errors: list[InvalidField] = []
    for document in documents:
        try:
            declared.append(Declared(_one(document), document))
        except InvalidManifest as error:
            errors += error.errors
    if errors:
        raise InvalidManifest(errors)
    return declared


def _some(documents: list[Document], source: str) -> list[Document]:
    if not documents:
        *first, last = KINDS
        kinds = f"{', '.join(first)} or {last}"
        raise InvalidManifest([InvalidField(source, f"holds no manifest: write kind: {kinds}")])
    return documents


def _one(document: Document) -> Manifest:
    value = document.value
    if not isinstance(value, dict):
        raise InvalidManifest([document.error((), f"{said(value)} is not a manifest: write key: value lines")])
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        if kind is None:
            text = f"is missing: add one of {known}"
        else:
            same = [name for name in KINDS if name.lower() == str(kind).lower()]
            hint = f"; did you mean {same[0]}?" if same else nearest(str(kind), KINDS)
            text = f"{said(kind)} is none of {known}{hint}"
        raise InvalidManifest([document.error(("kind",), text)])
    model = KINDS[kind]
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = [(document.line(loc), document.error(loc, text)) for loc, text in complaints(error, model)]
        raise InvalidManifest([each for _, each in sorted(found, key=lambda pair: pair[0])]) from None


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest of any kind, for editors and programs."""
    schema = TypeAdapter(Manifest).json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Fairway manifest", **schema}
