"""GET and LIST: resourceVersion and resourceVersionMatch, pages, selectors, and what is refused with which words.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ (resource versions, retrieving large results sets in chunks);
KEP-365, KEP-2340; apimachinery/pkg/apis/meta/internalversion/validation.
"""

from __future__ import annotations

import pytest
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import GATES, PODS, WIDGETS, causes, names, pod, widget

from kcp.storage.interface import Revision


async def fill(api: Api, count: int = 4) -> list[str]:
    """Makes a-0, a-1 …; returns their resourceVersions."""
    made = [
        await api.made(WIDGETS, widget(f"a-{i}", {"labels": {"x": str(i % 2)}}, color="red" if i % 2 else "blue")) for i in range(count)
    ]
    return [str(obj["metadata"]["resourceVersion"]) for obj in made]


@pytest.mark.parametrize("match", ["", "&resourceVersionMatch=NotOlderThan"])
async def test_resource_version_0_and_any_older_one_give_the_latest_state(api: Api, match: str) -> None:
    revisions = await fill(api)
    for revision in ("0", revisions[0]):
        assert names(await api.get(f"{WIDGETS}?resourceVersion={revision}{match}")) == ["a-0", "a-1", "a-2", "a-3"]


async def test_exact_gives_the_state_at_that_version(api: Api) -> None:
    revisions = await fill(api)
    answer = await api.get(f"{WIDGETS}?resourceVersion={revisions[1]}&resourceVersionMatch=Exact")
    assert (names(answer), answer.revision) == (["a-0", "a-1"], revisions[1])


async def test_a_limit_with_a_version_and_no_match_rule_means_exact(api: Api) -> None:
    revisions = await fill(api)
    answer = await api.get(f"{WIDGETS}?resourceVersion={revisions[2]}&limit=2")
    assert (names(answer), answer.revision, answer.body["metadata"]["remainingItemCount"]) == (["a-0", "a-1"], revisions[2], 1)


async def test_a_list_at_resource_version_0_is_whole_whatever_its_limit(api: Api) -> None:
    await fill(api)
    answer = await api.get(f"{WIDGETS}?resourceVersion=0&limit=2")
    assert (names(answer), "continue" in answer.body["metadata"]) == (["a-0", "a-1", "a-2", "a-3"], False)


async def test_exact_below_the_compaction_is_gone(api: Api) -> None:
    revisions = await fill(api)
    await api.store.compact(Revision(int(revisions[3])))
    answer = await api.get(f"{WIDGETS}?resourceVersion={revisions[0]}&resourceVersionMatch=Exact")
    assert (answer.status, answer.body["reason"]) == (410, "Expired")
    assert answer.message == "The resourceVersion for the provided list is too old."


