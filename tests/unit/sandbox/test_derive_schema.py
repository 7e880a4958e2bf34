"""What a source says of its function: types, descriptions, refusals. Pure."""

import pytest

from kelpie.sandbox.programs.derive_schema import Wrong, derive

DOC = '    """D.\n\n    Args:\n        x: v\n    """\n'
MODELS = '''
class Step(BaseModel):
    """A step."""
    name: str = Field(..., description="its name")
    number: int = Field(3, description="its number")
    tags: list[str] = Field(default_factory=list)

class Plan(TypedDict):
    steps: "List[Step]"
    title: Optional[str] = None
'''


def of(annotation: str, before: str = "") -> dict:
    """The schema of one parameter, without its description."""
    parameters = derive(f"{before}def f(x: {annotation}):\n{DOC}", None)["parameters"]
    shown = dict(parameters["properties"]["x"])
    assert shown.pop("description") == "v"
    return {**shown, "required?": parameters["required"] == ["x"]}


STEP = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "its name"},
        "number": {"type": "integer", "description": "its number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("int", {"type": "integer"}),
        ("'str'", {"type": "string"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array", "items": {"type": "string"}}),
        ("List[List[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ("typing.List[str]", {"type": "array", "items": {"type": "string"}}),
        ("dict", {"type": "object"}),
        ("dict[str, Any]", {"type": "object"}),
        ("Dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ('Literal["a", "b"]', {"type": "string", "enum": ["a", "b"]}),
        ("Literal[1, 2]", {"type": "integer", "enum": [1, 2]}),
        ("Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("int | str", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("Annotated[int, 'x']", {"type": "integer"}),
        ("Step", STEP),
        (
            "Plan",
            {
                "type": "object",
                "properties": {"steps": {"type": "array", "items": STEP}, "title": {"type": "string"}},
                "required": ["steps"],
            },
        ),
    ],
)
def test_types(annotation: str, schema: dict) -> None:
    """Each type that JSON has."""
    assert of(annotation, MODELS) == {**schema, "required?": True}


OPTIONAL = ["Optional[int]", "int | None", "Union[int, None]", "int = 3", "Optional[int] = 3"]
NOT_JSON = ["set", "tuple[int, int]", "bytes", "Any", "None", "Foo", "Literal[1, 'a']", "Leaf"]


@pytest.mark.parametrize("annotation", OPTIONAL)
def test_what_may_be_left_out_is_not_required(annotation: str) -> None:
    """Because it has a default, or may be None."""
    assert of(annotation) == {"type": "integer", "required?": False}


@pytest.mark.parametrize("annotation", NOT_JSON)
def test_types_that_json_has_not_are_refused(annotation: str) -> None:
    """By name, so that the author knows which."""
    with pytest.raises(Wrong, match="has no corresponding JSON schema type|a Literal holds"):
        of(annotation, "class Leaf(Enum):\n    A = 1\n")


def test_a_type_that_contains_itself_is_refused() -> None:
    """Not followed for ever."""
    with pytest.raises(Wrong, match="nested too deeply, or contain themselves"):
        of("Tree", "class Tree(BaseModel):\n    inner: 'Tree'\n")


GOOGLE = """D.

    Args:
        x (Optional[List[int]]): v
            goes on
        y : w

    Returns:
        int: z"""
NUMPY = """D.

    Parameters
    ----------
    x : int
        v
        goes on
    y : str, optional
        w

    Returns
    -------
    z"""
SPHINX = """D.

    :param x: v
        goes on
    :param int y: w
    :returns: z"""
OTHERS = """D.

    Arguments:
        x: v goes on

        y: w
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX, OTHERS])
def test_descriptions_of_parameters(docstring: str) -> None:
    """In the three styles that people write."""
    shown = derive(f'def f(x: int, y: str = ""):\n    """{docstring}\n    """\n', None)
    described = {name: one["description"] for name, one in shown["parameters"]["properties"].items()}
    assert described == {"x": "v goes on", "y": "w"}
    assert shown["description"] == "D."


def test_the_description_is_what_stands_before_the_sections() -> None:
    """Also when it is long."""
    code = 'def f():\n    """Short.\n\n    Long text\n    more.\n\n    Example:\n        f()\n    """\n'
    assert derive(code, None)["description"] == "Short.\n\nLong text\nmore."


@pytest.mark.parametrize(
    ("code", "name", "found"),
    [
        (f"def a(x: int):\n{DOC}def b(x: int):\n{DOC}", None, "b"),
        (f"def a(x: int):\n{DOC}def b(x: int):\n{DOC}", "a", "a"),
        (f"def a(x: int):\n{DOC}    def inner():\n        pass\ndef _b(y):\n    pass\n", None, "a"),
        (f"async def a(x: int):\n{DOC}", None, "a"),
        ("class A:\n    def run(self, x: int):\n" + DOC.replace("    ", "        "), None, "run"),
    ],
)
def test_which_function_is_the_tool(code: str, name: str | None, found: str) -> None:
    """The one named, else the last public one at the top; then methods."""
    shown = derive(code, name)
    assert (shown["name"], list(shown["parameters"]["properties"])) == (found, ["x"])


def test_what_the_model_does_not_fill_in_is_not_shown() -> None:
    """The agent's state, and what takes anything."""
    code = f"def f(agent_state: 'AgentState', x: int, *more, deep: bool = False, **rest):\n{DOC}".replace(
        "x: v", "x: v\n        deep: d"
    )
    assert list(derive(code, None)["parameters"]["properties"]) == ["x", "deep"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("def f(:\n", "Failed to parse source code: invalid syntax"),
        ("x = 1\n", "No functions found in source code"),
        ("", "No functions found in source code"),
        ("def f():\n    pass\n", "Function f missing docstring"),
        (f"def f(x):\n{DOC}", "Parameter 'x' in function 'f' lacks a type annotation"),
        ('def f(x: int):\n    """D."""\n', "Parameter 'x' in function 'f' lacks a description in the docstring"),
        ("def f(x: 'a b'):\n" + DOC, "'a b' is no type annotation"),
        ("x\0", "Failed to parse source code: source code string cannot contain null bytes"),
    ],
)  # fmt: skip
def test_refusals(code: str, sentence: str) -> None:
    """Each says what the author has to change."""
    with pytest.raises(Wrong) as refused:
        derive(code, None)
    assert str(refused.value).startswith(sentence)


def test_a_name_that_is_not_there_is_refused() -> None:
    """Rather than another function called."""
    with pytest.raises(Wrong, match="No function 'g' found"):
        derive(f"def f(x: int):\n{DOC}", "g")
