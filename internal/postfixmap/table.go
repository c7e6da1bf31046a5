// Package postfixmap reads the virtual tables of a Postfix and writes recipient
// maps that say the same. What it cannot say, it lists: nothing is left out in
// silence.
package postfixmap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// An entry is a line of a Postfix table, with where it stands.
type entry struct {
	key, value string
	where      string // file:line
}

// textTypes are the types of tables that have a text of the same name, without
// which postmap could not have made them.
var textTypes = map[string]bool{"hash": true, "btree": true, "lmdb": true, "cdb": true, "dbm": true, "sdbm": true, "texthash": true}

// readTables reads the tables that a parameter of main.cf names, as "hash:/etc/postfix/virtual".
// Of an address that is in several the first counts. Tables that have no text
// are in the error, and the others are read all the same.
func readTables(parameter string) (entries []entry, err error) {
	var errs []error
	for _, table := range words(parameter) {
		kind, path, _ := strings.Cut(strings.TrimPrefix(table, "proxy:"), ":")
		if !textTypes[kind] {
			errs = append(errs, fmt.Errorf("%s: a table of this type is not read; write its entries by hand", table))
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		read, err := readTable(f, path)
		_ = f.Close()
		errs = append(errs, err)
		entries = append(entries, read...)
	}
	return entries, errors.Join(errs...)
}

// readTable reads the text of a table as postmap(1) does: a line that begins with
// white space goes on where the one before ended, and one that begins with # is
// left out.
func readTable(r io.Reader, name string) ([]entry, error) {
	var entries []entry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && len(entries) > 0:
			entries[len(entries)-1].value += " " + trimmed
		default:
			key, value, _ := strings.Cut(strings.ReplaceAll(trimmed, "\t", " "), " ")
			entries = append(entries, entry{strings.ToLower(key), strings.TrimSpace(value), fmt.Sprintf("%s:%d", name, n)})
		}
	}
	if err := lines.Err(); err != nil {
		return entries, fmt.Errorf("read %s: %w", name, err)
	}
	return entries, nil
}

// split separates an address from the domain at its end. An address without one,
// as Postfix's tables have them for the host's own domain, has an empty domain.
func split(addr string) (local, domain string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr, ""
	}
	return addr[:at], addr[at+1:]
}
