"""What MkDocs is told beside `mkdocs.yml`: the layout of the site, and the docstrings as they are written here.

The site has the layout of the repository, so that every link works in both places: pages of `docs/` lie under `docs/`,
and what they link to is added: the README as the front page, examples, notebooks, figures. No text is copied and no
link rewritten.
"""

import ast
import re
from pathlib import Path

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

BESIDE = ("*.md", "figures/*", "notebooks/*", "examples/**/*.md", "examples/**/*.png", "examples/**/*.csv")
"""What the site shows beside `docs/`."""
API = "docs/api/"
LINK = '<autoref identifier="{}" optional><code>{}</code></autoref>'
"""To the place of a name where it has one: a type alias without a docstring has none."""
MERMAID = re.compile(r'<script type="module">(?:(?!</script>).)*mermaid.*?</script>', re.DOTALL)
"""The script with which nbconvert would fetch Mermaid from another host for a diagram; no notebook has one."""


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Every file at the place that it has in the repository."""
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    inside = [file for file in files if file.src_dir == config.docs_dir]
    found = [(docs.parent, docs / file.src_uri) for file in inside if file.inclusion.is_included()]
    found += [(root, path) for pattern in BESIDE for path in sorted(root.glob(pattern)) if path.is_file()]
    placed = [
        File(path.relative_to(above).as_posix(), str(above), config.site_dir, config.use_directory_urls)
        for above, path in found
    ]
    return Files([*(file for file in files if file not in inside), *placed])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """On the page of a room, behind its title, the names that the room itself gives, with links."""
    if not page.file.src_uri.startswith(API):
        return markdown
    package = Path(config.config_file_path).parent / "lens_steer"
    room = Path(page.file.src_uri).stem
    names = exported(package if room == "index" else package / room)
    links = ", ".join(LINK.format(source(package.parent, module, name), name) for name, module in names.items())
    title, _, rest = markdown.partition("\n")
    where = "lens_steer" if room == "index" else f"lens_steer.{room}"
    return f"{title}\n\n`from {where} import` {links}.\n{rest}" if links else markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """A notebook's page without the script that names another host."""
    return MERMAID.sub("", html) if page.file.src_uri.endswith(".ipynb") else html


def exported(package: Path) -> dict[str, str]:
    """The names that a package's `__init__` imports, with the modules it takes them from.

    Args:
        package: its folder; of a module, nothing.
    """
    init = package / "__init__.py"
    body = ast.parse(init.read_text(encoding="utf-8")).body if init.is_file() else []
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    return {str(name.asname): str(node.module) for node in imports for name in node.names if name.asname}


def source(root: Path, module: str, name: str) -> str:
    """The full name of what a module gives under a name, through packages that only pass it on.

    Args:
        root: the folder of the packages.
        module: where it is imported from.
        name: as which.
    """
    further = exported(root.joinpath(*module.split("."))).get(name)
    return f"{module}.{name}" if further is None else source(root, further, name)


class Examples(Extension):
    """Reads `Example:` in docstrings as the section that mkdocstrings calls `Examples:`, which it shows as code."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Changes the head of the section."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
