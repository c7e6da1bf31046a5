package postfixmap

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// WriteTo writes the recipient map of d, in TOML. A mailbox that lies where the
// delivery agent would put it, <store>/<domain>/<user>, is just a name there.
func (d *Domain) WriteTo(w io.Writer, store string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# From the tables of Postfix.\ndomain    = %q\n", d.Name)
	if d.Delimiter != "" {
		fmt.Fprintf(&b, "delimiter = %q\n", d.Delimiter[:1])
	}
	var plain, others []string
	for _, name := range slices.Sorted(maps.Keys(d.Mailboxes)) {
		box := d.Mailboxes[name]
		if !box.Mbox && box.Path == filepath.Join(store, d.Name, name) {
			plain = append(plain, name)
		} else {
			others = append(others, name)
		}
	}
	fmt.Fprintf(&b, "mailboxes = %s\n", list(plain))
	for _, name := range others {
		box := d.Mailboxes[name]
		fmt.Fprintf(&b, "\n[mailbox.%s]\npath = %s\n", key(name), quote(box.Path))
		if box.Mbox {
			b.WriteString("format = \"mbox\"\n")
		}
	}
	if len(d.Aliases) > 0 {
		b.WriteString("\n[aliases]\n")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Aliases)) {
		fmt.Fprintf(&b, "%s = %s\n", key(name), list(d.Aliases[name]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// key returns name as a key of TOML, in quotes if it needs them.
func key(name string) string {
	for _, c := range name {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return quote(name)
		}
	}
	return name
}

// quote returns s as a basic string of TOML.
func quote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return strconv.QuoteToASCII(s) // \u00XX is TOML's, too
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
