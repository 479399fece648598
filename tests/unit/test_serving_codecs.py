"""Envelopes of requests and answers, without a server."""

import base64
import json
from http import HTTPStatus
from typing import Any

import pytest

from dogbreeds.serving import codecs
from dogbreeds.serving.codecs import RequestError

TEXT = base64.b64encode(b"photo").decode()
ANSWER: dict[str, Any] = {
    "predicted_label": "069",
    "top_k": [
        {"label": "069", "class_name": "French_bulldog", "probability": 0.9},
        {"label": "100", "class_name": "Lowchen", "probability": 0.1},
    ],
}
BAD = RequestError(HTTPStatus.BAD_REQUEST, "not a photo", "a photo", "something else")


def read(body: bytes, content_type: str = "", accept: str = "", top_k: str = "") -> codecs.Request:
    headers = {"content-type": content_type, "accept": accept}
    return codecs.read_request(body, headers, {"top_k": top_k} if top_k else {}, codecs.JSON)


def refused(*arguments: Any, **named: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        read(*arguments, **named)
    return raised.value


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "IMAGE/PNG; q=1", "", "application/x-image"]
)
def test_a_photo_is_its_own_envelope(content_type: str) -> None:
    request = read(b"photo", content_type)
    assert request == codecs.Request([b"photo"], True, codecs.JSON, [codecs.DEFAULT_TOP_K])


@pytest.mark.parametrize(
    "text", [TEXT, f"data:image/jpeg;base64,{TEXT}", f"{TEXT[:3]}\n {TEXT[3:]}"]
)
def test_json_carries_base64(text: str) -> None:
    assert read(json.dumps({"image": text}).encode(), "application/json").photos == [b"photo"]


def test_json_carries_several_photos_and_keeps_the_good_ones() -> None:
    request = read(json.dumps({"images": [TEXT, 7, TEXT]}).encode(), "application/json")
    assert not request.single
    first, bad, last = request.photos
    assert (first, last) == (b"photo", b"photo")
    assert isinstance(bad, RequestError) and bad.got == "a number"


def test_json_lines_skip_empty_lines_and_answer_in_kind() -> None:
    line = json.dumps({"image": TEXT}).encode()
    request = read(line + b"\n\n" + line + b"\r\n", "application/jsonlines")
    assert request.photos == [b"photo", b"photo"]
    assert request.accept == codecs.JSON_LINES


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (b"", "something else"),
        (b"{", "something else"),
        (b"\xff\xff", "something else"),
        (b"[" * 200_000, "something else"),
        (b"1" * 10_000, "something else"),
        (b"[]", "a list"),
        (b"null", "null"),
        (b"{}", "an empty object"),
        (b'{"photo": 1}', "an object with 'photo'"),
        (b'{"image": null}', "null"),
        (b'{"image": true}', "a boolean"),
        (b'{"image": "a"}', "something else"),
        ('{"image": "äö"}'.encode(), "something else"),
        (b'{"images": []}', "a list"),
        (b'{"images": "x"}', "a string"),
    ],
)
def test_what_is_not_our_json_gets_400_and_is_told_what_came(body: bytes, got: str) -> None:
    error = refused(body, "application/json")
    assert error.status == 400
    assert error.got.startswith(got)


def test_too_many_photos_get_413() -> None:
    assert refused(json.dumps({"images": [TEXT] * 1001}).encode(), "application/json").status == 413
    assert refused(b'{"image": ""}\n' * 1001, "application/jsonlines").status == 413


def test_unknown_types_get_415_and_406() -> None:
    assert refused(b"", "text/html").status == 415
    assert refused(b"", accept="text/html, application/pdf").status == 406


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", codecs.JSON),
        ("*/*", codecs.JSON),
        ("application/*", codecs.JSON),
        ("text/csv", codecs.CSV),
        ("text/*", codecs.CSV),
        ("text/html, text/csv;q=0.5", codecs.CSV),
        ("text/csv;q=0.5, application/json", codecs.JSON),
        ("application/json;q=0, text/csv", codecs.CSV),
        ("application/x-ndjson", codecs.JSON_LINES),
        ("text/csv;q=high, */*", codecs.JSON),
    ],
)
def test_accept_is_negotiated_by_order_and_weight(header: str, chosen: str) -> None:
    assert read(b"", accept=header).accept == chosen


@pytest.mark.parametrize("top_k", ["0", "-1", "1.5", "many", "99999", "٣"])
def test_an_impossible_top_k_gets_400(top_k: str) -> None:
    assert refused(b"", top_k=top_k).status == 400


