"""What an endpoint slice lists, and the client of what stands behind an entry."""

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.asgi import App
from kcp.apiserver.request import Request, Response
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.controller.endpoints import endpoint_urls, view_of
from kcp.registry.backend import UserInfo


@pytest.mark.parametrize("found", [{}, {"status": {}}, {"status": {"endpoints": []}}, {"status": {"endpoints": [{}]}}])
def test_a_slice_without_endpoints_lists_none(found: JSONObject) -> None:
    assert endpoint_urls(found) == []


def test_endpoints_come_in_order_and_once() -> None:
    urls = ["https://two/services/x", "https://one/services/x", "https://two/services/x"]
    assert endpoint_urls({"status": {"endpoints": [{"url": url} for url in urls]}}) == sorted(set(urls))


@pytest.mark.parametrize("end", ["", "/"])
def test_a_view_is_read_at_all_consumers_and_written_at_one(end: str) -> None:
    async def nothing(req: Request) -> Response:
        raise AssertionError(req)

    client = Client(AsgiTransport(App(nothing), UserInfo("anna", ())), "/clusters/root:provider", clock=VirtualClock())
    view = view_of(client, f"https://kcp.test:6443/services/apiexport/33bab531/widgets{end}")
    assert view.base_path == "/services/apiexport/33bab531/widgets/clusters/*"
    assert view.cluster("2x7k").base_path == "/services/apiexport/33bab531/widgets/clusters/2x7k"
