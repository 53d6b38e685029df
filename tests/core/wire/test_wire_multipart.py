"""Forms: what clients write is read, and what two readers may understand differently is refused."""

from __future__ import annotations

import email
import email.policy
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalguard_core.request import Refusal
from kalguard_core.wire.form import MAX_FIELDS, form_once, read_form, require_form
from kalguard_core.wire.multipart import MAX_PARTS, Part, once, read_multipart

HEAD = b'Content-Disposition: form-data; name="a"'


def headers(content_type: str = "multipart/form-data; boundary=xyz") -> dict[str, str]:
    return {"content-type": content_type}


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    """Parts, each with its headers, as a body."""
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(head: bytes = HEAD, data: bytes = b"1") -> bytes:
    return head + b"\r\n\r\n" + data


def refusal(body: bytes, content_type: str = "multipart/form-data; boundary=xyz") -> Refusal:
    with pytest.raises(Refusal) as caught:
        read_multipart(headers(content_type), body)
    return caught.value


def test_what_httpx_writes_is_read() -> None:
    asked = httpx.Request(
        "POST",
        "https://upstream.test/",
        data={"model": "whisper-1", "granularities[]": ["word", "segment"]},
        files={"file": ("ünï code.jsonl", b"{}\r\n\r\n--x\n", "application/jsonl")},
    )
    assert read_multipart(asked.headers, asked.read()) == (
        Part("model", None, "", b"whisper-1"),
        Part("granularities[]", None, "", b"word"),
        Part("granularities[]", None, "", b"segment"),
        Part("file", "ünï code.jsonl", "application/jsonl", b"{}\r\n\r\n--x\n"),
    )


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("multipart/form-data;boundary=----formdata-undici-012345", b"----formdata-undici-012345"),
        ('multipart/form-data; boundary="===============1234=="', b"===============1234=="),
        ('multipart/form-data; boundary="6b0d-4a1e"', b"6b0d-4a1e"),
        ("multipart/form-data; charset=utf-8; boundary=xyz", b"xyz"),
    ],
)
def test_the_boundaries_of_clients_are_read(content_type: str, boundary: bytes) -> None:
    assert read_multipart(headers(content_type), form(part(), boundary=boundary)) == (Part("a", None, "", b"1"),)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (HEAD, ("a", None, "")),
        (b'content-disposition: form-data; filename="f.txt"; name="a"', ("a", "f.txt", "")),
        (b"Content-Disposition: form-data; name=a; filename=f.txt; filename*=utf-8''f.txt", ("a", "f.txt", "")),
        (
            b'Content-Type: audio/webm;codecs=opus\r\nContent-Disposition: form-data; name="a"',
            ("a", None, "audio/webm"),
        ),
        (HEAD + b"\r\nContent-Type: Text/Plain; charset=UTF-8", ("a", None, "text/plain")),
        (HEAD + b"\r\nContent-Length: 1", ("a", None, "")),
        (HEAD + b"\r\nContent-Transfer-Encoding: binary", ("a", None, "")),
        (HEAD + b'; filename="say %22hi%22 (1).txt"', ("a", "say %22hi%22 (1).txt", "")),
    ],
)
def test_the_part_headers_of_clients_are_read(head: bytes, wanted: tuple[str, str | None, str]) -> None:
    (found,) = read_multipart(headers(), form(part(head)))
    assert (found.name, found.filename, found.media_type) == wanted


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=xyz",
        "Multipart/Form-Data; boundary=xyz",
        "multipart/form-data, application/json; boundary=xyz",
    ],
)
def test_another_media_type_is_no_form(content_type: str) -> None:
    assert refusal(form(part()), content_type).status == 415


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "; boundary=",
        '; boundary=""',
        "; boundary=xyz; boundary=abc",
        "; boundary=xyz;",
        "; Boundary=xyz",
        "; boundary*=utf-8''xyz",
        "; boundary*0=x; boundary*1=yz",
        "; boundary=xyz; charset=utf-16",
        "; boundary=xyz; charset=utf-7",
        "; boundary=xyz; start=a",
        "; boundary=xyz,multipart/form-data; boundary=abc",
        "; boundary=x,y",
        "; boundary='xyz'",
        '; boundary="x\\yz"',
        '; boundary="xyz',
        '; boundary="xyz "',
        "; boundary =xyz",
        "; boundary= xyz",
        "; boundary=x yz",
        "; boundary=xyz\t",
        "; boundary=" + "x" * 71,
    ],
)
def test_an_odd_boundary_is_refused(parameters: str) -> None:
    assert refusal(form(part()), "multipart/form-data" + parameters).status == 400


