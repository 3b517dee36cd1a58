"""The XML of an S3 storage: pages and errors, and that nothing else is taken for one."""

from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.fetchers.s3.xml import Listed, is_region, read_page, read_error

NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
keys = st.text(st.characters(codec="utf-8"), min_size=1)


def page(*contents, more="", namespace=NAMESPACE):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{namespace}>{"".join(contents)}{more}</ListBucketResult>'.encode()


def contents(key, size=1, more=""):
    return f"<Contents><Key>{key}</Key><Size>{size}</Size>{more}</Contents>"


@pytest.mark.parametrize("namespace", ["", NAMESPACE, ' xmlns="http://storage.example/other"'])
def test_a_page(namespace):
    more = "<ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>"
    found = read_page(page(contents("a &amp; b", 7, more), contents(" c ", 0), namespace=namespace))
    assert found.objects == (
        Listed(key="a & b", size=7, etag='"e"', has_sha256=True),
        Listed(key=" c ", size=0, etag="", has_sha256=False),
    )
    assert found.after is None


def test_the_last_page_and_the_others():
    token = "<NextContinuationToken>a+b=</NextContinuationToken>"
    assert read_page(page(more=f"<IsTruncated>true</IsTruncated>{token}")).after == "a+b="
    assert read_page(page(more=f"<IsTruncated>false</IsTruncated>{token}")).after is None


@given(keys)
def test_keys_are_read_as_they_were_written(key):
    encoded = read_page(page("<EncodingType>url</EncodingType>", contents(quote_plus(key))))
    assert [each.key for each in encoded.objects] == [key]


@given(st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\ufffe\uffff"), min_size=1))
def test_also_where_the_storage_does_not_encode_them(key):
    assert [each.key for each in read_page(page(contents(escape(key)))).objects] == [key]


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><ListBucketResult><Name>&b;</Name></ListBucketResult>'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no element found: line 1, column 0"),
        (b"<a", "unclosed token: line 1, column 0"),
        (b"<Error><Code>x</Code></Error>", "<Error>"),
        (BOMB, "a declaration, a comment or CDATA"),
        (BOMB.decode().encode("utf-16"), "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"<ListBucketResult><!-- x --></ListBucketResult>", "a declaration, a comment or CDATA"),
        (page(contents("")), "an object without key or size"),
        (page(contents("x", "-1")), "an object without key or size"),
        (page(contents("x", "1" * 30)), "an object without key or size"),
        (page("<EncodingType>url</EncodingType>", contents("%FF")), "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (page(more="<IsTruncated>true</IsTruncated>"), "more to come, and no token to ask for it"),
    ],
)  # fmt: skip
def test_what_is_no_page(body, why):
    with pytest.raises(ValueError) as caught:
        read_page(body)
    assert str(caught.value) == why


@given(st.binary() | st.text().map(str.encode) | st.from_regex(r"<(ListBucketResult|Error)>.*").map(str.encode))
def test_no_body_is_a_crash(body):
    read_error(body)
    try:
        read_page(body)
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("body", "code", "region"),
    [
        (b"<Error><Code>NoSuchKey</Code><Message>m</Message></Error>", "NoSuchKey", ""),
        (b"<Error><Code>X</Code><Region>eu-west-1</Region></Error>", "X", "eu-west-1"),
        (b"<Error><Code>\x1b[1m a b</Code><Region>evil.example</Region></Error>", "", ""),
        (b"<Error><Code>a b</Code><Region>evil.example</Region></Error>", "", ""),
        (b"<html>NoSuchKey</html>", "", ""),
        (b"", "", ""),
    ],
)
def test_why_a_storage_says_no(body, code, region):
    assert read_error(body) == (code, region)


@pytest.mark.parametrize("name", ["us-east-1", "us-gov-west-1", "garage", "auto", "cn-north-1"])
def test_regions(name):
    assert is_region(name)


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "A", "a--b", "-a", "a\n", "é"])
def test_what_is_no_region(name):
    assert not is_region(name)