def test_one_photo_is_answered_by_one_object_and_several_by_a_list() -> None:
    single = codecs.Request([b""], True, codecs.JSON, [2] * 2)
    several = codecs.Request([b"", b""], False, codecs.JSON, [2] * 2)
    assert json.loads(codecs.write_answers(single, [ANSWER])) == ANSWER
    predictions = json.loads(codecs.write_answers(several, [ANSWER, BAD]))["predictions"]
    assert predictions == [ANSWER, BAD.to_dict()]


def test_json_lines_keep_one_line_a_photo() -> None:
    request = codecs.Request([b"", b""], False, codecs.JSON_LINES, [2] * 2)
    lines = codecs.write_answers(request, [BAD, ANSWER]).splitlines()
    assert [json.loads(line) for line in lines] == [BAD.to_dict(), ANSWER]


def test_csv_has_three_columns_for_each_of_the_top_k() -> None:
    request = codecs.Request([b""], True, codecs.CSV, [2])
    text = codecs.write_answers(request, [ANSWER]).decode()
    assert text == "069,French_bulldog,0.9,100,Lowchen,0.1\n"


@pytest.mark.parametrize(
    ("accept", "answers"), [(codecs.CSV, [ANSWER, BAD]), (codecs.JSON, [BAD, BAD])]
)
def test_a_request_fails_where_its_type_has_no_place_for_an_error_or_all_fail(
    accept: str, answers: list[Any]
) -> None:
    with pytest.raises(RequestError):
        codecs.write_answers(codecs.Request([b"", b""], False, accept, [2] * 2), answers)


@pytest.mark.parametrize("content_type", ["image/jpg", "image/x-png", "binary/octet-stream"])
def test_any_type_of_image_is_a_photo(content_type: str) -> None:
    assert read(b"photo", content_type).photos == [b"photo"]


def test_base64_may_be_url_safe_and_unpadded() -> None:
    for photo in (b"\xff\xef\xbe", b"\xfb\xff", b"\xff"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(photo).decode()
            for sent in (text, text.rstrip("=")):
                body = json.dumps({"image": sent}).encode()
                assert read(body, "application/json").photos == [photo]


def test_top_k_may_stand_in_the_json_and_precedes_the_query() -> None:
    one = read(json.dumps({"image": TEXT, "top_k": 3}).encode(), "application/json", top_k="4")
    assert one.top_k == [3]
    several = read(json.dumps({"images": [TEXT, TEXT], "top_k": "2"}).encode(), "application/json")
    assert several.top_k == [2, 2]
    lines = json.dumps({"image": TEXT}) + "\n" + json.dumps({"image": TEXT, "top_k": 7})
    assert read(lines.encode(), "application/jsonlines", top_k="4").top_k == [4, 7]


@pytest.mark.parametrize("name", ["image", "images", "instances"])
def test_unknown_keys_are_named_with_the_known_ones(name: str) -> None:
    value = TEXT if name == "image" else [TEXT]
    error = refused(json.dumps({name: value, "topk": 3}).encode(), "application/json")
    assert (error.status, error.expected, error.got) == (
        400,
        f"the keys {name}, top_k",
        "also topk",
    )


@pytest.mark.parametrize("value", [0, True, None, 1.5, [3], "many"])
def test_an_impossible_top_k_in_the_json_gets_400(value: object) -> None:
    body = json.dumps({"image": TEXT, "top_k": value}).encode()
    assert refused(body, "application/json").status == 400


def test_tensorflow_servings_shape_is_understood() -> None:
    body = json.dumps({"instances": [{"b64": TEXT}, TEXT, {"b65": TEXT}]}).encode()
    first, second, bad = read(body, "application/json").photos
    assert (first, second) == (b"photo", b"photo")
    assert isinstance(bad, RequestError)


def test_a_class_name_that_is_no_utf_8_can_be_written() -> None:
    odd = {"top_k": [{"label": "1", "class_name": "caf\udce9", "probability": 1.0}]}
    text = codecs.write_answers(codecs.Request([b""], True, codecs.CSV, [1]), [odd])
    assert text == b"1,caf?,1.0\n"


def test_a_query_parameter_without_effect_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="no query parameter but top_k, got topk") as refused:
        codecs.read_request(b"photo", {}, {"topk": "3", "top_k": "2"}, codecs.JSON)
    assert refused.value.status == HTTPStatus.BAD_REQUEST