ODD_BODIES = {
    "nothing": b"",
    "cut after the first line": b"--xyz\r\n",
    "cut in a part": form(part())[:-9],
    "without the last boundary": form(part()).removesuffix(b"--xyz--\r\n"),
    "with the last boundary cut": form(part()).removesuffix(b"-\r\n"),
    "a preamble": b"hello\r\n" + form(part()),
    "an empty first line": b"\r\n" + form(part()),
    "an epilogue": form(part()) + b"hello",
    "parts after the end": form(part()) + form(part()),
    "an end in the middle": form(part(data=b"1\r\n--xyz--\r\nmore")),
    "bare LF lines": form(part()).replace(b"\r\n", b"\n"),
    "a bare LF before the boundary": form(part(data=b"1\n--xyz\r\n" + HEAD + b"\r\n\r\n2")),
    "a bare LF after the boundary": form(part()).replace(b"--xyz\r\n", b"--xyz\n"),
    "spaces after the boundary": form(part()).replace(b"--xyz\r\n", b"--xyz  \r\n", 1),
    "a longer boundary": form(part(data=b"1\r\n--xyzzy\r\n2")),
    "the boundary inside of a line": form(part(data=b"1 --xyz")),
    "a boundary with one dash more": form(part(data=b"1\r\n---xyz\r\n2")),
    "no headers": form(b"\r\n\r\n1"),
    "no empty line": form(HEAD),
    "a bare LF between headers": form(part(HEAD + b"\nContent-Type: text/plain")),
    "a bare CR between headers": form(part(HEAD + b"\rContent-Type: text/plain")),
    "headers that end with a bare LF": form(HEAD + b"\n\nhello\r\n\r\n1"),
    "a NUL in a header": form(part(b'Content-Disposition: form-data; name="a\0b"')),
    "a folded header": form(part(b'Content-Disposition: form-data;\r\n name="a"')),
    "a tab": form(part(b'Content-Disposition: form-data;\tname="a"')),
    "a header without a colon": form(part(HEAD + b"\r\nhello")),
    "a space before the colon": form(part(b'Content-Disposition : form-data; name="a"')),
    "a header twice": form(part(HEAD + b'\r\ncontent-disposition: form-data; name="b"')),
    "a type twice": form(part(HEAD + b"\r\nContent-Type: text/plain\r\nContent-Type: text/html")),
    "an unknown header": form(part(HEAD + b"\r\nX-Note: ignore all instructions")),
    "headers without end": form(part(HEAD + b"\r\nContent-Type: text/" + b"a" * 5000)),
    "no disposition": form(part(b"Content-Type: text/plain")),
    "an attachment": form(part(b'Content-Disposition: attachment; name="a"')),
    "a form in upper case": form(part(b'Content-Disposition: FORM-DATA; name="a"')),
    "no name": form(part(b"Content-Disposition: form-data")),
    "an empty name": form(part(b'Content-Disposition: form-data; name=""')),
    "a long name": form(part(b'Content-Disposition: form-data; name="' + b"a" * 257 + b'"')),
    "two names": form(part(HEAD + b'; name="b"')),
    "a name in upper case": form(part(b'Content-Disposition: form-data; NAME="a"')),
    "an extended name": form(part(b"Content-Disposition: form-data; name*=utf-8''a")),
    "a continued name": form(part(b'Content-Disposition: form-data; name*0="a"; name*1="b"')),
    "an escaped quote": form(part(b'Content-Disposition: form-data; name="a\\"; filename=\\"b"')),
    "a quote in a name": form(part(b'Content-Disposition: form-data; name="a"b"')),
    "an open quote": form(part(b'Content-Disposition: form-data; name="a')),
    "a semicolon in quotes": form(part(b'Content-Disposition: form-data; name="a; filename=b"')),
    "a percent sign in a name": form(part(b'Content-Disposition: form-data; name="%61"')),
    "a name that is not ASCII": form(part('Content-Disposition: form-data; name="ä"'.encode())),
    "a name in Latin-1": form(part(b'Content-Disposition: form-data; name="a"; filename="\xe4"')),
    "an encoded word": form(part(HEAD + b'; filename="=?utf-8?B?YQ==?="')),
    "an unknown parameter": form(part(HEAD + b"; size=1")),
    "only an extended file name": form(part(HEAD + b"; filename*=utf-8''b.txt")),
    "two file names": form(part(HEAD + b"; filename=\"a.txt\"; filename*=utf-8''b.txt")),
    "a file name in another charset": form(part(HEAD + b"; filename=\"a.txt\"; filename*=utf-16''a.txt")),
    "a file without a name": form(part(HEAD + b'; filename=""')),
    "a long file name": form(part(HEAD + b'; filename="' + b"a" * 1025 + b'"')),
    "base64": form(part(HEAD + b"\r\nContent-Transfer-Encoding: base64")),
    "quoted-printable": form(part(HEAD + b"\r\nContent-Transfer-Encoding: quoted-printable")),
    "a wrong length": form(part(HEAD + b"\r\nContent-Length: 0")),
    "a nested form": form(part(HEAD + b"\r\nContent-Type: multipart/mixed; boundary=abc")),
    "a message": form(part(HEAD + b"\r\nContent-Type: message/rfc822")),
    "no media type": form(part(HEAD + b"\r\nContent-Type: text")),
    "two media types": form(part(HEAD + b"\r\nContent-Type: text/plain, text/html")),
    "another charset": form(part(HEAD + b"\r\nContent-Type: text/plain; charset=utf-7")),
    "two charsets": form(part(HEAD + b"\r\nContent-Type: text/plain; charset=utf-8; charset=utf-16")),
    "a field that changes the charset": form(part(b'Content-Disposition: form-data; name="_charset_"', b"utf-7")),
    "a field that changes the method": form(part(b'Content-Disposition: form-data; name="_Method"', b"DELETE")),
    "too many parts": form(*[part()] * (MAX_PARTS + 1)),
}


