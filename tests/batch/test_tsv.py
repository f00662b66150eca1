import io
import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from semantic_service.batch.errors import BatchError, RowError
from semantic_service.batch.lines import MAX_ROW_BYTES, Lines
from semantic_service.batch.tables import JUDGEMENT_COLUMNS
from semantic_service.batch.tsv import Dialect, TsvTable

ENCODINGS = ("utf-8", "gb18030")
BATCH_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\0": "\\0"}  # mysql --batch
OUTFILE_ESCAPES = {"\\": "\\\\", "\t": "\\\t", "\n": "\\\n", "\0": "\\0"}  # SELECT ... INTO OUTFILE
BACKSLASH_TRAILS = "籠誠乗"  # in GB18030 the second byte of 籠 and 乗 is a backslash's

newlines = st.sampled_from([b"\n", b"\r\n"])
fields = st.binary(max_size=6).map(lambda field: re.sub(rb"[\t\n]", b"", field))
tables = st.integers(1, 4).flatmap(lambda columns: st.lists(st.tuples(*[fields] * columns), max_size=6))
soup = st.lists(
    st.sampled_from([b"a", b"\t", b"\n", b"\r\n", b"\\", b"\\\n", b"\\\t", b"\x81", b"\xff", "籠".encode("gb18030")]), max_size=30
).map(b"".join)
texts = st.text(max_size=8) | st.text(f"\\\t\n\r\0N{BACKSLASH_TRAILS}", max_size=8)


class Reader:
    """A dump in memory, a row at a time."""

    def __init__(self, content, text_column="text", **dialect):
        self.stream = io.BytesIO(content)
        table = TsvTable(self.stream, Dialect(text_column, **dialect))
        self.layout, self.start = table.layout, table.start
        self._lines = Lines(self.stream, self.layout.dialect.open_end)

    def rows(self, start):
        self.stream.seek(start)
        while (line := self._lines._line()) is not None:
            yield from self.layout.rows([line])

    def header_out(self):
        return self.layout.header_out()

    def row_out(self, row, outcome):
        return self.layout._row_out(row, outcome)


def reader(content, text_column="text", **dialect):
    return Reader(content, text_column, **dialect)


def read(content, **dialect):
    source = reader(content, **dialect)
    return list(source.rows(source.start))


def read_texts(content, **dialect):
    return [str(row.text) if isinstance(row.text, RowError) else row.text for row in read(content, **dialect)]


def escaped(text, escapes):
    return "".join(escapes.get(character, character) for character in text)


@pytest.fixture(scope="module")
def judgement(moderator):
    return moderator.judge("来赌一把")


