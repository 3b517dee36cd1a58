"""The one gate between text and HTML."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from model_provisioner.errors import printable
from model_provisioner.cli.report_page.markup import Markup, fill, joined


class Seen(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


@given(st.text(st.characters(codec=None)) | st.from_regex(r"[<>&\"'=/ a-z!\-\[\]\u202e\x00]{1,20}", fullmatch=True))
def test_text_stays_text_wherever_it_stands(text):
    found = fill("<p title=\"{text}\" class='{text}'>{text}</p>", text=text).text
    seen = Seen(found)
    assert seen.tags == [("p", [("title", printable(text)), ("class", printable(text))])]
    assert seen.text == printable(text)
    found.encode()


def test_what_would_turn_or_hide_text_is_shown():
    assert fill("{text}", text="a\u202eb\x1b[31m\n\udcff").text == r"a\u202eb\x1b[31m\n\udcff"


def test_markup_is_not_escaped_again():
    assert fill("<b>{name}</b>", name=fill("<i>{text}</i>", text="<")).text == "<b><i>&lt;</i></b>"
    assert joined([fill("{n}", n=1), Markup("<br>")], ", ").text == "1, <br>"


def test_braces_in_text_are_text():
    assert fill("{a}{b}", a="{b}", b="{a.__class__}").text == "{b}{a.__class__}"