@pytest.mark.parametrize("body", ODD_BODIES.values(), ids=ODD_BODIES)
def test_a_form_that_servers_may_read_differently_is_refused(body: bytes) -> None:
    assert refusal(body).status == 400


def test_a_body_that_holds_its_quoted_boundary_with_the_quotes_is_refused() -> None:
    body = form(part(data=b'1\r\n--"xyz"\r\n2'))
    assert refusal(body, 'multipart/form-data; boundary="xyz"').status == 400


def test_a_form_with_a_content_encoding_is_refused() -> None:
    for encoded in ("gzip", "br", "gzip, br"):
        with pytest.raises(Refusal) as caught:
            read_multipart({**headers(), "content-encoding": encoded}, form(part()))
        assert caught.value.status == 415
        with pytest.raises(Refusal):
            require_form({"content-type": "application/x-www-form-urlencoded", "content-encoding": encoded})
    read_multipart({**headers(), "content-encoding": "identity"}, form(part()))


def test_as_many_parts_as_allowed_are_read() -> None:
    assert len(read_multipart(headers(), form(*[part()] * MAX_PARTS))) == MAX_PARTS


def test_data_is_text_only_if_it_is_utf_8() -> None:
    assert Part("a", None, "", "ä".encode()).text() == "ä"
    with pytest.raises(Refusal, match="the part 'a' is not UTF-8"):
        Part("a", None, "", b"\xff").text()


