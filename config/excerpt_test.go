package config

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMistakes holds what is said of any file to its bounds: one line with nothing
// hidden for each mistake, and an excerpt no wider than it may be with the caret
// inside of it, or right behind.
func FuzzMistakes(f *testing.F) {
	f.Add("domain = “a.example”\nmailboxes = [\"x\", \u00a0]\n")
	f.Add("<<<<<<< HEAD\ndomain = 'a'\n=======\n")
	f.Add("[a.b]\nx = 1\n[a]\nb = { \"c\" = 1, c = 2 }\n")
	f.Add("mailboxs = ['日本', '\x1b']\r\n\"a\\u202e\" = 'e\u0301'\n")
	f.Add("d\x00o\x00m\x00")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := build(sources(text), "mx.example")
		var ms Mistakes
		if err == nil || !errors.As(err, &ms) {
			return
		}
		for _, m := range ms {
			if said := m.Error(); strings.ContainsFunc(said, func(r rune) bool { return r < ' ' || r == '\u202e' || r == '\u00a0' }) || len(said) > 8*maxMessage {
				t.Errorf("%q says %q", text, said)
			}
			if m.Line == 0 {
				continue
			}
			quoted, indent, _ := strings.Cut(m.Excerpt(), "\n")
			if n := columns(cells(strings.ReplaceAll(quoted, "\t", " "))...); n > maxExcerpt+2 || !utf8.ValidString(quoted) || strings.ContainsAny(quoted, "\r\x1b\x00") {
				t.Errorf("%q is quoted as %q", text, quoted)
			}
			if columns(indent) > columns(quoted)+2 || m.Caret > utf8.RuneCountInString(quoted) {
				t.Errorf("%q: the caret is beyond its line:\n%s", text, m.Excerpt())
			}
		}
	})
}
