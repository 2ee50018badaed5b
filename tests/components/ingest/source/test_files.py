"""Tables as people's programs write them."""

import pyarrow
import pyarrow.parquet
import pytest

from cxrflow.components.ingest.source.files import find_tables, read_sheet
from cxrflow.schema.errors import CxrflowError

ROWS = [{"Bild": "a.png", "Größe": "1,5"}, {"Bild": "b.png", "Größe": "2"}]


@pytest.mark.parametrize(
    "name, separator, encoding, how",
    [
        ("t.csv", ",", "utf-8", "UTF-8, commas"),
        ("t.csv", ";", "cp1252", "Windows-1252, semicolons"),
        ("t.csv", ";", "utf-8-sig", "UTF-8, semicolons"),
        ("t.txt", "\t", "utf-16", "UTF-16, tabs"),
        ("t.tsv", "\t", "utf-8", "UTF-8, tabs"),
        ("t.csv", "|", "utf-8", "UTF-8, vertical bars"),
        ("t.csv.gz", ",", "utf-8", "UTF-8, commas"),
    ],
)
def test_separator_and_encoding_are_found_out(table, name, separator, encoding, how):
    sheet = read_sheet(table(name, ROWS, separator, encoding))
    assert sheet.how == how
    assert sheet.columns == ("Bild", "Größe")
    assert sheet.rows == [(2, ROWS[0]), (3, ROWS[1])]
    assert not sheet.faults


def test_excels_line_of_the_separator_is_no_row(table):
    sheet = read_sheet(table("t.csv", "sep=;\na;b,c\n1;2,5\n"))
    assert sheet.columns == ("a", "b,c")
    assert sheet.rows == [(3, {"a": "1", "b,c": "2,5"})]


def test_line_breaks_in_quotes_and_blank_lines_keep_the_lines_right(table):
    sheet = read_sheet(table("t.csv", 'a,b\n"1\n2",3\n\n4,5\n'))
    assert [line for line, _ in sheet.rows] == [2, 5]


def test_rows_whose_values_cannot_be_told_apart_are_faults(table):
    sheet = read_sheet(table("t.csv", "a,b\n1,2,3\n4\n5,6,\n"))
    assert sheet.rows == [(4, {"a": "5", "b": "6"})]
    assert sheet.faults == {2: "3 values, the header has 2", 3: "1 values, the header has 2"}


def test_parquet_reads_as_a_csv_would(tmp_path):
    columns = {"id": [1, 2], "share": [1.0, 0.5], "sick": [True, None], "words": [["a", "b"], []]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    sheet = read_sheet(tmp_path / "t.parquet")
    assert sheet.rows == [
        (1, {"id": "1", "share": "1", "sick": "1", "words": "a|b"}),
        (2, {"id": "2", "share": "0.5", "sick": "", "words": ""}),
    ]


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "is empty"),
        (b"a,b\n", "a header but no rows"),
        (b"PK\x03\x04rest", "Excel file or a ZIP archive: save it as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "old Excel file"),
        (b"a,b\n\x001,2\n", "is no text"),
        (b'a,b\n1,"2\n', "is no table"),
        (b"a,a\n1,2\n", "column 'a' twice"),
        (b"\x1f\x8bnothing", "can't be read"),
    ],
)
def test_what_is_no_table_ends_in_one_line(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CxrflowError, match=says) as error:
        read_sheet(tmp_path / "t.csv")
    assert "\n" not in str(error.value)


def test_missing_table_names_those_that_are_there(table, tmp_path):
    table("labels.csv", ROWS)
    with pytest.raises(CxrflowError, match=r"has no label\.csv, did you mean labels\.csv\?"):
        find_tables(tmp_path, "label.csv")
    with pytest.raises(CxrflowError, match="must lie in the data folder"):
        find_tables(tmp_path, "../labels.csv")


@pytest.mark.parametrize(
    "text, columns",
    [
        ('"Bild\nName";Befund\na.png;1\n', ("Bild\nName", "Befund")),
        ('\n"Bild, Name"\tBefund\na.png\t1\n', ("Bild, Name", "Befund")),
        ("sep=;\rBild;Befund\ra.png;1\r", ("Bild", "Befund")),
        ("SEP=\t\r\nBild\tBefund\r\na.png\t1\r\n", ("Bild", "Befund")),
        ("Bild\na.png\n", ("Bild",)),
    ],
)
def test_headers_as_spreadsheets_write_them(table, text, columns):
    sheet = read_sheet(table("t.csv", text))
    assert sheet.columns == columns
    assert sheet.rows[0][1][columns[0]] == "a.png" and not sheet.faults


def test_an_accent_is_one_however_it_is_written(table, tmp_path):
    apart, one = "Gro\u0308\u00dfe", "Gr\u00f6\u00dfe"
    sheet = read_sheet(table("t.csv", f"a,{apart}\n1,{apart}\n"), ["a", one])
    assert sheet.rows == [(2, {"a": "1", one: one})]
    pyarrow.parquet.write_table(pyarrow.table({apart: [apart]}), tmp_path / "t.parquet")
    assert read_sheet(tmp_path / "t.parquet", [one]).rows == [(1, {one: one})]


def test_a_parquet_column_twice_is_one_line(tmp_path):
    twice = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["a", "a"])
    pyarrow.parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(CxrflowError, match="has the column 'a' twice"):
        read_sheet(tmp_path / "t.parquet")


def test_a_table_that_unpacks_to_too_much_is_not_cut(table, monkeypatch):
    path = table("t.csv.gz", "a,b\n" + "1,2\n" * 1000)
    monkeypatch.setattr("cxrflow.components.ingest.source.files.MAX_BYTES", 2000)
    with pytest.raises(CxrflowError, match="unpacks to more than 2,000 bytes"):
        read_sheet(path)