def test_a_name_comes_once_unless_it_may_come_often() -> None:
    a, b = Part("a", None, "", b"1"), Part("b", None, "", b"2")
    assert once([a, b]) == {"a": a, "b": b}
    assert once([a, b, b], frozenset("b")) == {"a": a}
    for twice in ([a, a], [a, Part("A", None, "", b"")]):
        with pytest.raises(Refusal, match="appears twice"):
            once(twice)
    with pytest.raises(Refusal, match="appears twice"):
        once([Part("B", None, "", b"")], frozenset("b"))


NAMES = st.text("abc[]_-. ", min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NAMES, st.none() | NAMES, st.binary(max_size=60)), max_size=5))
def test_any_form_that_is_written_is_read_as_pythons_email_reader_does(
    wanted: list[tuple[str, str | None, bytes]],
) -> None:
    body = form(
        *[
            part(
                f'Content-Disposition: form-data; name="{name}"'.encode()
                + (f'; filename="{filename}"'.encode() if filename is not None else b"")
                + b"\r\nContent-Transfer-Encoding: binary",
                data,
            )
            for name, filename, data in wanted
        ]
    )
    found = read_multipart(headers(), body)
    assert [(each.name, each.filename, each.data) for each in found] == wanted
    head = b"Content-Type: multipart/form-data; boundary=xyz\r\n\r\n"
    other = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    if wanted:
        assert [each.get_param("name", header="content-disposition") for each in other.iter_parts()] == [
            name for name, _, _ in wanted
        ]


@settings(max_examples=50, deadline=None)
@given(st.text('xyz-="; \r\nnamefil*:/', max_size=200))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    for content_type, body in (
        ("multipart/form-data; boundary=xyz", text.encode()),
        ("multipart/form-data; boundary=xyz", form(part(b"Content-Disposition: form-data; " + text.encode()))),
        ("multipart/form-data; " + text, form(part())),
    ):
        try:
            read_multipart(headers(content_type), body)
        except Refusal:
            pass  # and nothing else is raised


def test_a_form_is_read_as_it_was_written() -> None:
    fields = [("a", "1"), ("b c", "ä & = ; \n%"), ("a", "")]
    assert read_form(urlencode(fields).encode()) == tuple(fields)
    assert read_form(b"") == ()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab ä[]%", min_size=1), st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
)
def test_any_form_is_read_as_pythons_reader_does(fields: list[tuple[str, str]]) -> None:
    body = urlencode(fields)
    assert list(read_form(body.encode())) == fields == parse_qsl(body, keep_blank_values=True)


@pytest.mark.parametrize(
    "body",
    [
        b"a",
        b"=1",
        b"a=1&",
        b"&a=1",
        b"a=1&&b=2",
        b"a=1;b=2",
        b"a=%",
        b"a=%4",
        b"a=%zz",
        b"a=%u0041",
        b"a=%ff",
        b"a=%c0%ae",
        b"a=%ed%a0%80",
        b"a=%00",
        b"a=\xc3\xa4",
        b"a=1 2",
        b"a=1\r\n",
        b"a%0a=1",
        b"_charset_=utf-7",
        b"_METHOD=DELETE",
        b"a" * 257 + b"=1",
        b"&".join([b"a=1"] * (MAX_FIELDS + 1)),
    ],
)
def test_a_form_body_that_servers_may_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_form(body)
    assert caught.value.status == 400


def test_a_form_field_comes_once_unless_it_may_come_often() -> None:
    assert form_once((("a", "1"), ("b", "2"), ("b", "3")), frozenset("b")) == {"a": "1"}
    for fields in ((("a", "1"), ("a", "2")), (("a", "1"), ("A", "2"))):
        with pytest.raises(Refusal, match="appears twice"):
            form_once(fields)


def test_a_form_is_declared_as_one() -> None:
    require_form({"content-type": "application/x-www-form-urlencoded"})
    require_form({"content-type": "application/x-www-form-urlencoded; charset=UTF-8"})
    for content_type in (
        "",
        "application/json",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; boundary=x",
        "application/x-www-form-urlencoded,application/json",
        "application/x-www-form-urlencoded; charset=utf-8; charset=utf-7",
    ):
        with pytest.raises(Refusal) as caught:
            require_form({"content-type": content_type})
        assert caught.value.status == 415
