"""Links of the built book: those within it, those to files of the repository, and those to other hosts.

python book/links.py           ask every other host that the book links to; needs the network
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import requests
import yaml
from markup import Markup, parse

ROOT = Path(__file__).resolve().parent.parent
HTML = Path("build/html")
# How GitHub, Binder and Colab name a file of the repository.
_FILE = re.compile(r"(?:/(?:blob|edit|tree|raw)/[^/]+/|[?&]urlpath=(?:lab/)?tree/)(?P<path>[^?#]+)")
# Publishers turn programs away from the page that a DOI leads to; the resolver itself tells whether there is one.
_RESOLVERS = ("doi.org", "dx.doi.org")
_SECONDS = 30


def internal_problems(pages: Mapping[str, Markup], html: Path) -> Iterator[str]:
    """Yield each link within the book whose file or place does not exist.

    Parameters
    ----------
    pages
        Pages by their paths within the book.
    html
        Folder of the built book.
    """
    places = {name: set(page.ids) for name, page in pages.items()}
    for name, page in pages.items():
        for tag, address in page.addresses():
            target = urlsplit(address)
            if target.scheme or target.netloc:
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(target.path)))
            path = name if not target.path else path
            fragment = unquote(target.fragment)
            if not (html / path).is_file():
                yield f"{name}: <{tag}> leads to {address}, which is no file of the book"
            elif fragment and path in places and fragment not in places[path]:
                yield f"{name}: <{tag}> leads to {address}, but {path} has no such place"


def repository_problems(pages: Mapping[str, Markup], url: str, files: Path = ROOT) -> Iterator[str]:
    """Yield each link to a file of the repository that is not there.

    Parameters
    ----------
    pages
        Pages by their paths within the book.
    url
        Of the repository.
    files
        Folder of the repository.
    """
    own = urlsplit(url).path
    for name, page in pages.items():
        for tag, address in page.addresses():
            match = _FILE.search(unquote(address)) if f"{own}/" in address else None
            if match and not (files / match["path"]).is_file():
                yield f"{name}: <{tag}> leads to {address}, but the repository has no {match['path']}"


def external(pages: Mapping[str, Markup], own: tuple[str, ...]) -> dict[str, str]:
    """Return the addresses of other hosts that pages link to, each with a page that does.

    Parameters
    ----------
    pages
        Pages by their paths within the book.
    own
        What addresses of the project itself begin with: its files are checked without the network.
    """
    return {
        urldefrag(address).url: name
        for name, page in sorted(pages.items())
        for tag, address in page.addresses()
        if tag == "a" and urlsplit(address).scheme in ("http", "https") and not address.startswith(own)
    }


def answer(address: str) -> str:
    """Return what is wrong with an address of another host; empty if it answers."""
    is_resolver = urlsplit(address).hostname in _RESOLVERS
    try:
        with requests.get(
            address,
            timeout=_SECONDS,
            stream=True,
            allow_redirects=not is_resolver,
            headers={"User-Agent": "Mozilla/5.0 (link check of a book)"},
        ) as reply:
            return "" if reply.ok else f"{reply.status_code} {reply.reason}"
    except requests.RequestException as error:
        return f"no answer ({type(error).__name__})"


def external_problems(wanted: Mapping[str, str], ask: Callable[[str], str] = answer) -> list[str]:
    """Return the addresses that do not answer, also when asked twice."""
    with ThreadPoolExecutor(8) as pool:
        found = {address for address, wrong in zip(wanted, pool.map(ask, wanted), strict=True) if wrong}
    again = {address: ask(address) for address in sorted(found)}
    return [f"{address}, of {wanted[address]}: {wrong}" for address, wrong in again.items() if wrong]


def built(html: Path) -> dict[str, Markup]:
    """Parse every page of the built book, but for a reader's own runs, which are as `perceptlib run` left them."""
    paths = [path for path in sorted(html.rglob("*.html")) if not path.is_relative_to(html / "_static")]
    return {path.relative_to(html).as_posix(): parse(path.read_text()) for path in paths}


def main() -> None:
    """Ask the other hosts.

    Raises
    ------
    SystemExit
        One of them has no such page, or there is no book.
    """
    os.chdir(ROOT)
    if not (HTML / "index.html").exists():
        raise SystemExit("there is no book whose links could be checked; run `make book`")
    config = yaml.safe_load(Path("_config.yml").read_text())
    url = config["repository"]["url"]
    own = (url, *(f"{config['launch_buttons'][name]}/" for name in ("binderhub_url", "colab_url")))
    wanted = external(built(HTML), own)
    if found := external_problems(wanted):
        raise SystemExit("\n".join([f"{len(found)} of {len(wanted)} links to other hosts are broken:", *found]))
    print(f"{len(wanted)} links to other hosts answer")


if __name__ == "__main__":
    main()
