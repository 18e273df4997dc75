"""Reads the source of the installed Stripe SDK: its services with their operations, and its typed parameters.

The SDK is generated from Stripe's OpenAPI specification. Its source contains what importing it doesn't provide: the
HTTP path of every method, and the description of every parameter. Reading it takes a fraction of the time of importing
it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.params import Returned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SUBSERVICES = re.compile(r"^_subservices = (\{.*?^\})", re.MULTILINE | re.DOTALL)
_METHOD = re.compile(
    r"^    def (?P<name>\w+)\(\n(?P<signature>.*?)^    \) -> (?P<returns>.*?):\n"
    r"(?P<body>.*?)(?=^    (?:async )?def |\Z)",
    re.MULTILINE | re.DOTALL,
)
_REQUEST = re.compile(r'self\._request(?:_stream)?\(\s*"(?P<method>\w+)",\s*"(?P<path>[^"]+)"')
_PARAMS = re.compile(r'params: (?:Optional\[)?"(?P<type>\w+)"')
_DOC = re.compile(r'"""(?P<doc>.*?)"""', re.DOTALL)
_IMPORT = re.compile(r"from (?P<module>stripe\.params[\w.]*) import (?:\((?P<several>[^)]*)\)|(?P<one>\w+))")
_IMPORTED_OBJECT = re.compile(r"from (?P<module>stripe[\w.]*) import (?P<name>\w+)$", re.MULTILINE)
_RETURNED = re.compile(r'"(?:(?P<list>ListObject|SearchResultObject)\[)?(?:Union\[)?(?P<names>[\w, ]+)\]*"')
_OBJECT_NAME = re.compile(r'OBJECT_NAME: ClassVar\[\s*Literal\["([^"]+)"\]')
_OBJECT_FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)
_PATH_PARAM = re.compile(r"\{(\w+)\}")
# The module that imports all services.
V1_SERVICES = "stripe._v1_services"


class MethodSource(Struct, frozen=True, kw_only=True):
    """A service's method: its HTTP method and path, its return type, and the module and class of its parameters.

    `returns` is the annotation of the return value. `imports` maps the classes that it may name to their modules.
    """

    name: str
    http_method: str
    path: str
    params_module: str | None
    params_class: str | None
    description: str
    returns: str = ""
    imports: Mapping[str, str] = field(default_factory=dict)

    @property
    def path_params(self) -> tuple[str, ...]:
        """The names in the path, in order."""
        return tuple(_PATH_PARAM.findall(self.path))


class FieldSource(Struct, frozen=True, kw_only=True):
    """A field of a typed dict: its annotation as an expression, and its description."""

    name: str
    annotation: ast.expr
    description: str


@cache
def sdk_root() -> Path:
    """Return the folder of the installed SDK. Raises `ModuleNotFoundError` if it isn't installed."""
    spec = find_spec("stripe")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("stripe")
    return Path(spec.origin).parent


@cache
def api_version() -> str:
    """Return the API version that the SDK pins, such as `2026-10-28.endive`."""
    found = re.search(r'CURRENT = "([^"]+)"', (sdk_root() / "_api_version.py").read_text())
    return found.group(1) if found else ""


@cache
def service_modules() -> Mapping[str, str]:
    """Return the module of every service below `StripeClient.v1`, by its dotted path (`customers.tax_ids`)."""
    return dict(_walk("", V1_SERVICES))


def _walk(prefix: str, module: str) -> Iterator[tuple[str, str]]:
    for name, submodule in subservices(module).items():
        yield f"{prefix}{name}", submodule
        yield from _walk(f"{prefix}{name}.", submodule)


@cache
def subservices(module: str) -> Mapping[str, str]:
    """Return the modules of the services directly below one, by name."""
    found = _SUBSERVICES.search(_source(module))
    return {name: submodule for name, (submodule, _) in ast.literal_eval(found.group(1)).items()} if found else {}


@cache
def method_names(module: str) -> frozenset[str]:
    """Return the names of a service's public methods."""
    return frozenset(name for name in re.findall(r"^    def (\w+)\(", _source(module), re.MULTILINE) if name[0] != "_")


@cache
def read_methods(module: str) -> Mapping[str, MethodSource]:
    """Return the methods of a service that send a request, by name."""
    source = _source(module)
    modules = {
        name.strip(): found["module"]
        for found in _IMPORT.finditer(source)
        for name in (found["several"] or found["one"]).split(",")
    }
    imports = {found["name"]: found["module"] for found in _IMPORTED_OBJECT.finditer(source.replace("\n    ", "\n"))}
    methods = {}
    for found in _METHOD.finditer(source):
        request = _REQUEST.search(found["body"])
        if request is None:
            continue
        params = _PARAMS.search(found["signature"])
        doc = _DOC.search(found["body"])
        methods[found["name"]] = MethodSource(
            name=found["name"],
            http_method=request["method"],
            path=request["path"],
            params_module=modules.get(params["type"]) if params else None,
            params_class=params["type"] if params else None,
            description=" ".join(doc["doc"].split()) if doc else "",
            returns=found["returns"],
            imports=imports,
        )
    return methods


def read_returned(method: MethodSource) -> Returned | None:
    """Return what a method returns, or None if its annotation doesn't name an API object."""
    found = _RETURNED.fullmatch(method.returns)
    modules = [method.imports.get(name.strip()) for name in found["names"].split(",")] if found else []
    objects = [_read_object(module) for module in modules if module is not None]
    if found is None or not objects or len(objects) < len(modules) or not all(objects):
        return None
    return Returned(
        names=frozenset(name for name, _ in objects if name is not None),
        fields=frozenset.intersection(*(fields for _, fields in objects)),
        listed=found["list"],
    )


@cache
def _read_object(module: str) -> tuple[str | None, frozenset[str]]:
    """Return the name of the object that a module defines, and the fields of its class."""
    source = _source(module)
    name = _OBJECT_NAME.search(source)
    return (name[1] if name else None), frozenset(_OBJECT_FIELD.findall(source))


@cache
def read_typed_dicts(module: str) -> Mapping[str, tuple[FieldSource, ...]]:
    """Return the fields of every typed dict in a module of parameters, by the name of its class."""
    tree = ast.parse(_source(module))
    reserved = {name: fields for node in tree.body if isinstance(node, ast.Assign) for name, fields in _reserved(node)}
    return {
        node.name: (*(field for base in _bases(node) for field in reserved.get(base, ())), *_fields(node))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _reserved(node: ast.Assign) -> Iterator[tuple[str, tuple[FieldSource, ...]]]:
    """Yield the fields whose names Python reserves (`from`, `is`): a base class, a functional typed dict, has them."""
    call = node.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "TypedDict":
        names = call.args[1]
        target = node.targets[0]
        if isinstance(names, ast.Dict) and isinstance(target, ast.Name):
            yield (
                target.id,
                tuple(
                    FieldSource(name=str(key.value), annotation=value, description="")
                    for key, value in zip(names.keys, names.values, strict=True)
                    if isinstance(key, ast.Constant)
                ),
            )


def _bases(node: ast.ClassDef) -> Iterator[str]:
    yield from (base.id for base in node.bases if isinstance(base, ast.Name))


def _fields(node: ast.ClassDef) -> Iterator[FieldSource]:
    for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = " ".join(str(below.value.value).split())
            yield FieldSource(name=statement.target.id, annotation=statement.annotation, description=text)


@cache
def _source(module: str) -> str:
    path = sdk_root().joinpath(*module.split(".")[1:])
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return file.read_text(encoding="utf-8")