@pytest.mark.parametrize("match", ["", "&resourceVersionMatch=NotOlderThan", "&resourceVersionMatch=Exact"])
async def test_a_version_of_the_future_is_a_timeout_to_try_again(api: Api, match: str) -> None:
    revisions = await fill(api)
    answer = await api.get(f"{WIDGETS}?resourceVersion=99999999{match}")
    assert (answer.status, answer.body["reason"], answer.headers["retry-after"]) == (504, "Timeout", "1")
    assert answer.message == f"Timeout: Too large resource version: 99999999, current: {revisions[-1]}"
    assert answer.body["details"]["causes"] == [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("resourceVersionMatch=Exact", ["Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"]),
        ("resourceVersionMatch=NotOlderThan", ["Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"]),
        ("resourceVersion=0&resourceVersionMatch=Exact", ['Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"']),
        ("resourceVersion=1&resourceVersionMatch=Foo", ['Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""']),
        (
            "resourceVersionMatch=NotOlderThan&sendInitialEvents=true",
            [
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
                "Forbidden: sendInitialEvents is forbidden for list",
            ],
        ),
        (
            "resourceVersion=0&resourceVersionMatch=NotOlderThan&continue=abc",
            ["Forbidden: resourceVersionMatch is forbidden when continue is provided"],
        ),
    ],
)
async def test_combinations_that_make_no_sense_are_invalid_all_causes_at_once(api: Api, query: str, told: list[str]) -> None:
    answer = await api.get(f"{WIDGETS}?{query}")
    assert (answer.status, answer.body["details"]["kind"]) == (422, "ListOptions")
    assert [message for _, message in causes(answer)] == told
    assert answer.message.startswith('ListOptions.meta.k8s.io "" is invalid: ')


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (
            "resourceVersion=abc",
            'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
        ),
        (
            "resourceVersion=-1",
            'invalid resource version: resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        ("limit=foo", 'strconv.ParseInt: parsing "foo": invalid syntax'),
        ("timeoutSeconds=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("limit=%D9%A3", 'strconv.ParseInt: parsing "٣": invalid syntax'),
        ("limit=1_0", 'strconv.ParseInt: parsing "1_0": invalid syntax'),
        ("limit=9223372036854775808", 'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        pytest.param(f"timeoutSeconds={'9' * 400}", f'strconv.ParseInt: parsing "{"9" * 400}": value out of range', id="long"),
        ("fieldSelector=metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("labelSelector=!!x", "unable to parse requirement: found '!', expected: identifier"),
    ],
)
async def test_what_cannot_be_read_is_a_bad_request(api: Api, query: str, text: str) -> None:
    answer = await api.get(f"{WIDGETS}?{query}")
    assert (answer.status, answer.body["reason"], answer.message) == (400, "BadRequest", text)


async def test_a_continue_token_goes_with_no_other_version(api: Api) -> None:
    revisions = await fill(api)
    token = (await api.get(f"{WIDGETS}?limit=1")).body["metadata"]["continue"]
    answer = await api.get(f"{WIDGETS}?limit=1&continue={token}&resourceVersion={revisions[0]}")
    assert (answer.status, answer.message) == (400, "specifying resource version is not allowed when using continue")
    assert names(await api.get(f"{WIDGETS}?limit=1&continue={token}&resourceVersion=0")) == ["a-1"]


async def test_a_continue_token_that_nobody_gave_is_a_bad_request(api: Api) -> None:
    answer = await api.get(f"{WIDGETS}?continue=abc")
    assert answer.status == 400
    assert answer.message.startswith("invalid continue token: continue key is not valid: ")


async def test_an_expired_token_comes_back_with_one_that_goes_on_inconsistently(api: Api) -> None:
    await fill(api)
    token = (await api.get(f"{WIDGETS}?limit=2")).body["metadata"]["continue"]
    await api.delete(f"{WIDGETS}/a-2")
    await api.store.compact(Revision(api.store.statistics()["revision"]))
    expired = await api.get(f"{WIDGETS}?limit=2&continue={token}")
    assert (expired.status, expired.body["reason"]) == (410, "Expired")
    assert names(await api.get(f"{WIDGETS}?limit=2&continue={expired.body['metadata']['continue']}")) == ["a-3"]


@pytest.mark.parametrize("selector", ["labelSelector=x=1", "fieldSelector=spec.color=red", "fieldSelector=metadata.name!=a-0"])
async def test_remaining_item_count_is_left_out_with_a_selector(api: Api, selector: str) -> None:
    await fill(api)
    metadata = (await api.get(f"{WIDGETS}?limit=1&{selector}")).body["metadata"]
    assert metadata["continue"]
    assert "remainingItemCount" not in metadata


# --- field selectors ---


async def test_declared_fields_of_custom_kinds_select(api: Api) -> None:
    await fill(api)
    assert names(await api.get(f"{WIDGETS}?fieldSelector=spec.color=red")) == ["a-1", "a-3"]
    assert names(await api.get(f"{WIDGETS}?fieldSelector=spec.color!=red")) == ["a-0", "a-2"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"{WIDGETS}?fieldSelector=spec.size=1", "field label not supported: spec.size"),
        (f"{GATES}?fieldSelector=metadata.namespace=x", "field label not supported: metadata.namespace"),
        (f"{PODS}?fieldSelector=spec.nope=1", "field label not supported: spec.nope"),
        ("/api/v1/nodes?fieldSelector=metadata.namespace=x", "field label not supported: metadata.namespace"),
        (
            "/api/v1/configmaps?fieldSelector=data.x=1",
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
    ],
)
async def test_other_fields_are_a_bad_request(api: Api, path: str, text: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.message) == (400, text)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("spec.nodeName=n1", ["a"]),
        ("spec.nodeName=", ["b"]),
        ("spec.restartPolicy=Never", ["b"]),
        ("spec.schedulerName=default-scheduler", ["a", "b"]),
        ("spec.hostNetwork=true", ["b"]),
        ("spec.hostNetwork=false", ["a"]),
        ("status.phase=Pending,metadata.name!=a", ["b"]),
        ("status.podIP=", ["a", "b"]),
    ],
)
async def test_fields_of_pods_select(api: Api, selector: str, found: list[str]) -> None:
    await api.made(PODS, pod("a", nodeName="n1"))
    await api.made(PODS, pod("b", restartPolicy="Never", hostNetwork=True))
    assert names(await api.get(f"{PODS}?fieldSelector={selector}")) == found


