"""The short lines and small tables that objects show of themselves."""

from __future__ import annotations

from tlx.reprs import ROWS, html_table, listed, readable, shortened


def test_long_names_lose_their_middle():
    assert shortened("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"
    assert shortened("as it is") == "as it is"


def test_a_name_is_one_line():
    assert shortened("two\nlines\tof\x0btext") == "two lines of text"


def test_lists_say_how_many_more():
    assert listed(["a", "b"]) == "a, b"
    assert listed(range(10), most=2) == "0, 1 and 8 more"


def test_everything_in_a_table_is_escaped():
    hostile = "<script>alert('1')</script>"
    table = html_table(hostile, [hostile], [[hostile]])
    assert "<script" not in table
    assert table.count("&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;") == 3


def test_long_tables_are_cut():
    table = html_table("numbers", ["n"], ([n] for n in range(1000)))
    assert table.count("<tr>") == ROWS + 2
    assert "and 970 more" in table


def test_a_name_that_is_no_text_is_escaped():
    assert readable("caf\udce9.png") == r"caf\xe9.png"
    assert readable("café.png") == "café.png"