@given(table=tables, newline=newlines, is_ended=st.booleans(), mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
@example(table=[(b"a\r",)], newline=b"\n", is_ended=True, mark=b"")
def test_rows_pass_through_byte_for_byte(judgement, table, newline, is_ended, mark):
    header = b"\t".join([b"text", b"id", b"board", b"author"][: len(table[0]) if table else 1])
    lines = [mark + header, *(b"\t".join(row) for row in table)]
    is_ended = is_ended or not table or not lines[-1] or lines[-1].endswith(b"\r")
    source = reader(newline.join(lines) + (newline if is_ended else b""))
    out = [source.header_out(), *(source.row_out(row, judgement) for row in source.rows(source.start))]
    judged = b"\tviolation\t0.9998\t0.0002\t0.0000\t0.9998\tblock\tfalse\tmodel\ttiny-1\t" + newline
    assert out == [mark + header + b"\t" + "\t".join(JUDGEMENT_COLUMNS).encode() + newline, *(line + judged for line in lines[1:])]


@given(body=soup | st.binary(max_size=60))
@example(body=b"a")
def test_one_row_comes_out_for_each_row_whatever_it_holds(judgement, body):
    content = b"id\ttext\n" + body
    source = reader(content)
    rows = list(source.rows(source.start))
    assert len(rows) == len(re.findall(rb"[^\n]*\n|[^\n]+\Z", body))
    for row in rows:
        out = source.row_out(row, row.text if isinstance(row.text, RowError) else judgement)
        assert len(out.split(b"\t")) == 2 + len(JUDGEMENT_COLUMNS)
        assert out.count(b"\n") == 1


@given(body=soup, mysql=st.booleans(), encoding=st.sampled_from(ENCODINGS))
@example(body=b"1\ta\\\n", mysql=True, encoding="utf-8")
def test_reading_may_go_on_behind_any_row(body, mysql, encoding):
    content = b"id\ttext\n" + body
    source = reader(content, mysql=mysql, encoding=encoding)
    rows, ends = [], [source.start]
    for row in itertools.islice(source.rows(source.start), len(content)):
        rows.append(row)
        ends.append(source.stream.tell())
    assert ends == sorted(set(ends))
    assert ends[-1] == len(content)
    for number, end in enumerate(ends):
        assert list(map(repr, source.rows(end))) == list(map(repr, rows[number:]))


@given(body=soup, mysql=st.booleans(), encoding=st.sampled_from(ENCODINGS))
@example(body=b"1\ta\\", mysql=True, encoding="utf-8")
def test_what_comes_out_can_be_read_again(judgement, body, mysql, encoding):
    source = reader(b"id\ttext\n" + body, mysql=mysql, encoding=encoding)
    rows = list(source.rows(source.start))
    out = [source.header_out(), *(source.row_out(row, row.text if isinstance(row.text, RowError) else judgement) for row in rows)]
    again = read(b"".join(out), mysql=mysql, encoding=encoding)
    assert [row.fields[:2] for row in again] == [row.fields for row in rows]
    assert not [row for row in again if "wrong_columns" in str(row.text)]


@pytest.mark.parametrize("escapes", [BATCH_ESCAPES, OUTFILE_ESCAPES], ids=["batch", "outfile"])
@given(rows=st.lists(st.tuples(texts, texts), max_size=5), encoding=st.sampled_from(ENCODINGS))
@example(rows=[("1", "籠"), ("籠", "2"), ("3", "好")], encoding="gb18030")
@example(rows=[("1", "\n")], encoding="utf-8")
def test_mysqls_escapes_are_undone(judgement, escapes, rows, encoding):
    lines = ["id\ttext", *("\t".join(escaped(field, escapes) for field in row) for row in rows)]
    source = reader("".join(f"{line}\n" for line in lines).encode(encoding), mysql=True, encoding=encoding)
    found = list(source.rows(source.start))
    assert [row.text for row in found] == [text for _, text in rows]
    judged = b"".join(source.row_out(row, judgement) for row in found).decode(encoding)
    assert judged.count("violation") == len(rows)
    assert all(f"{line}\tviolation" in judged for line in lines[1:])


@pytest.mark.parametrize(
    ("field", "text"),
    [(r"a\tb\nc\\d", "a\tb\nc\\d"), (r"\\n", r"\n"), (r"100\%", "100%"), (r"\0\b\Z\r", "\0\b\x1a\r"), ("\\\\N", r"\N"), (r"a\N", "aN")],
)
def test_an_escape_is_read_as_mysql_reads_it(field, text):
    assert read_texts(f"text\n{field}".encode(), mysql=True) == [text]


def test_null_is_no_text():
    assert read_texts(b"text\n\\N\n", mysql=True) == ["null_text: the text is NULL"]


def test_without_mysql_a_backslash_is_a_backslash():
    assert read_texts(b"text\n\\N\na\\tb\nc\\\n") == ["\\N", "a\\tb", "c\\"]


@pytest.mark.parametrize("last", [b"a\\\n", b"a\\", b"a\\\\\n", b"a\\\r\n"])
def test_a_dump_may_end_in_a_backslash(last):
    assert len(list(itertools.islice(reader(b"text\n" + last, mysql=True).rows(5), 2))) == 1


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(lines=st.lists(texts.map(lambda text: re.sub(r"[\t\r\n]", "", text)), min_size=1))
def test_texts_are_read_in_their_encoding(encoding, lines):
    content = "".join(f"{line}\n" for line in ["正文", *lines]).encode(encoding)
    assert read_texts(content, text_column="正文", encoding=encoding) == lines


@pytest.mark.parametrize(
    ("encoding", "bad"), [("utf-8", "好".encode("gb18030")), ("utf-8", b"\xed\xa0\x80"), ("gb18030", b"\xff"), ("gb18030", b"\x81")]
)
def test_bytes_that_are_no_text_are_an_error_of_their_row_alone(encoding, bad):
    source = reader(b"text\tid\na" + bad + b"\t1\nb\t2\n", encoding=encoding)
    first, second = source.rows(source.start)
    assert str(first.text) == f"bad_encoding: not {encoding} at byte 1 of the text"
    assert source.row_out(first, first.text) == b"a" + bad + b"\t1" + b"\t" * len(JUDGEMENT_COLUMNS) + str(first.text).encode() + b"\n"
    assert second.text == "b"


def test_bytes_that_are_no_text_do_no_harm_in_another_column():
    assert read_texts(b"text\tid\nok\t\xff\xfe\n") == ["ok"]


def test_a_row_with_too_few_columns_is_padded():
    source = reader(b"id\ttext\tboard\n1\ta\n\n")
    few, none = source.rows(source.start)
    assert (few.fields, none.fields) == ((b"1", b"a", b""), (b"", b"", b""))
    assert str(few.text) == "wrong_columns: the row has 2, the header 3"


def test_a_row_with_too_many_columns_has_the_surplus_in_its_last():
    [row] = read(b"id\ttext\n1\ta\tb\tc\n")
    assert row.fields == (b"1", b"a b c")
    assert str(row.text) == "wrong_columns: the row has 4, the header 2"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("is_ended", [True, False])
def test_marks_and_newlines_belong_to_no_text(mark, newline, is_ended):
    content = mark + newline.join([b"text", "一".encode(), "二".encode()]) + newline * is_ended
    assert read_texts(content) == ["一", "二"]
    assert reader(content).header_out().startswith(mark + b"text\tlabel\t")
    assert reader(content).header_out().endswith(b"error" + newline)


def test_an_over_long_row_is_cut_and_spoils_no_other():
    long = b"1\t" + b"a" * 3 * MAX_ROW_BYTES
    source = reader(b"id\ttext\n" + long + b"\n2\tb\n")
    cut, after = source.rows(source.start)
    assert str(cut.text) == f"row_too_long: above {MAX_ROW_BYTES} bytes, the rest was cut"
    assert cut.fields == (b"1", long[2:MAX_ROW_BYTES])
    assert after.text == "b"


def test_a_row_just_within_the_bound_is_whole():
    text = b"a" * (MAX_ROW_BYTES - 1)
    assert read_texts(b"text\n" + text + b"\nb\n") == [text.decode(), "b"]


@pytest.mark.parametrize("line", [b"a" * 999 + b"\\\n", b"a" * 998 + b"\\\t\\\n", b"\\\\" * 499 + b"a\\\n"])
def test_an_over_long_row_of_many_escaped_lines_is_one_row(line):
    source = reader(b"text\tid\n" + line * (2 * MAX_ROW_BYTES // len(line)) + b"end\t1\nb\t2\n", mysql=True)
    cut, after = source.rows(source.start)
    assert str(cut.text).startswith("row_too_long: ")
    assert len(cut.fields[0]) <= MAX_ROW_BYTES
    assert after.text == "b"


def test_a_row_of_many_escaped_lines_within_the_bound_is_whole():
    line = b"a" * 98 + b"\\\n"
    [text] = read_texts(b"text\n" + line * (MAX_ROW_BYTES // 200) + b"\n", mysql=True)
    assert text == ("a" * 98 + "\n") * (MAX_ROW_BYTES // 200)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"  \n"])
def test_a_file_without_a_header_is_refused(content):
    with pytest.raises(BatchError, match="the first row must name the columns"):
        reader(content)


def test_a_header_without_the_text_column_says_which_there_are():
    with pytest.raises(BatchError, match="no column 'text': the header has id, 正文, content; choose one with --text-column"):
        reader("id\t正文\tcontent\n".encode())


def test_a_header_alone_has_no_rows():
    assert read(b"text") == read(b"text\n") == []
