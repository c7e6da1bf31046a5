package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkLoadRecipients reads a domain with a million mailboxes, as names
// alone and as tables.
func BenchmarkLoadRecipients(b *testing.B) {
	const n = 1_000_000
	forms := map[string]func(*strings.Builder, int){
		"names":  func(text *strings.Builder, i int) { fmt.Fprintf(text, "%q,\n", fmt.Sprint("user", i)) },
		"tables": func(text *strings.Builder, i int) { fmt.Fprintf(text, "[mailbox.user%d]\npath='/home/%[1]d'\n", i) },
	}
	for _, form := range []string{"names", "tables"} {
		b.Run(form, func(b *testing.B) {
			text := new(strings.Builder)
			text.WriteString("domain='a.example'\n")
			size := n
			if form == "names" {
				text.WriteString("mailboxes=[\n")
			} else {
				size /= 10
			}
			for i := range size {
				forms[form](text, i)
			}
			if form == "names" {
				text.WriteString("]\n")
			}
			dir := b.TempDir()
			write(b, filepath.Join(dir, "a.toml"), text.String())
			b.ReportAllocs()
			for b.Loop() {
				r, err := LoadRecipients(dir, "mx.a.example")
				if err != nil || r.Mailboxes() != size+1 {
					b.Fatal(err)
				}
			}
		})
	}
}
