package messages

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The columns of the table in docs/dialects.md that says what applications see.
const (
	columnDialect = iota
	columnPass
	columnLogin
	columnNewer
	columnAnother
	columnBinary
	columnUnread
	columnTooLong
	believeColumns
)

// believeHeading is the heading above the table.
const believeHeading = "## What the app may believe\n"

// sees is what an application sees of a message that carries a token.
type sees int

const (
	seesNothing sees = iota
	seesRest         // all but the token
	seesAll
	seesData // all, as any other data: nobody takes it for a token
)

// believeCell is what becomes of a message.
type believeCell struct {
	sees  sees
	code  uint16 // with which the socket ends, 0 if it lives on
	gone  string // of a message that holds this word nothing is seen
	empty bool   // there is no such message
}

// believeWords are the words of the table.
var believeWords = map[string]sees{
	"nothing": seesNothing, "all but the token": seesRest, "all of it": seesAll, "all of it, as data": seesData,
}

// parseBelieveCell reads a cell.
func parseBelieveCell(text string) (c believeCell, err error) {
	if text == "–" {
		return believeCell{empty: true}, nil
	}
	what, more, is := strings.Cut(text, "; ")
	var known bool
	if c.sees, known = believeWords[what]; !known {
		return c, fmt.Errorf("%q is no word of the table", what)
	}
	if word, of := strings.CutPrefix(more, "of `"); of {
		word, of = strings.CutSuffix(word, "` nothing")
		c.gone = word
		if !of {
			return c, fmt.Errorf("%q is not read", more)
		}
		return c, nil
	}
	if is {
		code, err := strconv.ParseUint(more, 10, 16)
		c.code = uint16(code)
		return c, err
	}
	return c, nil
}

// believeRow returns the cells of a dialect with a pass.
type believeTable map[string][]believeCell

// readBelieveTable reads the table of the docs, which is what is tested.
var readBelieveTable = sync.OnceValues(func() (believeTable, error) {
	page, err := os.ReadFile("../../docs/dialects.md")
	if err != nil {
		return nil, err
	}
	_, section, found := strings.Cut(string(page), believeHeading)
	if !found {
		return nil, fmt.Errorf("docs/dialects.md has no section %q", believeHeading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	table := make(believeTable)
	for line := range strings.SplitSeq(section, "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		columns := strings.Split(strings.Trim(line, "| "), " | ")
		if len(columns) != believeColumns {
			return nil, fmt.Errorf("%q has %d columns, want %d", line, len(columns), believeColumns)
		}
		cells := make([]believeCell, believeColumns)
		for i := columnLogin; i < believeColumns; i++ {
			if cells[i], err = parseBelieveCell(columns[i]); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
		}
		for name := range strings.SplitSeq(columns[columnDialect], ", ") {
			table[strings.Trim(name, "`")+" "+strings.Trim(columns[columnPass], "`")] = cells
		}
	}
	return table, nil
})

// believeTableOf returns the rows that the test is driven by.
func believeTableOf(t *testing.T) believeTable {
	t.Helper()
	table, err := readBelieveTable()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestBelieveTableIsWhole: the table in the docs has a row for each dialect and
// pass that is tried, and none besides.
func TestBelieveTableIsWhole(t *testing.T) {
	t.Parallel()
	table := believeTableOf(t)
	tried := make(map[string]bool)
	for _, b := range believeSpeeches {
		for _, pass := range b.passes {
			tried[b.dialect+" "+pass] = true
			if table[b.dialect+" "+pass] == nil {
				t.Errorf("docs/dialects.md has no row for %s with pass %s", b.dialect, pass)
			}
		}
	}
	for row := range table {
		if !tried[row] {
			t.Errorf("docs/dialects.md has a row for %s, which is not tried", row)
		}
	}
}