async def test_an_absent_boolean_or_count_counts_as_false_or_zero(api: Api) -> None:
    for name, unschedulable in (("n1", True), ("n2", None)):
        await api.made("/api/v1/nodes", {"metadata": {"name": name}, "spec": {"unschedulable": unschedulable}})
    assert names(await api.get("/api/v1/nodes?fieldSelector=spec.unschedulable=false")) == ["n2"]
    assert names(await api.get("/api/v1/nodes?fieldSelector=spec.unschedulable=true")) == ["n1"]
    job = {
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]}}},
    }
    await api.made("/apis/batch/v1/namespaces/default/jobs", job)
    assert names(await api.get("/apis/batch/v1/jobs?fieldSelector=status.successful=0")) == ["j"]


async def test_namespaces_are_selected_by_phase_and_secrets_by_type(api: Api) -> None:
    await api.made("/api/v1/namespaces", {"metadata": {"name": "one"}})
    assert names(await api.get("/api/v1/namespaces?fieldSelector=status.phase=Active")) == ["one"]
    secrets = "/api/v1/namespaces/default/secrets"
    await api.made(secrets, {"metadata": {"name": "a"}, "stringData": {"k": "v"}})
    await api.made(secrets, {"metadata": {"name": "b"}, "type": "example.com/own"})
    assert names(await api.get(f"{secrets}?fieldSelector=type=Opaque")) == ["a"]
    assert names(await api.get(f"{secrets}?fieldSelector=type!=Opaque")) == ["b"]


# --- names ---


async def test_an_absent_object_is_named_in_the_status(api: Api) -> None:
    answer = await api.get(f"{WIDGETS}/nope")
    assert (answer.status, answer.message) == (404, 'widgets.example.com "nope" not found')
    assert answer.body["details"] == {"name": "nope", "group": "example.com", "kind": "widgets"}


async def test_the_watch_parameter_means_nothing_to_one_object(api: Api) -> None:
    made = await api.made(WIDGETS, widget("a"))
    assert (await api.get(f"{WIDGETS}/a?watch=true")).body == made


async def test_a_deprecated_version_warns_and_names_the_one_to_use(api: Api) -> None:
    answer = await api.get("/apis/example.com/v1beta1/widgets")
    assert answer.headers["warning"] == '299 - "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"'


async def test_exports_are_refused_as_they_are_no_more(api: Api) -> None:
    # test/integration/apiserver/export_test.go
    await api.made(WIDGETS, widget("a", color="red"))
    refused = await api.get(f"{WIDGETS}/a?export=true")
    assert (refused.status, refused.message) == (400, "the export parameter, deprecated since v1.14, is no longer supported")
    assert (await api.get(f"{WIDGETS}/a?export=false")).status == 200
