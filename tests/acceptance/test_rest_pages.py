"""The pages of the API show without a network."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.rest import Rest, open_rest


@pytest.fixture
async def rest(sqlite_url: str) -> AsyncIterator[Rest]:
    async with open_rest(sqlite_url) as rest:
        yield rest


async def test_everything_that_the_page_loads_is_here(rest: Rest) -> None:
    for path in ("/docs", "/docs/"):
        page = await rest.get(path)
        assert page.status == 200
        assert page.headers["content-type"].startswith("text/html")
        text = page.body.decode()
        loaded = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", text)
        kinds = {".js", ".css", ".png", ".json"}
        assert {url[url.rindex(".") :] for url in loaded} == kinds, loaded
        for url in loaded:
            assert url.startswith("/"), url
            assert not url.startswith("//"), url
            answer = await rest.get(url)
            assert (answer.status, len(answer.body) > 500) == (200, True), url
        assert "://" not in text
        assert '"validatorUrl": null' in text


async def test_the_style_sheet_loads_nothing_from_elsewhere(rest: Rest) -> None:
    style = (await rest.get("/docs/assets/swagger-ui.css")).body.decode()
    assert not re.findall(r"@import|url\((?![\"']?data:)", style)


@pytest.mark.parametrize("path", ["/docs/assets/nothing.js", "/docs/assets/../app.py", "/docs/assets"])
async def test_an_asset_that_is_not_there(rest: Rest, path: str) -> None:
    assert (await rest.get(path)).code == "no_such_path"
