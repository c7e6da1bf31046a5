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

// BenchmarkLookupAmong is a lookup of users taken in turn, among few and among very
// many.
func BenchmarkLookupAmong(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			text.WriteString("domain='a.example'\nmailboxes=[\n")
			names := make([]string, 0, 1000)
			for i := range n {
				name := fmt.Sprint("user", i)
				fmt.Fprintf(&text, "%q,\n", name)
				if i%(n/1000) == 0 {
					names = append(names, name)
				}
			}
			text.WriteString("]\n")
			dir := b.TempDir()
			write(b, filepath.Join(dir, "a.toml"), text.String())
			r, err := LoadRecipients(dir, "mx.a.example")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if r.Lookup(names[i%len(names)], "a.example").Status != Known {
					b.Fatal(names[i%len(names)])
				}
			}
		})
	}
}
